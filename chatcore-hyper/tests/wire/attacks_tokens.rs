//! Tokens that are forged, stolen, spent, or of another kind; and the three doors that a token opens: a call, and a socket either way.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chatcore::testing::ManualClock;
use chatcore::time::{Clock as _, SystemClock};
use hmac::{EagerHash, Hmac, KeyInit as _, Mac as _};
use http::Method;
use serde_json::{Value, json};
use sha2::{Sha256, Sha384, Sha512};

use crate::harness::{Answer, Person, Server, Store, on_every_store, text};

on_every_store!(
    a_session_that_has_ended_opens_no_door,
    every_way_to_end_a_session_ends_its_token,
    two_refreshes_at_once_both_go_on,
    the_token_before_the_last_is_theft_at_any_time,
    a_refresh_token_works_once,
    a_spent_refresh_token_ends_the_session,
    refresh_tokens_of_others_and_of_no_one,
    logins_beyond_the_limit_end_the_sessions_used_longest_ago,
);

/// The secret of the harness's servers.
const SECRET: [u8; 32] = [7; 32];

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// The algorithms of which a forger who has the secret can make a signature.
#[derive(Debug, Clone, Copy)]
enum Algorithm {
    HS256,
    HS384,
    HS512,
}

fn signature<D: EagerHash>(message: &str, secret: &[u8]) -> String {
    let mac = Hmac::<D>::new_from_slice(secret).unwrap().chain_update(message);
    URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
}

/// What a forger signs: any header, any claims.
fn forge(header: &Value, claims: &Value, secret: &[u8], algorithm: Algorithm) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let signature = match algorithm {
        Algorithm::HS256 => signature::<Sha256>(&message, secret),
        Algorithm::HS384 => signature::<Sha384>(&message, secret),
        Algorithm::HS512 => signature::<Sha512>(&message, secret),
    };
    format!("{message}.{signature}")
}

fn claims(token: &str) -> Value {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&claims).unwrap()
}

/// The token is refused by a call and by both handshakes.
async fn refused(server: &Server, what: &str, token: &str) {
    let answer = server.call(Method::GET, "/auth/me", Some(token), None).await;
    assert_eq!(answer.status, 401, "{what}: {answer:?}");
    answer.problem(401, "unauthenticated");
    let header = format!("Bearer {token}");
    let answer = server.handshake("/ws", &[("authorization", &header)]).await.err();
    answer.unwrap_or_else(|| panic!("{what}: a socket opened")).problem(401, "unauthenticated");
    let protocols = format!("chatcore.v1, bearer.{token}");
    let mut socket = server.handshake("/ws", &[("sec-websocket-protocol", &protocols)]).await.ok().unwrap();
    let bye = socket.frame("bye").await;
    assert!(["revoked", "expired"].contains(&bye["code"].as_str().unwrap()), "{what}: {bye}");
    assert_eq!(socket.read().await, crate::harness::Got::Close(4401), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_of_forgers() {
    let server = Server::start(Store::Memory).await;
    let ada = server.person().await;
    let good = claims(&ada.token);
    let ours = json!({"alg": "HS256", "typ": "JWT", "kid": "1"});
    let tool = forge(&ours, &good, &SECRET, Algorithm::HS256);
    server.call(Method::GET, "/auth/me", Some(&tool), None).await.expect(200);

    let mut forged = Vec::new();
    // No signature at all, however that is spelled.
    for none in [json!("none"), json!("None"), json!("NONE"), json!("nOnE"), json!("none "), json!(""), Value::Null] {
        let header = json!({"alg": none, "typ": "JWT", "kid": "1"});
        let signed = forge(&header, &good, &SECRET, Algorithm::HS256);
        let unsigned = signed.rsplit_once('.').unwrap().0;
        forged.push((format!("alg {none}, no signature"), format!("{unsigned}.")));
        forged.push((format!("alg {none}, two parts"), unsigned.to_owned()));
        forged.push((format!("alg {none}, the signature of another"), signed));
    }
    let header = json!({"typ": "JWT", "kid": "1"});
    forged.push(("no alg".to_owned(), forge(&header, &good, &SECRET, Algorithm::HS256)));
    // Another algorithm, signed with the very secret.
    for (name, algorithm) in [("HS384", Algorithm::HS384), ("HS512", Algorithm::HS512)] {
        let header = json!({"alg": name, "typ": "JWT", "kid": "1"});
        forged.push((name.to_owned(), forge(&header, &good, &SECRET, algorithm)));
    }
    for name in [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "ES256K", "EdDSA", "hs256",
        "HS256 ", "HMAC",
    ] {
        let header = json!({"alg": name, "typ": "JWT", "kid": "1"});
        forged.push((name.to_owned(), forge(&header, &good, &SECRET, Algorithm::HS256)));
    }
    // Foreign secrets, among them what is public, or guessed first.
    let key = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n";
    for secret in [&b""[..], b"secret", b"1", b"chatcore", &[0; 32], &[7; 31], key.as_bytes()] {
        let what = format!("the secret {:?}", String::from_utf8_lossy(secret));
        forged.push((what, forge(&ours, &good, secret, Algorithm::HS256)));
    }
    // Key ids that name nothing, or that another server might look up; and keys that a token brings along.
    for kid in
        [json!("2"), json!(""), json!(1), Value::Null, json!("../../dev/null"), json!("1' OR '1'='1"), json!(["1"])]
    {
        let header = json!({"alg": "HS256", "typ": "JWT", "kid": kid});
        forged.push((format!("kid {kid}"), forge(&header, &good, &SECRET, Algorithm::HS256)));
        forged.push((format!("kid {kid}, empty secret"), forge(&header, &good, b"", Algorithm::HS256)));
    }
    let header = json!({"alg": "HS256", "typ": "JWT"});
    forged.push(("no kid".to_owned(), forge(&header, &good, &SECRET, Algorithm::HS256)));
    for (name, value) in [
        ("jwk", json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode("mine")})),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/certificate")),
    ] {
        let mut header = ours.clone();
        header[name] = value;
        forged.push((name.to_owned(), forge(&header, &good, b"mine", Algorithm::HS256)));
    }
    for (what, token) in &forged {
        refused(&server, what, token).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_of_forgers() {
    let server = Server::start(Store::Memory).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let (good, bobs) = (claims(&ada.token), claims(&bob.token));
    let now = good["iat"].as_i64().unwrap();
    let sign = |claims: &Value| {
        let header = json!({"alg": "HS256", "typ": "JWT", "kid": "1"});
        forge(&header, claims, &SECRET, Algorithm::HS256)
    };
    for missing in ["iss", "aud", "sub", "sid", "iat", "nbf", "exp"] {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(missing);
        refused(&server, &format!("no {missing}"), &sign(&claims)).await;
    }
    for (name, value) in [
        ("iss", json!("https://evil.example")),
        ("iss", json!("Chatcore")),
        ("aud", json!("another service")),
        ("aud", json!(["another service"])),
        ("aud", json!("")),
        ("exp", json!(now - 1)),
        ("exp", json!(-1)),
        ("exp", json!(u64::MAX)),
        ("exp", json!("9999999999")),
        ("exp", Value::Null),
        ("nbf", json!(now + 3600)),
        ("iat", json!(now + 3600)),
        ("sub", bobs["sub"].clone()),
        ("sid", bobs["sid"].clone()),
        ("sub", good["sid"].clone()),
        ("sub", json!("")),
        ("sid", json!("00000000-0000-0000-0000-000000000000")),
        ("sub", json!({"$ne": null})),
    ] {
        let mut claims = good.clone();
        claims[name] = value.clone();
        refused(&server, &format!("{name} {value}"), &sign(&claims)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_comes_in_its_header_and_once() {
    let server = Server::start(Store::Memory).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let (adas, bobs) = (format!("Bearer {}", ada.token), format!("Bearer {}", bob.token));
    let cookie = format!("token={0}; access_token={0}", ada.token);
    server.raw("GET", "/auth/me", &[("authorization", &adas.replace("Bearer", "bEARER"))], "").await.expect(200);
    for headers in [
        vec![("authorization", ada.token.as_str())],
        vec![("authorization", "Bearer")],
        vec![("authorization", "Bearer ")],
        vec![("authorization", "Basic YWRhOmNvcnJlY3QgaG9yc2U=")],
        vec![("authorization", adas.as_str()), ("authorization", bobs.as_str())],
        vec![("cookie", cookie.as_str())],
        vec![("x-authorization", adas.as_str())],
        vec![("proxy-authorization", adas.as_str())],
    ] {
        server.raw("GET", "/auth/me", &headers, "").await.problem(401, "unauthenticated");
    }
    for path in ["/auth/me?access_token=", "/auth/me?token=", "/auth/me?authorization=Bearer%20"] {
        server.raw("GET", &format!("{path}{}", ada.token), &[], "").await.problem(401, "unauthenticated");
    }
    let query = format!("/ws?token={0}&access_token={0}", ada.token);
    server.handshake(&query, &[]).await.err().unwrap().problem(401, "unauthenticated");
    // An access token refreshes nothing, and a refresh token opens nothing.
    refresh(&server, &ada.token).await.problem(401, "unauthenticated");
    refused(&server, "a refresh token", &ada.refresh).await;
    server.get(&ada, "/auth/me").await.expect(200);
}

async fn refresh(server: &Server, token: &str) -> Answer {
    server.call(Method::POST, "/auth/refresh", None, Some(&json!({"refresh_token": token}))).await
}

async fn a_session_that_has_ended_opens_no_door(store: Store) {
    let server = Server::start(store).await;
    let (ada, elsewhere) = (server.named("ada").await, server.login("ada").await);
    let mut socket = server.socket(&elsewhere, "/ws").await;
    server.post(&ada, "/auth/logout", json!({})).await.expect(204);
    refused(&server, "a session that was logged out of", &ada.token).await;
    refresh(&server, &ada.refresh).await.problem(401, "unauthenticated");
    // Nor does it keep a socket of another session open.
    socket.send(json!({"type": "auth", "id": "1", "token": ada.token})).await;
    socket.error("1", "unauthenticated").await;
    server.get(&elsewhere, "/auth/me").await.expect(200);
}

/// Does not look again within a test whether sessions live: what ends them has to say so itself.
fn trusting(core: &mut chatcore::Settings) {
    core.trust = Duration::from_secs(3600);
    core.reconcile_every = Duration::from_secs(1800);
}

/// By the owner from another session, by a new password: the token is good for nothing at once, and its socket closes.
async fn every_way_to_end_a_session_ends_its_token(store: Store) {
    let server = Server::with(store, |core, _| trusting(core)).await;
    let (ada, other, third) = (server.named("ada").await, server.login("ada").await, server.login("ada").await);
    let mut socket = server.socket(&other, "/ws").await;
    let session = text(&claims(&other.token)["sid"]);
    server.delete(&ada, &format!("/auth/sessions/{session}")).await.expect(204);
    refused(&server, "a session that was ended from another", &other.token).await;
    socket.bye("revoked", 4401).await;
    refresh(&server, &other.refresh).await.problem(401, "unauthenticated");
    let mut socket = server.socket(&third, "/ws").await;
    let change = json!({"current_password": "correct horse", "new_password": "battery staple"});
    server.put(&ada, "/auth/password", change).await.expect(204);
    refused(&server, "a session from before the password", &third.token).await;
    socket.bye("revoked", 4401).await;
    refresh(&server, &third.refresh).await.problem(401, "unauthenticated");
    server.get(&ada, "/auth/me").await.expect(200);
    refresh(&server, &ada.refresh).await.expect(200);
}

/// Its session lives, and it was good until now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_whose_time_is_over_opens_no_door() {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let server = Server::at(Store::Memory, clock.clone(), |_, _| {}).await;
    let ada = server.person().await;
    clock.advance(Duration::from_secs(14 * 60));
    server.get(&ada, "/auth/me").await.expect(200);
    clock.advance(Duration::from_secs(2 * 60));
    refused(&server, "a token of sixteen minutes", &ada.token).await;
    let fresh = refresh(&server, &ada.refresh).await.expect(200);
    server.call(Method::GET, "/auth/me", fresh["access_token"].as_str(), None).await.expect(200);
    refused(&server, "still the old one", &ada.token).await;
}

/// Many at once with one token all go on, as tabs do; what was spent before that does not.
async fn a_refresh_token_works_once(store: Store) {
    let server = Server::start(store).await;
    let ada = server.person().await;
    let answers = futures::future::join_all((0..8).map(|_| refresh(&server, &ada.refresh))).await;
    let mut seen = std::collections::HashSet::new();
    for answer in &answers {
        assert!(seen.insert(text(&answer.expect(200)["refresh_token"])), "each is another one");
    }
    // Eight were given out and four live: the others were displaced, and count as spent.
    let mut alive = 0;
    for token in &seen {
        let fine = refresh(&server, token).await.status == 200;
        alive += u32::from(fine);
        if !fine {
            break;
        }
    }
    assert!(alive <= 4, "{alive}");
    refused(&server, "its session was ended by that", &ada.token).await;
}

/// Two tabs: both get a pair, all four tokens work, and it is one session still.
async fn two_refreshes_at_once_both_go_on(store: Store) {
    let server = Server::start(store).await;
    let ada = server.person().await;
    let (one, two) = futures::join!(refresh(&server, &ada.refresh), refresh(&server, &ada.refresh));
    let pairs = [one.expect(200), two.expect(200)];
    assert_ne!(pairs[0]["refresh_token"], pairs[1]["refresh_token"]);
    for pair in &pairs {
        server.call(Method::GET, "/auth/me", pair["access_token"].as_str(), None).await.expect(200);
        assert_eq!(claims(pair["access_token"].as_str().unwrap())["sid"], claims(&ada.token)["sid"]);
    }
    for pair in &pairs {
        refresh(&server, pair["refresh_token"].as_str().unwrap()).await.expect(200);
    }
    let sessions = server.get(&ada, "/auth/sessions").await.expect(200);
    assert_eq!(sessions["items"].as_array().unwrap().len(), 1, "{sessions}");
}

/// Only the one that was spent last has its 30 seconds: one from before it ends the session within them as well, sockets and all.
async fn the_token_before_the_last_is_theft_at_any_time(store: Store) {
    let server = Server::with(store, |core, _| trusting(core)).await;
    let (ada, elsewhere) = (server.named("ada").await, server.login("ada").await);
    let second = refresh(&server, &ada.refresh).await.expect(200);
    let third = refresh(&server, second["refresh_token"].as_str().unwrap()).await.expect(200);
    let mut socket = server.socket(&ada, "/ws").await;
    refresh(&server, &ada.refresh).await.problem(401, "unauthenticated");
    refused(&server, "the session has ended", &ada.token).await;
    socket.bye("revoked", 4401).await;
    for tokens in [&second, &third] {
        refused(&server, "the session has ended", tokens["access_token"].as_str().unwrap()).await;
        refresh(&server, tokens["refresh_token"].as_str().unwrap()).await.problem(401, "unauthenticated");
    }
    // The thief's session is one; her others are not its.
    server.get(&elsewhere, "/auth/me").await.expect(200);
    refresh(&server, &elsewhere.refresh).await.expect(200);
}

async fn a_spent_refresh_token_ends_the_session(store: Store) {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let server = Server::at(store, clock.clone(), |core, _| trusting(core)).await;
    let ada = server.person().await;
    let fresh = refresh(&server, &ada.refresh).await.expect(200);
    clock.advance(Duration::from_secs(29));
    let lost = refresh(&server, &ada.refresh).await.expect(200);
    let thief = Person { token: text(&lost["access_token"]), ..ada.clone() };
    let mut socket = server.socket(&thief, "/ws").await;
    clock.advance(Duration::from_secs(2));
    refresh(&server, &ada.refresh).await.problem(401, "unauthenticated");
    socket.bye("revoked", 4401).await;
    for tokens in [&fresh, &lost] {
        refused(&server, "the session has ended", tokens["access_token"].as_str().unwrap()).await;
        refresh(&server, tokens["refresh_token"].as_str().unwrap()).await.problem(401, "unauthenticated");
    }
}

/// What a refresh token is made up of lets nobody in. One that names a session and is none of its tokens, live or spent, cannot be told from one
/// that was spent long ago, so it ends that session: whoever has its id has seen a token of it.
async fn refresh_tokens_of_others_and_of_no_one(store: Store) {
    let server = Server::start(store).await;
    let (ada, eve) = (server.person().await, server.person().await);
    let adas = URL_SAFE_NO_PAD.decode(&ada.refresh).unwrap();
    let eves = URL_SAFE_NO_PAD.decode(&eve.refresh).unwrap();
    let mixed = URL_SAFE_NO_PAD.encode([&adas[..16], &eves[16..]].concat());
    let guessed = URL_SAFE_NO_PAD.encode([&adas[..16], &[0; 32]].concat());
    let nowhere = URL_SAFE_NO_PAD.encode([&[1; 16][..], &adas[16..]].concat());
    for token in [&nowhere, &format!("{}=", ada.refresh), &ada.refresh[..60].to_owned(), &"A".repeat(60_000)] {
        refresh(&server, token).await.problem(401, "unauthenticated");
    }
    let fresh = refresh(&server, &ada.refresh).await.expect(200);
    for token in [&mixed, &guessed] {
        refresh(&server, token).await.problem(401, "unauthenticated");
    }
    refresh(&server, &text(&fresh["refresh_token"])).await.problem(401, "unauthenticated");
    server.get(&ada, "/auth/me").await.problem(401, "unauthenticated");
    // The session of the one who tried goes on, as does every other one.
    server.get(&eve, "/auth/me").await.expect(200);
    server.login(&ada.name).await;
}

/// One user's logins cannot fill the store: beyond the limit each ends the session that was used longest ago, tokens and socket and all.
async fn logins_beyond_the_limit_end_the_sessions_used_longest_ago(store: Store) {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let server = Server::at(store, clock.clone(), |core, _| {
        core.max_sessions_per_user = 3;
        trusting(core);
    })
    .await;
    let other = server.named("bob").await;
    let second = || clock.advance(Duration::from_secs(1));
    let mut sessions = vec![server.named("ada").await];
    for _ in 0..2 {
        second();
        sessions.push(server.login("ada").await);
    }
    // The oldest login is the one that was used last.
    second();
    let fresh = refresh(&server, &sessions[0].refresh).await.expect(200);
    let mut socket = server.socket(&sessions[1], "/ws").await;
    second();
    sessions.push(server.login("ada").await);
    refused(&server, "used longest ago", &sessions[1].token).await;
    refresh(&server, &sessions[1].refresh).await.problem(401, "unauthenticated");
    socket.bye("revoked", 4401).await;
    for lives in [0, 2, 3] {
        server.get(&sessions[lives], "/auth/me").await.expect(200);
    }
    // Many at once: as many as may be are left, and those that were told so work.
    second();
    let answers = futures::future::join_all((0..8).map(|_| server.login("ada"))).await;
    let newest = answers.last().unwrap();
    let mut alive = 0;
    for person in &answers {
        alive += u32::from(server.get(person, "/auth/me").await.status == 200);
    }
    assert_eq!(alive, 3);
    server.call(Method::GET, "/auth/me", fresh["access_token"].as_str(), None).await.problem(401, "unauthenticated");
    let again = server.login(&newest.name).await;
    let listed = server.get(&again, "/auth/sessions").await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 3, "{listed}");
    server.get(&other, "/auth/me").await.expect(200);
}
