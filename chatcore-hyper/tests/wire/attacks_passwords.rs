//! Guessing passwords and addresses; what the answers, and the work behind them, give away; and that guessing keeps no owner out.

use std::time::Duration;

use chatcore::service::RateLimit;
use chatcore_hyper::ClientAddress;
use http::{HeaderName, Method};
use serde_json::{Value, json};

use crate::harness::{Answer, Server, Store, on_every_store, text};

on_every_store!(addresses_are_shown_to_their_owners_alone, a_login_that_overlaps_a_new_password_gets_nowhere,);

/// No attempt comes back while a test runs.
const LONG: Duration = Duration::from_secs(3600);

async fn server(change: impl FnOnce(&mut chatcore::Settings)) -> Server {
    Server::with(Store::Memory, |core, http| {
        http.client_address = ClientAddress::header(HeaderName::from_static("x-forwarded-for"));
        change(core);
    })
    .await
}

async fn post_from(server: &Server, address: &str, path: &str, body: Value) -> Answer {
    let headers = [("content-type", "application/json"), ("x-forwarded-for", address)];
    server.raw("POST", path, &headers, body.to_string()).await
}

async fn login_from(server: &Server, address: &str, login: &str, password: &str) -> u16 {
    let answer = post_from(server, address, "/auth/login", json!({"login": login, "password": password})).await;
    match answer.status.as_u16() {
        200 => drop(answer.expect(200)),
        401 => drop(answer.problem(401, "unauthenticated")),
        _ => {
            answer.problem(429, "rate_limited");
            assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
        }
    }
    answer.status.as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_is_stopped_and_the_owner_is_not() {
    let server = server(|core| core.logins_per_account = Some(RateLimit::new(10, LONG))).await;
    server.named("ada").await;
    for name in ["ada", "ADA ", "nobody"] {
        // The same count whether the account exists or not, and whichever way it is spelled.
        let expected = if name == "ADA " { [429; 7] } else { [401, 401, 401, 401, 401, 429, 429] };
        for status in expected {
            assert_eq!(login_from(&server, "192.0.2.66", name, "a wrong guess").await, status, "{name}");
        }
    }
    // Whoever guesses is not let in by the right one any more; the owner, elsewhere, is, again and again.
    assert_eq!(login_from(&server, "192.0.2.66", "ada", "correct horse").await, 429);
    for _ in 0..12 {
        assert_eq!(login_from(&server, "198.51.100.1", "ada", "correct horse").await, 200);
    }
    // One network is one guesser, however many addresses it has.
    for n in 0..5 {
        assert_eq!(login_from(&server, &format!("2001:db8::{n}"), "ada", "a wrong guess").await, 401);
    }
    assert_eq!(login_from(&server, "2001:db8::ffff", "ada", "a wrong guess").await, 429);
    assert_eq!(login_from(&server, "2001:db8:0:1::1", "ada", "a wrong guess").await, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_from_many_addresses_is_stopped_and_the_owner_is_not() {
    let server = server(|core| {
        core.logins_per_account = Some(RateLimit::new(10, LONG));
        core.logins_by_strangers = Some(RateLimit::new(40, LONG));
    })
    .await;
    server.named("ada").await;
    assert_eq!(login_from(&server, "198.51.100.1", "ada", "correct horse").await, 200, "at home");
    let body = json!({"login": "ada", "password": "correct horse"});
    let phone = post_from(&server, "203.0.113.5", "/auth/login", body).await.expect(200);
    for name in ["ada", "nobody"] {
        let mut guesses = 0;
        for n in 0..40 {
            guesses += u32::from(login_from(&server, &format!("192.0.2.{n}"), name, "a wrong guess").await == 401);
        }
        // The owner's own logins are no guesses.
        assert_eq!(guesses, 20, "{name}");
    }
    // From where she was let in before, the owner is let in; from anywhere else only when the guessing ends.
    assert_eq!(login_from(&server, "198.51.100.1", "ada", "correct horse").await, 200);
    assert_eq!(login_from(&server, "198.51.100.99", "ada", "correct horse").await, 429);
    // The phone has moved to another network and refreshed there.
    let refreshed = json!({"refresh_token": phone["refresh_token"]});
    post_from(&server, "203.0.113.77", "/auth/refresh", refreshed).await.expect(200);
    assert_eq!(login_from(&server, "203.0.113.77", "ada", "correct horse").await, 200);
    // And who is in can change the password, all the while.
    let token = format!("Bearer {}", text(&phone["access_token"]));
    let change = json!({"current_password": "correct horse", "new_password": "battery staple"});
    let headers = [("content-type", "application/json"), ("authorization", token.as_str())];
    server.raw("PUT", "/auth/password", &headers, change.to_string()).await.expect(204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_tries_many_accounts_is_stopped() {
    let server = server(|core| core.logins_per_address = Some(RateLimit::new(10, LONG))).await;
    let ada = server.named("ada").await;
    for n in 0..9 {
        assert_eq!(login_from(&server, "192.0.2.66", &format!("user{n}"), "password1").await, 401);
    }
    let guess = json!({"refresh_token": "x"});
    post_from(&server, "192.0.2.66", "/auth/refresh", guess.clone()).await.problem(401, "unauthenticated");
    post_from(&server, "192.0.2.66", "/auth/refresh", guess).await.problem(429, "rate_limited");
    assert_eq!(login_from(&server, "192.0.2.66", "ada", "correct horse").await, 429);
    assert_eq!(login_from(&server, "192.0.2.67", "ada", "correct horse").await, 200);
    // A header that somebody else than the proxy wrote comes first, and is not believed; and a port makes nobody another one.
    for same in ["203.0.113.9, 192.0.2.66", "192.0.2.66:51234", "unknown, \"[::ffff:192.0.2.66]:51234\""] {
        assert_eq!(login_from(&server, same, "ada", "correct horse").await, 429, "{same}");
    }
    server.get(&ada, "/auth/me").await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_the_current_password_is_stopped() {
    let server = server(|core| core.logins_per_account = Some(RateLimit::new(5, LONG))).await;
    let ada = server.named("ada").await;
    let change = |current: &str| json!({"current_password": current, "new_password": "battery staple"});
    let before = server.api.chat().password_hashes();
    // Each call tries two passwords: the new one may be the present one already. Both count.
    for _ in 0..3 {
        server.put(&ada, "/auth/password", change("a wrong guess")).await.invalid(&[("current_password", "wrong")]);
    }
    server.put(&ada, "/auth/password", change("correct horse")).await.problem(429, "rate_limited");
    assert_eq!(server.api.chat().password_hashes() - before, 5);
}

/// The attempts at one account are those under its username and those under its address together. And whether the one has been stopped tells
/// nothing of the other, which would be which address belongs to whom: one is answered as any address is that nobody has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_names_of_an_account_have_its_attempts_together() {
    let server = server(|core| {
        core.logins_per_account = Some(RateLimit::new(10, LONG));
        core.logins_by_strangers = Some(RateLimit::new(40, LONG));
    })
    .await;
    let new = json!({"username": "ada", "email": "ada@example.org", "password": "correct horse"});
    server.call(Method::POST, "/auth/register", None, Some(&new)).await.expect(201);
    for (username, address) in
        [("ada", "ada@example.org"), ("nobody", "nobody@example.org"), ("ada", "eve@example.org")]
    {
        // From one address, in turns; every round has one of its own. The third goes on where the first has stopped for the username.
        let from = if username == "nobody" { "192.0.2.67" } else { "192.0.2.66" };
        let mut guesses = [Vec::new(), Vec::new()];
        for _ in 0..10 {
            for (name, statuses) in [username, address, "ADA", "Ada@Example.org "].into_iter().zip([0, 1, 0, 1]) {
                let theirs = if statuses == 0 { username } else { address };
                // Other spellings of the same account count as the same.
                let name = if name.trim().eq_ignore_ascii_case(theirs) { name } else { theirs };
                guesses[statuses].push(login_from(&server, from, name, "a wrong guess").await);
            }
        }
        let tried = guesses.map(|statuses| statuses.iter().filter(|status| **status == 401).count());
        let expected = if address == "eve@example.org" { [0, 5] } else { [5, 5] };
        assert_eq!(tried, expected, "{username} and {address}");
    }
    // From many addresses: as many in all, and neither is what the other one has left.
    for (username, address) in [("grace", "grace@example.org"), ("no.one", "no.one@example.org")] {
        if username == "grace" {
            let new = json!({"username": username, "email": address, "password": "correct horse"});
            server.call(Method::POST, "/auth/register", None, Some(&new)).await.expect(201);
        }
        let mut tried = [0, 0];
        for n in 0..60 {
            for (index, name) in [username, address].into_iter().enumerate() {
                let from = format!("203.0.{index}.{n}");
                tried[index] += u32::from(login_from(&server, &from, name, "a wrong guess").await == 401);
            }
        }
        assert_eq!(tried, [20, 20], "{username}");
    }
}

/// A login with the old password that is under way while the password changes: its password was right when it began, and it waits for the hashing.
async fn a_login_that_overlaps_a_new_password_gets_nowhere(store: Store) {
    let server = Server::with(store, |core, _| {
        // So that there is a time in which a login waits.
        core.hashing.memory_kib = 1024;
        core.hashing.workers = 2;
        core.trust = LONG;
        core.reconcile_every = LONG / 2;
    })
    .await;
    let ada = server.named("ada").await;
    let passwords = ["correct horse", "battery staple"];
    for round in 0..4 {
        let (old, new) = (passwords[round % 2], passwords[(round + 1) % 2]);
        let login = json!({"login": "ada", "password": old});
        let change = json!({"current_password": old, "new_password": new});
        let logins =
            futures::future::join_all((0..8).map(|_| server.call(Method::POST, "/auth/login", None, Some(&login))));
        let (answers, changed) = futures::join!(logins, server.put(&ada, "/auth/password", change.clone()));
        changed.expect(204);
        for answer in answers {
            if answer.status == 401 {
                answer.problem(401, "unauthenticated");
                continue;
            }
            let tokens = answer.expect(200);
            server
                .call(Method::GET, "/auth/me", tokens["access_token"].as_str(), None)
                .await
                .problem(401, "unauthenticated");
            let refresh = json!({"refresh_token": tokens["refresh_token"]});
            server.call(Method::POST, "/auth/refresh", None, Some(&refresh)).await.problem(401, "unauthenticated");
        }
        let sessions = server.get(&ada, "/auth/sessions").await.expect(200);
        assert_eq!(sessions["items"].as_array().unwrap().len(), 1, "in round {round}: {sessions}");
        // Who did not get the answer asks again, and that ends what has begun meanwhile.
        let login = json!({"login": "ada", "password": new});
        let elsewhere = server.call(Method::POST, "/auth/login", None, Some(&login)).await.expect(200);
        server.put(&ada, "/auth/password", change).await.expect(204);
        let token = elsewhere["access_token"].as_str();
        server.call(Method::GET, "/auth/me", token, None).await.problem(401, "unauthenticated");
    }
}

/// A login that is stopped, with how many seconds it says to wait.
async fn stopped(server: &Server, address: &str, password: &str) -> Option<u64> {
    let answer = post_from(server, address, "/auth/login", json!({"login": "ada", "password": password})).await;
    (answer.status == 429).then(|| answer.headers["retry-after"].to_str().unwrap().parse().unwrap())
}

/// Guesses until it is stopped, from addresses of their own; attempts come back meanwhile, so nobody knows how often that is.
async fn guess_until_stopped(server: &Server, address: impl Fn(u32) -> String) -> u64 {
    for n in 0..200 {
        if let Some(wait) = stopped(server, &address(n), "a wrong guess").await {
            return wait;
        }
    }
    panic!("200 guesses went through");
}

/// What `Retry-After` says is true: after it the right password goes through, and no sooner does a guess.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_wait_is_the_end_of_it() {
    // Two in that time under one name.
    let short = RateLimit::new(4, Duration::from_secs(6));
    let server = server(|core| core.logins_per_account = Some(short)).await;
    server.named("ada").await;
    let wait = guess_until_stopped(&server, |_| "192.0.2.66".to_owned()).await;
    assert!((1..=3).contains(&wait), "one attempt comes back every three seconds: {wait}");
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert_eq!(login_from(&server, "192.0.2.66", "ada", "correct horse").await, 200);
}

/// From an address that nobody knows the owner waits only as long as the guessing goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_from_many_addresses_ends_with_the_guessing() {
    let short = RateLimit::new(4, Duration::from_secs(6));
    let server = server(|core| core.logins_by_strangers = Some(short)).await;
    server.named("ada").await;
    let wait = guess_until_stopped(&server, |n| format!("192.0.2.{n}")).await;
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert_eq!(login_from(&server, "198.51.100.1", "ada", "correct horse").await, 200);
}

/// Whoever is in already does not notice the guessing: calls, sockets, refreshes from anywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_go_on_while_somebody_guesses() {
    let server = server(|core| {
        core.logins_per_account = Some(RateLimit::new(2, LONG));
        core.logins_by_strangers = Some(RateLimit::new(4, LONG));
    })
    .await;
    let ada = server.named("ada").await;
    let mut open = server.started(&ada, json!({})).await;
    guess_until_stopped(&server, |n| format!("192.0.2.{n}")).await;
    server.get(&ada, "/auth/me").await.expect(200);
    server.socket(&ada, "/ws").await.frame("hello").await;
    open.send(json!({"type": "ping", "id": "1"})).await;
    open.ack("1").await;
    let mut refresh = ada.refresh.clone();
    for n in 0..5 {
        let body = json!({"refresh_token": refresh});
        let tokens = post_from(&server, &format!("203.0.113.{n}"), "/auth/refresh", body).await.expect(200);
        refresh = text(&tokens["refresh_token"]);
    }
}

/// Attempts are counted before they cost anything: a flood of guesses takes no more hashing than its limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stopped_is_not_hashed() {
    let one = || Some(RateLimit::new(1, LONG));
    for limit in ["account", "strangers", "address"] {
        let server = server(|core| match limit {
            "account" => core.logins_per_account = one(),
            "strangers" => core.logins_by_strangers = one(),
            _ => core.logins_per_address = one(),
        })
        .await;
        // Registered, but not logged in: that would be the one attempt.
        let new = json!({"username": "ada", "email": "ada@example.org", "password": "correct horse"});
        server.call(Method::POST, "/auth/register", None, Some(&new)).await.expect(201);
        for name in ["ada", "nobody"] {
            let address = if name == "ada" { "192.0.2.66" } else { "192.0.2.67" };
            assert_eq!(login_from(&server, address, name, "a wrong guess").await, 401, "{limit}");
            let before = server.api.chat().password_hashes();
            for password in ["a wrong guess", "correct horse"] {
                assert_eq!(login_from(&server, address, name, password).await, 429, "{limit}");
            }
            assert_eq!(server.api.chat().password_hashes(), before, "{limit}, {name}");
        }
    }
    let server = server(|core| {
        core.registrations_per_address = one();
        core.logins_per_account = Some(RateLimit::new(4, LONG));
    })
    .await;
    let ada = server.named("ada").await;
    let new = |name: &str| json!({"username": name, "email": format!("{name}@example.org"), "password": "12345678"});
    post_from(&server, "192.0.2.66", "/auth/register", new("eve")).await.expect(201);
    let change = json!({"current_password": "a wrong guess", "new_password": "battery staple"});
    for _ in 0..2 {
        server.put(&ada, "/auth/password", change.clone()).await.invalid(&[("current_password", "wrong")]);
    }
    let before = server.api.chat().password_hashes();
    post_from(&server, "192.0.2.66", "/auth/register", new("mallory")).await.problem(429, "rate_limited");
    server.put(&ada, "/auth/password", change).await.problem(429, "rate_limited");
    assert_eq!(server.api.chat().password_hashes(), before, "registering and changing a password");
}

/// Hashes are counted instead of milliseconds: they are all that takes time, each costs the same, and a count cannot flake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_is_the_same_work_and_the_same_answer_for_whomever() {
    let server = server(|_| {}).await;
    let ada = server.named("ada").await;
    let chat = server.api.chat();
    let long = "x".repeat(60_000);
    let mut answers = Vec::new();
    for (login, password) in [
        ("nobody", "a wrong guess"),
        ("ada", "a wrong guess"),
        ("ada@example.org", "a wrong guess"),
        ("nobody@example.org", "a wrong guess"),
        ("not an account", "a wrong guess"),
        ("аda", "correct horse"),
        ("1", "x"),
        ("ada", long.as_str()),
        ("nobody", long.as_str()),
        ("ada", "\u{0}"),
    ] {
        let before = chat.password_hashes();
        let body = json!({"login": login, "password": password});
        let mut problem =
            server.call(Method::POST, "/auth/login", None, Some(&body)).await.problem(401, "unauthenticated");
        problem["request_id"].take();
        assert_eq!(chat.password_hashes() - before, 1, "{login:?}");
        answers.push(problem);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    // Work that nobody can ask for: passwords that are too long for an account, or for a request.
    let before = chat.password_hashes();
    let huge = "x".repeat(1_000_000);
    for password in [&long, &huge] {
        let status = if password.len() > 65_536 { 413 } else { 422 };
        let new = json!({"username": "eve", "email": "eve@example.org", "password": password});
        assert_eq!(server.call(Method::POST, "/auth/register", None, Some(&new)).await.status, status);
        let change = json!({"current_password": password, "new_password": "battery staple"});
        assert_eq!(server.put(&ada, "/auth/password", change).await.status, status);
    }
    let login = json!({"login": "ada", "password": huge});
    server.call(Method::POST, "/auth/login", None, Some(&login)).await.problem(413, "too_large");
    assert_eq!(chat.password_hashes(), before);
}

/// Who registers is told what is taken; that many times an hour, and no more often by another way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asking_what_is_taken_is_limited() {
    let server = server(|core| {
        core.registrations_per_address = Some(RateLimit::new(3, LONG));
        core.email_changes_per_user = Some(RateLimit::new(3, LONG));
    })
    .await;
    let ada = server.named("ada").await;
    let probe = json!({"username": "eve", "email": "ADA@example.org", "password": "correct horse"});
    for _ in 0..3 {
        let problem = post_from(&server, "192.0.2.66", "/auth/register", probe.clone()).await.problem(409, "conflict");
        assert_eq!(problem["errors"].as_array().unwrap().len(), 1, "{problem}");
    }
    post_from(&server, "192.0.2.66", "/auth/register", probe).await.problem(429, "rate_limited");
    let eve = server.named("eve").await;
    for _ in 0..3 {
        server.patch(&eve, "/auth/me", json!({"email": "ada@example.org"})).await.problem(409, "conflict");
    }
    server.patch(&eve, "/auth/me", json!({"email": "ada@example.org"})).await.problem(429, "rate_limited");
    server.patch(&eve, "/auth/me", json!({"display_name": "Eve"})).await.expect(200);
    server.get(&ada, "/auth/me").await.expect(200);
}

async fn addresses_are_shown_to_their_owners_alone(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob) = (server.named("ada").await, server.named("bob").await);
    server.patch(&ada, "/auth/me", json!({"email": "private.address@hidden.example"})).await.expect(200);
    for query in ["private", "private.address", "private.address@hidden.example", "hidden", "@hidden", "address"] {
        let query = query.replace('@', "%40");
        let found = server.get(&bob, &format!("/users?q={query}")).await.expect(200);
        assert_eq!(found["items"], json!([]), "{query}");
    }
    let by_address = json!({"username": "private.address@hidden.example"});
    assert!(server.post(&bob, "/friends/request", by_address).await.status.is_client_error());
    // Nowhere in what others are answered, or sent.
    let mut socket = server.started(&bob, json!({})).await;
    let room = server.direct(&ada, &bob).await;
    let seq = server.say(&ada, &room, "hi").await;
    server.put(&ada, &format!("/messages/{room}/{seq}/reactions/x"), json!({})).await.expect(204);
    server.post(&ada, "/friends/request", json!({"user_id": bob.id})).await.expect(201);
    server.patch(&ada, "/auth/me", json!({"display_name": "Countess"})).await.expect(200);
    let mut shown = String::new();
    for path in [
        "/users?q=ada".to_owned(),
        format!("/users?ids={}", ada.id),
        format!("/users/{}", ada.id),
        "/friends/requests".to_owned(),
        "/chat-rooms".to_owned(),
        format!("/chat-rooms/{room}"),
        format!("/chat-rooms/{room}/members"),
        format!("/chat-rooms/{room}/events"),
        format!("/messages/{room}"),
        format!("/messages/{room}/{seq}/reactions/x"),
    ] {
        shown += &server.get(&bob, &path).await.expect(200).to_string();
    }
    for signal in ["room.added", "friend.requested", "user.updated"] {
        shown += &socket.signal(signal).await.to_string();
    }
    for _ in 0..3 {
        shown += &socket.event().await.to_string();
    }
    assert!(shown.contains(&ada.id));
    assert!(!shown.contains("email") && !shown.contains("hidden.example"), "{shown}");
    assert_eq!(server.get(&ada, "/auth/me").await.expect(200)["email"], "private.address@hidden.example");
}
