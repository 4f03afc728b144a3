//! Deliveries of stored messages: one sender, 1,000 members on sockets, against a floor without any chat logic: a queue a
//! connection, everything queued written at once.
//!
//! `cargo bench -p chatcore-benches --bench fanout`
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use chatcore::memory::MemoryStore;
use chatcore::model::AccessSecret;
use chatcore::service::{GroupInput, LoginInput, PostInput, Principal, RegisterInput};
use chatcore::store::Storage;
use chatcore::{Chat, Settings};
use chatcore_hyper::{Api, HttpSettings};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const MEMBERS: usize = 1_000;
const POSTS: usize = 400;
const BODY: &str = "a message of a usual length, as people write them to one another";

fn main() {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run());
}

/// Counts what has come, and wakes whoever waits for all of it.
#[derive(Default)]
struct Arrivals {
    bytes: AtomicU64,
    done: Notify,
}

/// Reads a connection raw: the client's work is the same on both sides.
fn drain(mut stream: impl AsyncReadExt + Unpin + Send + 'static, arrivals: Arc<Arrivals>, wanted: u64) {
    tokio::spawn(async move {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            let before = arrivals.bytes.fetch_add(read as u64, Ordering::Relaxed);
            if before < wanted && before + read as u64 >= wanted {
                arrivals.done.notify_one();
            }
        }
    });
}

/// The floor: frames of the same size, queued to each connection and written in one go. Deliveries a second.
async fn floor(frame: usize) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let arrivals = Arc::new(Arrivals::default());
    let wanted = (MEMBERS * POSTS * frame) as u64;
    let mut queues = Vec::new();
    for _ in 0..MEMBERS {
        let client = TcpStream::connect(address).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        server.set_nodelay(true).unwrap();
        drain(client, arrivals.clone(), wanted);
        let (queue, mut queued) = mpsc::unbounded_channel::<Arc<Vec<u8>>>();
        queues.push(queue);
        tokio::spawn(async move {
            let (mut batch, mut out) = (Vec::new(), Vec::new());
            while queued.recv_many(&mut batch, 256).await > 0 {
                out.clear();
                batch.drain(..).for_each(|frame| out.extend_from_slice(&frame));
                if server.write_all(&out).await.is_err() {
                    return;
                }
            }
        });
    }
    let begun = Instant::now();
    for _ in 0..POSTS {
        let frame = Arc::new(vec![b'x'; frame]);
        for queue in &queues {
            queue.send(frame.clone()).unwrap();
        }
        tokio::task::yield_now().await;
    }
    arrivals.done.notified().await;
    (MEMBERS * POSTS) as f64 / begun.elapsed().as_secs_f64()
}

async fn person(chat: &Chat, name: &str) -> (Principal, String) {
    let email = format!("{name}@example.org");
    let input = RegisterInput { username: name, email: &email, password: "correct horse", display_name: None };
    chat.register(input, None).await.unwrap();
    let login = LoginInput { login: name, password: "correct horse", device: None };
    let token = chat.login(login, None).await.unwrap().access_token;
    (chat.authenticate(&token).await.unwrap(), token)
}

/// chatcore over its memory store: stored, numbered, delivered. Deliveries a second, and bytes a frame.
async fn chatcore_run() -> (f64, usize) {
    let mut settings = Settings::new(AccessSecret::new([7; 32]).unwrap());
    settings.work_per_user = None;
    settings.hashing.memory_kib = 64;
    settings.hashing.iterations = 1;
    settings.logins_per_address = None;
    settings.registrations_per_address = None;
    let chat = Chat::builder(Storage::single(Arc::new(MemoryStore::new())), settings).start().unwrap();
    let mut people = Vec::new();
    for n in 0..MEMBERS {
        people.push(person(&chat, &format!("person{n}")).await);
    }
    let ada = people[0].0;
    let members: Vec<_> = people[1..].iter().map(|(principal, _)| principal.user).collect();
    let group = GroupInput { name: "bench", members: &members, client_id: None };
    let room = chat.create_group(&ada, group).await.unwrap().room.summary.room.id;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let http = HttpSettings::default();
    let server = tokio::spawn(chatcore_hyper::serve(listener, Api::new(chat.clone(), http), std::future::pending()));
    let mut sockets = Vec::new();
    for (_, token) in &people {
        let mut request = format!("ws://{address}/ws/chat/{room}").into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        // A ping answered: the hello is behind us.
        socket.send(Message::text(r#"{"type":"ping","id":"p"}"#)).await.unwrap();
        while let Some(message) = socket.next().await {
            if matches!(message.unwrap(), Message::Text(text) if text.contains(r#""id":"p""#)) {
                break;
            }
        }
        sockets.push(socket);
    }
    // Presence of those who came after is still under way to the first ones: one message through all of them tells the frame's
    // size, and that everything before it has been delivered.
    chat.post(&ada, room, PostInput { body: BODY, client_id: None, reply_to: None }).await.unwrap();
    let mut frame = 0;
    for socket in &mut sockets {
        while let Some(message) = socket.next().await {
            if let Message::Text(text) = message.unwrap()
                && text.contains("message.posted")
            {
                frame = text.len() + 4;
                break;
            }
        }
    }
    let arrivals = Arc::new(Arrivals::default());
    let wanted = (MEMBERS * POSTS * frame) as u64;
    for socket in sockets {
        drain(socket.into_inner(), arrivals.clone(), wanted);
    }
    let begun = Instant::now();
    for _ in 0..POSTS {
        chat.post(&ada, room, PostInput { body: BODY, client_id: None, reply_to: None }).await.unwrap();
    }
    arrivals.done.notified().await;
    let rate = (MEMBERS * POSTS) as f64 / begun.elapsed().as_secs_f64();
    server.abort();
    (rate, frame)
}

async fn run() {
    let mut ratios = Vec::new();
    for _ in 0..3 {
        let (rate, frame) = chatcore_run().await;
        let floor = floor(frame).await;
        println!(
            "fanout: 1 x {MEMBERS}: {rate:.0} deliveries/s of {frame} bytes, floor {floor:.0}/s: {:.2}",
            rate / floor
        );
        ratios.push(rate / floor);
    }
    ratios.sort_unstable_by(f64::total_cmp);
    println!("fanout: median {:.2} of the floor", ratios[1]);
}
