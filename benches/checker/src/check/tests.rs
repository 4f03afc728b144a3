//! Each rule, in both directions, on histories of a few lines.

use serde_json::json;

use super::*;
use crate::history::Call;

const ADA: User = 0;
const BOB: User = 1;

/// A history in the making: one room, Ada and Bob in it by events 1 and 2.
struct Story {
    record: Record,
    at: u64,
    ops: usize,
}

impl Story {
    fn new() -> Self {
        let record = Record { nodes: 1, logs: vec![Vec::new()], messages: vec![Vec::new()], ..Record::default() };
        let mut story = Self { record, at: 0, ops: 0 };
        for user in [ADA, BOB] {
            story.event(ADA, "member.joined", json!({"user": user}));
        }
        story
    }

    fn event(&mut self, actor: User, kind: &str, data: impl Into<Value>) -> u64 {
        let data = data.into();
        let log = &mut self.record.logs[0];
        let seq = log.len() as u64 + 1;
        let subject = data["user"].as_u64().and_then(|user| usize::try_from(user).ok());
        let value = json!({"seq": seq, "at": "now", "actor": actor, "event": kind, "data": data});
        log.push(Stored { content: Content::of(&value), actor: Some(actor), subject, value });
        seq
    }

    /// Stored, and shown as a message.
    fn post(&mut self, actor: User, key: &str) -> u64 {
        let seq = self.event(actor, "message.posted", json!({"message": {"client_id": key, "body": key}}));
        let message = json!({"seq": seq, "body": key, "deleted": false, "rev": seq, "reactions": []});
        self.record.messages[0].push(message);
        seq
    }

    fn later(&mut self, seconds: u64) {
        self.at += seconds * 1_000_000;
    }

    fn note(&mut self, user: User, what: What) {
        self.at += 1;
        self.record.entries.push(Entry { at: self.at, user, what });
    }

    fn call(&mut self, user: User, node: Node, session: usize, call: Call, outcome: Outcome) {
        self.ops += 1;
        let op = self.ops;
        self.note(user, What::Called { op, call, node, session, socket: None });
        self.note(user, What::Returned { op, outcome });
    }

    /// Sent by a socket, and not answered yet.
    fn frame(&mut self, user: User, socket: usize, key: &str) -> usize {
        self.ops += 1;
        let call = Call::Post { room: 0, key: key.into(), body: key.into() };
        self.note(user, What::Called { op: self.ops, call, node: 0, session: user, socket: Some(socket) });
        self.ops
    }

    /// Sent, stored and acknowledged.
    fn say(&mut self, user: User, key: &str) -> u64 {
        let seq = self.post(user, key);
        self.send(user, key, done(seq));
        seq
    }

    fn send(&mut self, user: User, key: &str, outcome: Outcome) {
        self.call(user, 0, user, Call::Post { room: 0, key: key.into(), body: key.into() }, outcome);
    }

    fn open(&mut self, user: User, socket: usize, node: Node, from: u64, head: u64) {
        self.note(user, What::Opened { socket, session: user, node, room: None });
        self.note(user, What::Began { socket, room: 0, from: Some(from), head });
    }

    fn got(&mut self, user: User, socket: usize, seq: u64) {
        let event = self.record.event(0, seq).unwrap().clone();
        let key = event.key().map(str::to_owned);
        self.note(user, What::Got { socket, room: 0, seq, content: event.content, key });
    }

    fn rules(&self) -> Vec<&'static str> {
        self.record.check().iter().map(|violation| violation.rule).collect()
    }
}

fn done(seq: u64) -> Outcome {
    Outcome::Done { seq: Some(seq), duplicate: false }
}

fn plain() -> Outcome {
    Outcome::Done { seq: None, duplicate: false }
}

#[test]
fn a_good_history_has_nothing_in_it() {
    let mut story = Story::new();
    story.open(BOB, 1, 0, 0, 2);
    story.say(ADA, "a");
    for seq in 1..=3 {
        story.got(BOB, 1, seq);
    }
    assert!(story.rules().is_empty());
}

#[test]
fn what_was_acknowledged_has_to_be_there() {
    let mut story = Story::new();
    story.send(ADA, "a", done(3));
    assert_eq!(story.rules(), ["acknowledged is durable"]);
    // Under that number, and as it was sent.
    story.post(ADA, "b");
    story.send(ADA, "b", Outcome::Unknown("no answer".into()));
    assert_eq!(story.rules(), ["acknowledged is durable"]);
}

#[test]
fn what_was_not_answered_may_be_there_or_not() {
    let mut story = Story::new();
    story.send(ADA, "a", Outcome::Unknown("no answer".into()));
    assert!(story.rules().is_empty());
    story.post(ADA, "a");
    assert!(story.rules().is_empty());
}

#[test]
fn a_key_is_stored_once() {
    let mut story = Story::new();
    story.say(ADA, "a");
    story.send(ADA, "a", Outcome::Done { seq: Some(3), duplicate: true });
    assert!(story.rules().is_empty());
    // Another's key is another key.
    story.say(BOB, "a");
    assert!(story.rules().is_empty());
    story.post(ADA, "a");
    assert_eq!(story.rules(), ["retry is safe"]);
}

#[test]
fn nothing_is_stored_that_nobody_sent() {
    let mut story = Story::new();
    story.post(ADA, "a");
    assert_eq!(story.rules(), ["only what was sent"]);
}

#[test]
fn sockets_get_every_event_once_and_in_order() {
    for (seqs, rule) in [
        (&[1, 2, 3, 4][..], None),
        (&[2], Some("no hole")),
        (&[1, 3], Some("no hole")),
        (&[1, 2, 2], Some("no repeat, in order")),
        (&[1, 2, 3, 2], Some("no repeat, in order")),
    ] {
        let mut story = Story::new();
        story.say(ADA, "a");
        story.say(ADA, "b");
        story.open(BOB, 1, 0, 0, 4);
        for seq in seqs {
            story.got(BOB, 1, *seq);
        }
        assert_eq!(story.rules(), Vec::from_iter(rule), "{seqs:?}");
    }
}

#[test]
fn nothing_comes_after_ones_own_leaving_but_ones_own_return() {
    let mut story = Story::new();
    story.open(BOB, 1, 0, 0, 2);
    story.event(ADA, "member.left", json!({"user": BOB}));
    story.say(ADA, "a");
    for seq in 1..=3 {
        story.got(BOB, 1, seq);
    }
    assert!(story.rules().is_empty());
    story.event(ADA, "member.joined", json!({"user": BOB}));
    story.got(BOB, 1, 5);
    assert!(story.rules().is_empty(), "a return may leave out what came between");
    story.event(ADA, "member.left", json!({"user": BOB}));
    story.say(ADA, "b");
    story.got(BOB, 1, 6);
    story.got(BOB, 1, 7);
    assert_eq!(story.rules(), ["out is out"]);
}

#[test]
fn an_old_leaving_is_history() {
    let mut story = Story::new();
    story.event(ADA, "member.left", json!({"user": BOB}));
    story.event(ADA, "member.joined", json!({"user": BOB}));
    story.open(BOB, 1, 0, 2, 4);
    story.say(ADA, "a");
    for seq in 3..=5 {
        story.got(BOB, 1, seq);
    }
    assert!(story.rules().is_empty());
}

#[test]
fn sockets_and_store_agree_but_for_deleted_bodies() {
    let mut story = Story::new();
    let seq = story.say(ADA, "a");
    story.open(BOB, 1, 0, 2, 2);
    story.got(BOB, 1, seq);
    // The deletion takes the body out of the log afterwards.
    let event = &mut story.record.logs[0][2];
    event.value["data"]["message"]["body"] = Value::Null;
    event.value["data"]["message"]["deleted"] = json!(true);
    event.content = Content::of(&event.value);
    story.event(ADA, "message.deleted", json!({"seq": seq}));
    story.record.messages[0][0] = json!({"seq": 3, "body": null, "deleted": true, "rev": 4, "reactions": []});
    assert!(story.rules().is_empty());
    // Anything else is another event.
    story.record.logs[0][2].content.bare ^= 1;
    assert_eq!(story.rules(), ["sockets and store agree"]);
}

#[test]
fn an_ended_session_gets_nothing_that_was_sent_after() {
    for (node, seconds, rule) in [(0, 0, true), (1, 0, false), (1, 6, true)] {
        let mut story = Story::new();
        story.open(BOB, 1, node, 2, 2);
        story.call(BOB, 0, BOB, Call::Logout, plain());
        story.later(seconds);
        let seq = story.say(ADA, "a");
        story.got(BOB, 1, seq);
        story.note(BOB, What::Ended { socket: 1, why: "bye revoked".into() });
        assert_eq!(story.rules().contains(&"out is out"), rule, "node {node}, {seconds} s");
    }
}

#[test]
fn a_socket_does_not_live_on_after_its_session() {
    let mut story = Story::new();
    story.open(BOB, 1, 0, 2, 2);
    story.call(BOB, 0, BOB, Call::Logout, plain());
    assert_eq!(story.rules(), ["out is out"]);
    story.later(1);
    story.note(BOB, What::Ended { socket: 1, why: "bye revoked".into() });
    assert!(story.rules().is_empty());
}

#[test]
fn who_was_removed_does_nothing_more_there() {
    let removed = |node: Node, seconds: u64, again: bool| {
        let mut story = Story::new();
        story.record.nodes = 2;
        story.event(ADA, "member.left", json!({"user": BOB}));
        story.call(ADA, 0, ADA, Call::Remove { room: 0, user: BOB }, plain());
        if again {
            story.call(ADA, 0, ADA, Call::Add { room: 0, user: BOB }, plain());
        }
        story.later(seconds);
        let seq = story.post(BOB, "b");
        story.call(BOB, node, BOB, Call::Post { room: 0, key: "b".into(), body: "b".into() }, done(seq));
        story.rules()
    };
    assert_eq!(removed(0, 0, false), ["out is out"]);
    assert!(removed(1, 0, false).is_empty(), "elsewhere it takes 5 s");
    assert_eq!(removed(1, 6, false), ["out is out"]);
    assert!(removed(0, 0, true).is_empty(), "who was added again may");
}

#[test]
fn on_one_node_the_log_itself_shows_who_was_out() {
    let mut story = Story::new();
    story.event(ADA, "member.left", json!({"user": BOB}));
    story.say(BOB, "b");
    assert_eq!(story.rules(), ["out is out"]);
}

#[test]
fn who_is_blocked_posts_nothing_until_the_block_is_taken_back() {
    let mut story = Story::new();
    story.record.pairs.insert(0, [ADA, BOB]);
    story.call(ADA, 0, ADA, Call::Block { user: BOB }, plain());
    story.call(ADA, 0, ADA, Call::Unblock { user: BOB }, plain());
    story.say(BOB, "b");
    assert!(story.rules().is_empty());
    story.call(BOB, 0, BOB, Call::Block { user: ADA }, plain());
    story.call(ADA, 0, ADA, Call::Unblock { user: BOB }, plain());
    story.say(ADA, "a");
    assert_eq!(story.rules(), ["out is out"]);
}

#[test]
fn who_is_blocked_may_take_back_what_was_given() {
    for (on, rules) in [(false, vec![]), (true, vec!["out is out"])] {
        let mut story = Story::new();
        story.record.pairs.insert(0, [ADA, BOB]);
        let seq = story.say(ADA, "a");
        story.event(BOB, "reaction.added", json!({"seq": seq, "emoji": "👍"}));
        story.event(BOB, "reaction.removed", json!({"seq": seq, "emoji": "👍"}));
        let mut last = 5;
        if on {
            last = story.event(BOB, "reaction.added", json!({"seq": seq, "emoji": "👍"}));
            story.record.messages[0][0]["reactions"] = json!([{"emoji": "👍", "count": 1}]);
        }
        story.record.messages[0][0]["rev"] = json!(last);
        story.call(ADA, 0, ADA, Call::Block { user: BOB }, plain());
        story.call(BOB, 0, BOB, Call::React { room: 0, seq, emoji: "👍", on }, done(last));
        assert_eq!(story.rules(), rules, "{on}");
    }
}

#[test]
fn messages_are_what_their_logs_say() {
    let mut story = Story::new();
    let seq = story.say(ADA, "a");
    story.event(BOB, "reaction.added", json!({"seq": seq, "emoji": "👍"}));
    assert_eq!(story.rules(), ["messages and logs agree"]);
    let message = &mut story.record.messages[0][0];
    message["rev"] = json!(4);
    message["reactions"] = json!([{"emoji": "👍", "count": 1}]);
    assert!(story.rules().is_empty());
}

#[test]
fn markers_stay_and_counts_are_recounted() {
    let mut story = Story::new();
    story.say(ADA, "a");
    story.say(ADA, "b");
    story.call(BOB, 0, BOB, Call::Read { room: 0, seq: 3 }, plain());
    for (read, unread, rules) in [(3, 1, vec![]), (3, 2, vec!["unread counts"]), (2, 2, vec!["markers stay"])] {
        story.record.summaries = vec![(BOB, 0, json!({"read": read, "unread": unread}))];
        assert_eq!(story.rules(), rules, "{read}, {unread}");
    }
}

#[test]
fn a_defect_is_no_answer() {
    let mut story = Story::new();
    story.call(ADA, 0, ADA, Call::Fetch { room: 0 }, Outcome::Refused("forbidden".into()));
    assert!(story.rules().is_empty());
    story.call(ADA, 0, ADA, Call::Fetch { room: 0 }, Outcome::Refused("internal".into()));
    assert_eq!(story.rules(), ["no defect is answered"]);
}

#[test]
fn a_violation_is_shown_by_the_lines_that_prove_it() {
    let mut story = Story::new();
    for number in 0..50 {
        story.say(ADA, &format!("a{number}"));
    }
    story.open(BOB, 1, 0, 0, 52);
    story.got(BOB, 1, 1);
    story.got(BOB, 1, 5);
    let violations = story.record.check();
    let shown = violations[0].show(&story.record).to_string();
    assert_eq!(shown.lines().count(), 6, "{shown}");
    assert!(shown.contains("event 5 where event 2 should come"), "{shown}");
}

#[test]
fn what_one_socket_sends_is_stored_in_that_order() {
    let mut story = Story::new();
    let ops = [story.frame(ADA, 1, "a"), story.frame(ADA, 1, "b"), story.frame(ADA, 2, "c")];
    let (c, b, a) = (story.post(ADA, "c"), story.post(ADA, "b"), story.post(ADA, "a"));
    story.note(ADA, What::Returned { op: ops[0], outcome: done(a) });
    story.note(ADA, What::Returned { op: ops[2], outcome: done(c) });
    assert!(story.rules().is_empty(), "two sockets have no order");
    story.note(ADA, What::Returned { op: ops[1], outcome: done(b) });
    assert_eq!(story.rules(), ["in the order sent"]);
}

#[test]
fn who_comes_after_a_deletion_gets_no_body() {
    let mut story = Story::new();
    let seq = story.say(ADA, "a");
    let with_body = story.record.event(0, seq).unwrap().clone();
    story.open(BOB, 1, 1, 2, seq);
    story.call(ADA, 0, ADA, Call::Delete { room: 0, seq }, plain());
    let log = &mut story.record.logs[0];
    let deleted = json!({"client_id": "a", "body": null, "deleted": true});
    log[2].value["data"]["message"] = deleted;
    log[2].content = Content::of(&log[2].value.clone());
    story.event(ADA, "message.deleted", json!({"seq": seq}));
    let message = &mut story.record.messages[0][0];
    (message["body"], message["deleted"], message["rev"]) = (Value::Null, json!(true), json!(seq + 1));
    let got = |story: &mut Story, socket: usize| {
        let content = with_body.content;
        story.note(BOB, What::Got { socket, room: 0, seq, content, key: Some("a".into()) });
    };
    got(&mut story, 1);
    assert!(story.rules().is_empty(), "it was open before");
    story.later(4);
    story.open(BOB, 2, 1, 2, seq);
    got(&mut story, 2);
    assert!(story.rules().is_empty(), "another node has its time");
    story.later(2);
    story.open(BOB, 3, 1, 2, seq);
    got(&mut story, 3);
    assert_eq!(story.rules(), ["deleted is gone"]);
}

#[test]
fn who_listens_does_not_wait_for_long() {
    let mut story = Story::new();
    story.open(BOB, 1, 0, 2, 2);
    let seq = story.say(ADA, "a");
    story.later(19);
    story.got(BOB, 1, seq);
    assert!(story.rules().is_empty());
    let seq = story.say(ADA, "b");
    story.later(21);
    story.got(BOB, 1, seq);
    assert_eq!(story.rules(), ["nobody falls silent"]);
}

#[test]
fn a_new_password_ends_the_other_sessions_and_lets_no_old_one_in() {
    let mut story = Story::new();
    story.call(BOB, 0, 7, Call::Login { password: 0 }, plain());
    story.call(BOB, 0, 8, Call::Login { password: 0 }, plain());
    story.call(BOB, 0, 7, Call::ChangePassword { to: 1 }, plain());
    story.call(BOB, 0, 7, Call::Me, plain());
    story.call(BOB, 0, 9, Call::Login { password: 1 }, plain());
    story.call(BOB, 0, 9, Call::Me, plain());
    assert!(story.rules().is_empty());
    story.call(BOB, 0, 8, Call::Me, plain());
    assert_eq!(story.rules(), ["out is out"]);
    story.call(BOB, 0, 10, Call::Login { password: 0 }, plain());
    assert_eq!(story.rules(), ["out is out", "out is out"]);
}
