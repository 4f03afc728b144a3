//! Posts: one sender's latency, many senders' rate.

use std::sync::Arc;
use std::time::Duration;

use chatcore::Chat;
use chatcore::id::RoomId;
use chatcore::service::{GroupInput, PostInput, Principal};
use tokio::sync::oneshot;

use crate::floor::{BODY, Floor, queue};
use crate::{median, ratio, timed};

const SENDERS: usize = 256;
const ROUNDS: usize = 300;

async fn group(chat: &Chat, ada: &Principal) -> RoomId {
    let input = GroupInput { name: "bench", members: &[], client_id: None };
    chat.create_group(ada, input).await.unwrap().room.summary.room.id
}

async fn post(chat: &Chat, ada: &Principal, room: RoomId) {
    chat.post(ada, room, PostInput { body: BODY, client_id: None, reply_to: None }).await.unwrap();
}

pub(crate) async fn one_sender(name: &str, chat: &Chat, ada: &Principal, floor: &Arc<dyn Floor>) {
    let room = group(chat, ada).await;
    let (mut bare, mut posts) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS + 20 {
        let one = timed(floor.insert(&[(room.uuid(), i64::try_from(round).unwrap())])).await;
        let other = timed(post(chat, ada, room)).await;
        // The first rounds warm statements and caches.
        if round >= 20 {
            bare.push(one);
            posts.push(other);
        }
    }
    let (bare, posts) = (median(&mut bare), median(&mut posts));
    println!(
        "{name}: one sender: a bare insert transaction {bare:?}, a post to its acknowledgement {posts:?}: {:.2} times",
        ratio(posts, bare)
    );
}

pub(crate) async fn many_senders(name: &str, chat: &Chat, ada: &Principal, floor: &Arc<dyn Floor>, rooms: usize) {
    const EACH: usize = 20;
    let queue = queue(floor.clone());
    let mut ids = Vec::new();
    for _ in 0..rooms {
        ids.push(group(chat, ada).await);
    }
    let (mut bare, mut posts) = (Vec::new(), Vec::new());
    for round in 0..6 {
        let base = i64::try_from(1_000_000 * (rooms * 10 + round + 1)).unwrap();
        let one = timed(futures::future::join_all((0..SENDERS).map(|sender| {
            let (queue, room) = (queue.clone(), ids[sender % ids.len()].uuid());
            tokio::spawn(async move {
                for n in 0..EACH {
                    let (reply, done) = oneshot::channel();
                    let row = (room, base + i64::try_from(sender * EACH + n).unwrap());
                    queue.send((row, reply)).await.unwrap();
                    done.await.unwrap();
                }
            })
        })))
        .await;
        let other = timed(futures::future::join_all((0..SENDERS).map(|sender| {
            let (chat, ada, room) = (chat.clone(), *ada, ids[sender % ids.len()]);
            tokio::spawn(async move {
                for _ in 0..EACH {
                    post(&chat, &ada, room).await;
                }
            })
        })))
        .await;
        if round > 0 {
            bare.push(one);
            posts.push(other);
        }
    }
    let rate = |time: Duration| (SENDERS * EACH) as f64 / time.as_secs_f64();
    let (bare, posts) = (median(&mut bare), median(&mut posts));
    println!(
        "{name}: {SENDERS} senders in {rooms} room(s): bare inserts of what queues {:.0} rows/s, posts {:.0}/s: {:.2} of it",
        rate(bare),
        rate(posts),
        ratio(bare, posts)
    );
}
