//! What each role may do in a group, call by call: the protocol's table of roles as a matrix, with the very status and code.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Person, Server, Store, on_every_store, text};

on_every_store!(every_role_does_what_its_row_says_and_nothing_else, a_removed_member_has_no_frame_left);

/// Who acts, in the order of the columns below.
const ACTORS: [&str; 5] = ["owner", "admin", "member", "removed", "outsider"];

/// A group with somebody of each kind in it, or not in it.
struct Group {
    room: String,
    /// By the order of [`ACTORS`].
    actors: [Person; 5],
    other_admin: Person,
    other: Person,
    /// What each actor posted while they were in; the outsider has the owner's.
    own: [u64; 5],
    others: u64,
}

impl Group {
    async fn of(server: &Server, people: &[Person]) -> Self {
        let [owner, admin, member, removed, outsider, other_admin, other] = people else { panic!("seven people") };
        let room = server.group(&[owner, admin, member, removed, other_admin, other]).await;
        for who in [admin, other_admin] {
            let path = format!("/chat-rooms/{room}/members/{}/role", who.id);
            server.put(owner, &path, json!({"role": "admin"})).await.expect(200);
        }
        let mut own = [0; 5];
        for (seq, who) in own.iter_mut().zip([owner, admin, member, removed]) {
            *seq = server.say(who, &room, "mine").await;
        }
        own[4] = own[0];
        let others = server.say(other, &room, "another's").await;
        server.delete(owner, &format!("/chat-rooms/{room}/members/{}", removed.id)).await.expect(204);
        let actors = [owner, admin, member, removed, outsider].map(Clone::clone);
        Self { room, actors, other_admin: other_admin.clone(), other: other.clone(), own, others }
    }

    /// The log and the members, which is all that an attempt could change.
    async fn look(&self, server: &Server) -> (Value, Value) {
        let path = format!("/chat-rooms/{}", self.room);
        let events = server.get(&self.actors[0], &format!("{path}/events?limit=100")).await.expect(200);
        let members = server.get(&self.actors[0], &format!("{path}/members")).await.expect(200);
        (events, members)
    }
}

/// What is attempted.
#[derive(Debug, Clone, Copy)]
enum Attempt {
    Rename,
    AddSomebody,
    AddThemselves,
    Leave,
    RemoveMember,
    RemoveAdmin,
    RemoveOwner,
    RemoveNobody,
    RaiseThemselves(&'static str),
    LowerThemselves,
    RaiseMember(&'static str),
    LowerAdmin,
    LowerOwner,
    RaiseOutsider,
    EditOwn,
    EditOthers,
    DeleteOwn,
    DeleteOthers,
    DeleteOwners,
}

impl Attempt {
    fn call(self, group: &Group, actor: usize, new: &Person) -> (Method, String, Value) {
        let me = &group.actors[actor].id;
        let (owner, outsider) = (&group.actors[0].id, &group.actors[4].id);
        let room = format!("/chat-rooms/{}", group.room);
        let member = |id: &str| format!("{room}/members/{id}");
        let role = |id: &str, role: &str| (Method::PUT, format!("{room}/members/{id}/role"), json!({"role": role}));
        let message = |seq: u64| format!("/messages/{}/{seq}", group.room);
        let add = |id: &str| (Method::POST, format!("{room}/members"), json!({"user_ids": [id]}));
        let edit = |seq: u64| (Method::PATCH, message(seq), json!({"body": "changed"}));
        let delete = |path: String| (Method::DELETE, path, json!({}));
        match self {
            Self::Rename => (Method::PATCH, room.clone(), json!({"name": "renamed"})),
            Self::AddSomebody => add(&new.id),
            Self::AddThemselves => add(me),
            Self::Leave => delete(member(me)),
            Self::RemoveMember => delete(member(&group.other.id)),
            Self::RemoveAdmin => delete(member(&group.other_admin.id)),
            Self::RemoveOwner => delete(member(owner)),
            Self::RemoveNobody => delete(member(outsider)),
            Self::RaiseThemselves(to) => role(me, to),
            Self::LowerThemselves => role(me, "member"),
            Self::RaiseMember(to) => role(&group.other.id, to),
            Self::LowerAdmin => role(&group.other_admin.id, "member"),
            Self::LowerOwner => role(owner, "member"),
            Self::RaiseOutsider => role(outsider, "owner"),
            Self::EditOwn => edit(group.own[actor]),
            Self::EditOthers => edit(group.others),
            Self::DeleteOwn => delete(message(group.own[actor])),
            Self::DeleteOthers => delete(message(group.others)),
            Self::DeleteOwners => delete(message(group.own[0])),
        }
    }
}

/// The columns are those of [`ACTORS`]. The owner is the only one, so 409 is `last_owner`; 404 is a member that is none.
const MATRIX: [(Attempt, [u16; 5]); 21] = [
    (Attempt::Rename, [200, 200, 403, 403, 403]),
    (Attempt::AddSomebody, [200, 200, 403, 403, 403]),
    (Attempt::AddThemselves, [200, 200, 403, 403, 403]),
    // To leave where one is not is nothing, and says nothing of the room.
    (Attempt::Leave, [409, 204, 204, 204, 204]),
    (Attempt::RemoveMember, [204, 204, 403, 403, 403]),
    (Attempt::RemoveAdmin, [204, 403, 403, 403, 403]),
    (Attempt::RemoveOwner, [409, 403, 403, 403, 403]),
    // The outsider is the one who is removed here, so it is leaving again.
    (Attempt::RemoveNobody, [204, 204, 403, 403, 204]),
    (Attempt::RaiseThemselves("owner"), [200, 403, 403, 403, 403]),
    (Attempt::RaiseThemselves("admin"), [409, 403, 403, 403, 403]),
    (Attempt::LowerThemselves, [409, 403, 403, 403, 403]),
    (Attempt::RaiseMember("admin"), [200, 403, 403, 403, 403]),
    (Attempt::RaiseMember("owner"), [200, 403, 403, 403, 403]),
    (Attempt::LowerAdmin, [200, 403, 403, 403, 403]),
    (Attempt::LowerOwner, [409, 403, 403, 403, 403]),
    (Attempt::RaiseOutsider, [404, 403, 403, 403, 403]),
    // The outsider's own is the owner's.
    (Attempt::EditOwn, [200, 200, 200, 403, 403]),
    (Attempt::EditOthers, [403, 403, 403, 403, 403]),
    (Attempt::DeleteOwn, [204, 204, 204, 403, 403]),
    (Attempt::DeleteOthers, [204, 204, 403, 403, 403]),
    (Attempt::DeleteOwners, [204, 204, 403, 403, 403]),
];

/// Nothing has changed after these, even where they succeed.
fn does_nothing(attempt: Attempt, actor: usize) -> bool {
    match attempt {
        Attempt::AddThemselves | Attempt::RemoveNobody | Attempt::RaiseThemselves(_) => true,
        Attempt::Leave => actor > 2,
        _ => false,
    }
}

async fn every_role_does_what_its_row_says_and_nothing_else(store: Store) {
    let server = Server::start(store).await;
    let mut people = Vec::new();
    for _ in 0..7 {
        people.push(server.person().await);
    }
    let new = server.person().await;
    let mut group = Group::of(&server, &people).await;
    let mut before = group.look(&server).await;
    for (attempt, statuses) in MATRIX {
        for (actor, (name, status)) in ACTORS.iter().zip(statuses).enumerate() {
            let (method, path, body) = attempt.call(&group, actor, &new);
            let token = &group.actors[actor].token;
            let answer = server.call(method, &path, Some(token), Some(&body)).await;
            assert_eq!(answer.status.as_u16(), status, "{name} {attempt:?}: {answer:?}");
            match status {
                403 => drop(answer.problem(403, "forbidden")),
                404 => drop(answer.problem(404, "not_found")),
                409 => answer.rule("last_owner"),
                _ => {}
            }
            let after = group.look(&server).await;
            if status >= 400 || does_nothing(attempt, actor) {
                assert_eq!(after, before, "{name} {attempt:?} changed something");
            } else {
                assert_ne!(after.0, before.0, "{name} {attempt:?} stands in the log");
                // The next one finds a group in which everybody is where the matrix wants them.
                group = Group::of(&server, &people).await;
                before = group.look(&server).await;
            }
        }
    }
}

/// Over a socket that was opened while they were a member, and one that is opened later.
async fn a_removed_member_has_no_frame_left(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob, rob) = (server.person().await, server.person().await, server.person().await);
    let room = server.group(&[&ada, &bob, &rob]).await;
    let (own, adas) = (server.say(&rob, &room, "mine").await, server.say(&ada, &room, "hers").await);
    let mut early = server.started(&rob, json!({})).await;
    server.delete(&ada, &format!("/chat-rooms/{room}/members/{}", rob.id)).await.expect(204);
    let events = format!("/chat-rooms/{room}/events?limit=100");
    let before = server.get(&ada, &events).await.expect(200);
    let mut late = server.started(&rob, json!({})).await;
    for socket in [&mut early, &mut late] {
        for (n, mut frame) in [
            json!({"type": "message.send", "body": "still here"}),
            json!({"type": "message.edit", "seq": own, "body": "changed"}),
            json!({"type": "message.delete", "seq": own}),
            json!({"type": "message.edit", "seq": adas, "body": "changed"}),
            json!({"type": "message.delete", "seq": adas}),
            json!({"type": "reaction.add", "seq": adas, "emoji": "x"}),
            json!({"type": "reaction.remove", "seq": adas, "emoji": "x"}),
            json!({"type": "read", "seq": adas}),
            json!({"type": "typing", "on": true}),
        ]
        .into_iter()
        .enumerate()
        {
            frame["room"] = json!(room);
            frame["id"] = json!(n.to_string());
            socket.send(frame).await;
            socket.error(&n.to_string(), "forbidden").await;
        }
    }
    assert_eq!(server.get(&ada, &events).await.expect(200), before);
    // What is said from now on reaches neither socket.
    server.say(&ada, &room, "without him").await;
    for socket in [&mut early, &mut late] {
        let heard = |frame: &Value| frame["data"]["message"]["body"] == "without him";
        assert!(!socket.has(heard).await);
    }
    let members = server.get(&ada, &format!("/chat-rooms/{room}/members")).await.expect(200);
    let ids: Vec<String> =
        members["items"].as_array().unwrap().iter().map(|member| text(&member["user"]["id"])).collect();
    assert_eq!(ids.len(), 2);
    assert!(!ids.contains(&rob.id));
}
