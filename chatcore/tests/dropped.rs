//! Calls whose client goes away: dropped at each place where they wait, over stores that make them wait before and after every step. What has
//! to follow a step that was made follows all the same.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use chatcore::hub::{CloseReason, Connection, Delivery, Scope, Signal, SignalKind};
use chatcore::id::RoomId;
use chatcore::memory::MemoryStore;
use chatcore::model::{AccessSecret, PasswordHash, Role};
use chatcore::service::{
    Error, FriendRef, GroupInput, LoginInput, PostInput, Principal, ProfileInput, RegisterInput, TokenPair,
};
use chatcore::store::{FriendshipList, Storage};
use chatcore::testing::{dropped_after, yielding};
use chatcore::{Chat, Settings};

/// Longer than anything that goes on without a client, and shorter than what would make good for it.
const AFTER_ALL: Duration = Duration::from_secs(60);
const PASSWORD: &str = "correct horse";
const NEW_PASSWORD: &str = "battery staple";

/// Sessions of one user here.
const MOST_SESSIONS: u32 = 3;

fn settings() -> Settings {
    let hour = Duration::from_secs(3600);
    let mut settings = Settings::new(AccessSecret::new([7; 32]).unwrap());
    settings.hashing.memory_kib = 8;
    settings.hashing.iterations = 1;
    settings.hashing.workers = 2;
    settings.logins_per_account = None;
    settings.logins_by_strangers = None;
    settings.max_sessions_per_user = MOST_SESSIONS;
    // Nothing is found later by looking again.
    settings.trust = 4 * hour;
    settings.reconcile_every = 2 * hour;
    settings.sweep_every = 2 * hour;
    settings
}

/// Somebody with two sessions, of which the second has a socket.
struct Person {
    here: Principal,
    there: Principal,
    tokens: [TokenPair; 2],
    socket: Connection,
    signals: Vec<Arc<Signal>>,
}

impl Person {
    async fn new(chat: &Chat, name: &str) -> Self {
        let email = format!("{name}@example.org");
        let input = RegisterInput { username: name, email: &email, password: PASSWORD, display_name: None };
        chat.register(input, None).await.unwrap();
        let tokens = [login(chat, name).await.unwrap(), login(chat, name).await.unwrap()];
        let here = chat.authenticate(&tokens[0].access_token).await.unwrap();
        let there = chat.authenticate(&tokens[1].access_token).await.unwrap();
        let (mut socket, _) = chat.connect(&there, Scope::All, None).await.unwrap();
        chat.resume(&mut socket, &[], false).await.unwrap();
        Self { here, there, tokens, socket, signals: Vec::new() }
    }

    /// Takes what has come to the socket.
    async fn listen(&mut self) {
        poll_fn(|context| {
            while let Poll::Ready(Delivery::News { signals, .. }) = self.socket.poll_next(context) {
                self.signals.extend(signals);
            }
            Poll::Ready(())
        })
        .await;
    }

    async fn closed(&self) -> Option<CloseReason> {
        poll_fn(|context| match self.socket.poll_closed(context) {
            Poll::Ready(reason) => Poll::Ready(Some(reason)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    fn heard(&self, which: impl Fn(&SignalKind) -> bool) -> bool {
        self.signals.iter().any(|signal| which(&signal.kind))
    }
}

async fn login(chat: &Chat, name: &str) -> Result<TokenPair, Error> {
    chat.login(LoginInput { login: name, password: PASSWORD, device: None }, None).await
}

struct World {
    chat: Chat,
    /// Past the yielding, for those who look.
    storage: Storage,
    ada: Person,
    bob: Person,
    /// Their direct room.
    direct: RoomId,
    /// A group of ada's, without bob.
    group: RoomId,
    /// Ada's at the beginning.
    first_password: PasswordHash,
}

impl World {
    async fn new() -> Self {
        let storage = Storage::single(Arc::new(MemoryStore::new()));
        let chat = Chat::builder(yielding(storage.clone()), settings()).start().unwrap();
        let (ada, bob) = (Person::new(&chat, "ada").await, Person::new(&chat, "bob").await);
        let direct = chat.open_direct(&ada.here, bob.here.user).await.unwrap().room.summary.room.id;
        let group = GroupInput { name: "a group", members: &[], client_id: None };
        let group = chat.create_group(&ada.here, group).await.unwrap().room.summary.room.id;
        let first_password = storage.users.credentials(ada.here.user).await.unwrap().unwrap().password;
        let mut world = Self { chat, storage, ada, bob, direct, group, first_password };
        // Everything that is cached is cached now.
        world.bob_posts().await.unwrap();
        world.ada.listen().await;
        world.bob.listen().await;
        world.bob.signals.clear();
        world.ada.signals.clear();
        world
    }

    async fn befriend(&self) {
        let request = self.chat.request_friend(&self.bob.here, FriendRef::Id(self.ada.here.user)).await.unwrap();
        self.chat.answer_friend(&self.ada.here, request.friendship.friendship.id, true).await.unwrap();
    }

    async fn bob_posts(&self) -> Result<(), Error> {
        let input = PostInput { body: "hello", client_id: None, reply_to: None };
        self.chat.post(&self.bob.here, self.direct, input).await.map(drop)
    }

    /// What has to hold whatever was stopped half-way, once nothing goes on any more.
    async fn check(&mut self, what: &str) {
        tokio::time::sleep(AFTER_ALL).await;
        self.ada.listen().await;
        self.bob.listen().await;
        let (ada, bob) = (self.ada.here.user, self.bob.here.user);
        let now = self.chat.now();
        let alive = self.storage.sessions.list(ada, now, None, 100).await.unwrap();
        assert!(alive.len() <= MOST_SESSIONS as usize, "{what}: {alive:?}");
        let password = self.storage.users.credentials(ada).await.unwrap().unwrap().password;
        let ids: Vec<_> = alive.iter().map(|session| session.id).collect();
        if password != self.first_password {
            assert_eq!(ids, [self.ada.here.session], "{what}: the password is another one, and other sessions live");
        }
        for (caller, tokens) in [(&self.ada.here, &self.ada.tokens[0]), (&self.ada.there, &self.ada.tokens[1])] {
            let lives = ids.contains(&caller.session);
            let lets_in = self.chat.authenticate(&tokens.access_token).await.is_ok();
            assert_eq!(lives, lets_in, "{what}: a session and what this node believes of it");
        }
        let expected = (!ids.contains(&self.ada.there.session)).then_some(CloseReason::Revoked);
        assert_eq!(self.ada.closed().await, expected, "{what}: a socket and its session");

        let relation = self.storage.friendships.relation(ada, bob).await.unwrap();
        let posted = self.bob_posts().await;
        assert_eq!(relation.any_block(), matches!(posted, Err(Error::Forbidden(_))), "{what}: {posted:?}");

        for room in [self.direct, self.group] {
            let intents = self.storage.rooms.intents(room).await.unwrap();
            assert!(intents.is_empty(), "{what}: {intents:?} is recorded and not in the log");
        }
    }
}

/// Calls that come to their end before every place where they wait counts as met: hashing on another thread is waited for once or not at all,
/// as it happens.
const ENDS: usize = 3;

/// Drops a call at each place where it waits, each time in a world of its own, and checks that.
async fn dropped_everywhere(
    what: &str,
    prepare: impl AsyncFn(&mut World),
    call: impl AsyncFn(&World),
    check: impl AsyncFn(&mut World, &str),
) {
    let mut ends = 0;
    for waits in 0.. {
        let mut world = World::new().await;
        prepare(&mut world).await;
        let done = dropped_after(call(&world), waits).await.is_some();
        let what = format!("{what}, dropped at wait {waits}");
        world.check(&what).await;
        check(&mut world, &what).await;
        ends += usize::from(done);
        if ends == ENDS {
            assert!(waits >= ENDS, "{what}: it never waited");
            return;
        }
        assert!(waits < 1000, "{what}: it never ends");
    }
}

async fn nothing(_: &mut World) {}
async fn nothing_more(_: &mut World, _: &str) {}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_password_ends_the_other_sessions() {
    let call = async |world: &World| {
        let done = world.chat.change_password(&world.ada.here, PASSWORD, NEW_PASSWORD).await;
        done.unwrap();
    };
    dropped_everywhere("a new password", nothing, call, async |world, what| {
        // Made again by whoever does not know what has become of it, it is a success, made by then or not.
        let again = world.chat.change_password(&world.ada.here, PASSWORD, NEW_PASSWORD).await;
        assert!(again.is_ok(), "{what}: {again:?}");
        world.check(what).await;
    })
    .await;
}

/// A server that stops has made whole what it began, also for those who do not wait for it any more.
#[tokio::test(start_paused = true)]
async fn what_was_begun_is_whole_when_the_server_has_stopped() {
    let World { chat, storage, ada, bob, .. } = World::new().await;
    let (here, there, tokens) = (ada.here, ada.there, ada.tokens);
    // No socket is waited for, so nothing but the change itself is.
    drop((ada.socket, bob));
    assert!(dropped_after(chat.end_session(&here, there.session), 0).await.is_none());
    chat.shutdown(Duration::from_secs(20)).await;
    assert_eq!(storage.sessions.alive(&[there.session], chat.now()).await.unwrap(), []);
    assert!(chat.authenticate(&tokens[1].access_token).await.is_err(), "what this node believes of it");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_session_closes_its_sockets() {
    let there = |world: &World| world.ada.there;
    let call = async |world: &World| world.chat.logout(&there(world)).await.unwrap();
    dropped_everywhere("logout", nothing, call, nothing_more).await;
    let call = async |world: &World| {
        let session = there(world).session;
        world.chat.end_session(&world.ada.here, session).await.unwrap();
    };
    dropped_everywhere("the end of another session", nothing, call, nothing_more).await;
}

#[tokio::test(start_paused = true)]
async fn a_spent_refresh_token_ends_its_session() {
    let spend = async |world: &mut World| {
        let fresh = world.chat.refresh(&world.ada.tokens[1].refresh_token, None).await.unwrap();
        world.chat.refresh(&fresh.refresh_token, None).await.unwrap();
    };
    let call = async |world: &World| {
        world.chat.refresh(&world.ada.tokens[1].refresh_token, None).await.unwrap_err();
    };
    dropped_everywhere("a spent token", spend, call, nothing_more).await;
}

#[tokio::test(start_paused = true)]
async fn a_login_beyond_the_limit_ends_the_oldest() {
    // Two there are, and this one is the third; the next goes beyond. The socket's session is the second, so two more go beyond for it.
    let more = async |world: &mut World| {
        login(&world.chat, "ada").await.unwrap();
        login(&world.chat, "ada").await.unwrap();
    };
    let call = async |world: &World| drop(login(&world.chat, "ada").await.unwrap());
    dropped_everywhere("a login", more, call, nothing_more).await;
}

#[tokio::test(start_paused = true)]
async fn a_block_holds_at_once_and_ends_with_its_end() {
    let befriend = async |world: &mut World| {
        world.befriend().await;
        // The relation is cached again, as one of friends.
        world.bob_posts().await.unwrap();
    };
    let call = async |world: &World| world.chat.block(&world.ada.here, world.bob.here.user).await.unwrap();
    let told = async |world: &mut World, what: &str| {
        let relation = world.storage.friendships.relation(world.ada.here.user, world.bob.here.user).await.unwrap();
        let told = world.bob.heard(|kind| matches!(kind, SignalKind::FriendRemoved(_)));
        assert_eq!(relation.any_block(), told, "{what}: bob was told");
    };
    dropped_everywhere("a block", befriend, call, told).await;

    let block = async |world: &mut World| {
        world.chat.block(&world.ada.here, world.bob.here.user).await.unwrap();
        world.bob_posts().await.unwrap_err();
    };
    let call = async |world: &World| world.chat.unblock(&world.ada.here, world.bob.here.user).await.unwrap();
    dropped_everywhere("its end", block, call, nothing_more).await;
}

#[tokio::test(start_paused = true)]
async fn what_happens_to_a_friendship_is_told() {
    let pending = |world: &World| {
        let store = world.storage.friendships.clone();
        let ada = world.ada.here.user;
        async move { store.list(ada, FriendshipList::Incoming, None, 10).await.unwrap().pop() }
    };
    let call = async |world: &World| {
        world.chat.request_friend(&world.bob.here, FriendRef::Name("ada")).await.unwrap();
    };
    dropped_everywhere("a request", nothing, call, async |world, what| {
        let told = world.ada.heard(|kind| matches!(kind, SignalKind::FriendRequested(_)));
        assert_eq!(pending(world).await.is_some(), told, "{what}");
    })
    .await;

    let ask = async |world: &mut World| {
        world.chat.request_friend(&world.bob.here, FriendRef::Name("ada")).await.unwrap();
    };
    for accept in [true, false] {
        let call = async |world: &World| {
            let id = pending(world).await.unwrap().id;
            world.chat.answer_friend(&world.ada.here, id, accept).await.unwrap();
        };
        dropped_everywhere("an answer", ask, call, async |world, what| {
            let told = world.bob.heard(|kind| match kind {
                SignalKind::FriendAccepted(_) => accept,
                SignalKind::FriendRemoved(_) => !accept,
                _ => false,
            });
            assert_eq!(pending(world).await.is_none(), told, "{what}");
        })
        .await;
    }

    let befriend = async |world: &mut World| world.befriend().await;
    let call = async |world: &World| {
        let list = world.chat.friendships(&world.ada.here, FriendshipList::Friends, None, 10).await.unwrap();
        world.chat.end_friendship(&world.ada.here, list.items[0].friendship.id).await.unwrap();
    };
    dropped_everywhere("the end of a friendship", befriend, call, async |world, what| {
        let relation = world.storage.friendships.relation(world.ada.here.user, world.bob.here.user).await.unwrap();
        let told = world.bob.heard(|kind| matches!(kind, SignalKind::FriendRemoved(_)));
        assert_eq!(relation.friendship.is_none(), told, "{what}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_new_name_is_told() {
    let call = async |world: &World| {
        let input = ProfileInput { display_name: Some("Countess"), email: None };
        world.chat.update_profile(&world.ada.here, input).await.unwrap();
    };
    dropped_everywhere("a new name", nothing, call, async |world, what| {
        let account = world.storage.users.account(world.ada.here.user).await.unwrap().unwrap();
        let told = world.bob.heard(|kind| matches!(kind, SignalKind::UserUpdated(_)));
        assert_eq!(account.user.display_name.as_str() == "Countess", told, "{what}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn changes_of_a_room_reach_its_log_and_those_they_concern() {
    let in_group = |world: &World| {
        let (rooms, group, bob) = (world.storage.rooms.clone(), world.group, world.bob.here.user);
        async move { rooms.member_ids(group).await.unwrap().contains(&bob) }
    };
    let add = async |world: &World| {
        world.chat.add_members(&world.ada.here, world.group, &[world.bob.here.user]).await.unwrap();
    };
    dropped_everywhere("an addition", nothing, add, async |world, what| {
        let told = world.bob.heard(|kind| matches!(kind, SignalKind::RoomAdded(_)));
        assert_eq!(in_group(world).await, told, "{what}");
    })
    .await;

    let added = async |world: &mut World| {
        world.chat.add_members(&world.ada.here, world.group, &[world.bob.here.user]).await.unwrap();
        world.chat.room(&world.bob.here, world.group).await.unwrap();
    };
    let remove = async |world: &World| {
        world.chat.remove_member(&world.ada.here, world.group, world.bob.here.user).await.unwrap();
    };
    dropped_everywhere("a removal", added, remove, async |world, what| {
        let there = in_group(world).await;
        let told = world.bob.heard(|kind| matches!(kind, SignalKind::RoomRemoved(_)));
        assert_eq!(!there, told, "{what}");
        let reads = world.chat.room(&world.bob.here, world.group).await;
        assert_eq!(there, reads.is_ok(), "{what}: what this node believes of him: {reads:?}");
    })
    .await;

    let promote = async |world: &World| {
        world.chat.change_role(&world.ada.here, world.group, world.bob.here.user, Role::Admin).await.unwrap();
    };
    dropped_everywhere("a role", added, promote, nothing_more).await;
    let rename = async |world: &World| drop(world.chat.rename_room(&world.ada.here, world.group, "new").await.unwrap());
    dropped_everywhere("a room's name", nothing, rename, nothing_more).await;
    let create = async |world: &World| {
        let members = [world.bob.here.user];
        let input = GroupInput { name: "another", members: &members, client_id: Some("key") };
        world.chat.create_group(&world.ada.here, input).await.unwrap();
    };
    dropped_everywhere("a new room", nothing, create, async |world, what| {
        let rooms = world.storage.rooms.memberships(world.bob.here.user).await.unwrap();
        let told = world.bob.heard(|kind| matches!(kind, SignalKind::RoomAdded(_)));
        assert_eq!(rooms.len() > 1, told, "{what}");
        for membership in rooms {
            let intents = world.storage.rooms.intents(membership.room.id).await.unwrap();
            assert!(intents.is_empty(), "{what}: {intents:?}");
        }
    })
    .await;
}

/// A login and a change of the password in every order in which their steps can fall: held at each place where one waits, while the other runs to
/// its end.
#[tokio::test(start_paused = true)]
async fn a_login_that_overlaps_a_change_of_the_password_lets_nobody_in() {
    for held in ["the login", "the change"] {
        let mut ends = 0;
        for waits in 0.. {
            let mut world = World::new().await;
            let (chat, here) = (world.chat.clone(), world.ada.here);
            let mut signing = Box::pin(login(&chat, "ada"));
            let mut change = Box::pin(chat.change_password(&here, PASSWORD, NEW_PASSWORD));
            let (finished, pair) = if held == "the login" {
                let first = dropped_after(signing.as_mut(), waits).await;
                change.await.unwrap();
                match first {
                    Some(pair) => (true, pair),
                    None => (false, signing.await),
                }
            } else {
                let first = dropped_after(change.as_mut(), waits).await;
                let pair = signing.await;
                match first {
                    Some(changed) => {
                        changed.unwrap();
                        (true, pair)
                    }
                    None => {
                        change.await.unwrap();
                        (false, pair)
                    }
                }
            };
            let what = format!("{held} held at wait {waits}");
            if let Ok(pair) = &pair {
                let in_there = chat.authenticate(&pair.access_token).await;
                assert!(in_there.is_err(), "{what}: the old password lets in after the change");
            }
            let now = chat.now();
            let alive = world.storage.sessions.list(here.user, now, None, 10).await.unwrap();
            let alive: Vec<_> = alive.iter().map(|session| session.id).collect();
            assert_eq!(alive, [here.session], "{what}");
            world.check(&what).await;
            ends += usize::from(finished);
            if ends == ENDS {
                assert!(waits > ENDS, "{what}: it never waited");
                break;
            }
        }
    }
}
