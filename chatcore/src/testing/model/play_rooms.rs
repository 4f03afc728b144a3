//! Plays an operation against both and compares the answers: the rooms' and the logs' part.

use proptest::prelude::*;

use super::ops::{DraftKind, DraftOp, LOGS, Op, USERS};
use super::play::{Played, Players, paged, sorted, time_of, two};
use crate::id::{RoomId, UserId};
use crate::model::{
    Draft, DraftKey, EventKind, LogPage, LogRange, MessageKind, MessageRange, PageKey, Posted, Role, RoomKind, Seq,
};
use crate::store::{MarkerWrite, NewMember, NewRoom, Removal, RoleChange};
use crate::testing::fixtures::{body, client_id, emoji, room_id, room_name, seq, user_id};
use crate::testing::tools::Must;

const ROLES: [Role; 3] = [Role::Member, Role::Admin, Role::Owner];

impl Players {
    /// One of those that were made or tried, or one that never was.
    fn room(&self, number: u64) -> RoomId {
        self.creations.get(number as usize).map_or(room_id(9999), |new| new.id)
    }

    /// Each user once, with the role that came first.
    fn new_members(&mut self, members: &[(u64, u64)]) -> Vec<NewMember> {
        let mut new: Vec<NewMember> = Vec::new();
        for (user, role) in members {
            if new.iter().all(|member| member.user != user_id(*user)) {
                new.push(NewMember { user: user_id(*user), role: ROLES[*role as usize], intent: self.new_intent() });
            }
        }
        new
    }

    async fn create(&mut self, new: NewRoom) -> Played {
        let want = self.rooms.create(&new);
        prop_assert_eq!(self.storage.rooms.create(&new).await.must(), want);
        self.creations.push(new);
        Ok(())
    }

    pub(super) async fn play_rooms(&mut self, op: &Op) -> Played {
        let store = self.storage.rooms.clone();
        match *op {
            Op::CreateGroup { ref members, client_id: key, at } => {
                let mut members = self.new_members(members);
                members[0].role = Role::Owner;
                let id = room_id(self.creations.len() as u64);
                let new = NewRoom {
                    id,
                    kind: RoomKind::Group,
                    name: Some(name_of(0)),
                    created_by: members[0].user,
                    created_at: time_of(at),
                    client_id: key.map(|key| client_id(&key.to_string())),
                    members,
                };
                self.create(new).await?;
            }
            Op::CreateDirect { one, other, at } => {
                let (one, other) = two(one, other);
                let members = [one, other].map(|user| (user, self.new_intent()));
                let new = NewRoom {
                    id: room_id(self.creations.len() as u64),
                    kind: RoomKind::Direct,
                    name: None,
                    created_by: one,
                    created_at: time_of(at),
                    client_id: None,
                    members: members.map(|(user, intent)| NewMember { user, role: Role::Member, intent }).into(),
                };
                self.create(new).await?;
            }
            Op::CreateAgain { room } => {
                if let Some(new) = self.creations.get(room as usize) {
                    prop_assert_eq!(store.create(new).await.must(), self.rooms.create(new));
                }
            }
            Op::Add { room, by, ref members, max, at } => {
                let (room, by, max, at) = (self.room(room), user_id(by), max as u32, time_of(at));
                let members = self.new_members(members);
                let want = self.rooms.add(room, by, &members, max, at);
                prop_assert_eq!(store.add(room, by, &members, max, at).await.must(), want);
            }
            Op::Remove { room, by, user, at } => {
                let (room, by, user, at) = (self.room(room), user_id(by), user_id(user), time_of(at));
                let removal = Removal { room, by, user, intent: self.new_intent(), at };
                prop_assert_eq!(store.remove(&removal).await.must(), self.rooms.remove(&removal));
            }
            Op::ChangeRole { room, by, user, role, at } => {
                let (room, by, user, at) = (self.room(room), user_id(by), user_id(user), time_of(at));
                let change = RoleChange { room, by, user, role: ROLES[role as usize], intent: self.new_intent(), at };
                prop_assert_eq!(store.change_role(&change).await.must(), self.rooms.change_role(&change));
            }
            Op::Rename { room, by, name, at } => {
                let (room, by, name, at) = (self.room(room), user_id(by), name_of(name), time_of(at));
                let intent = self.new_intent();
                let want = self.rooms.rename(room, by, &name, intent, at);
                prop_assert_eq!(store.rename(room, by, &name, intent, at).await.must(), want);
            }
            Op::MarkRead { ref markers } => {
                let marker = |(room, user, number): &(u64, u64, u64)| MarkerWrite {
                    room: self.room(*room),
                    user: user_id(*user),
                    seq: seq(*number),
                };
                let markers: Vec<_> = markers.iter().map(marker).collect();
                store.mark_read(&markers).await.must();
                markers.iter().for_each(|marker| self.rooms.mark(marker));
            }
            Op::Settle { room, first, count, seq: number } => {
                let intents = self.rooms.intents(self.room(room));
                let some = intents.iter().skip(first as usize).take(count as usize).map(|intent| intent.id);
                let settled: Vec<_> = some.map(|id| (id, seq(number))).collect();
                store.settle(&settled).await.must();
                settled.iter().for_each(|(id, seq)| self.rooms.settle(*id, *seq));
            }
            Op::ReadRooms { room, user, other, limit, before } => {
                self.read_room(self.room(room), limit as u32).await?;
                let (user, other) = two(user, other);
                prop_assert_eq!(store.direct(user, other).await.must(), self.rooms.direct(user, other));
                let mut memberships = store.memberships(user).await.must();
                memberships.sort_by_key(|membership| membership.room.id);
                prop_assert_eq!(memberships, self.rooms.memberships(user));
                let ids = |user| self.rooms.memberships(user).into_iter().map(move |one| (user, one.room.id));
                let want = sorted(ids(user).chain(ids(other)).collect());
                prop_assert_eq!(sorted(store.rooms_of(&[user, other]).await.must()), want);
                let unsettled = store.unsettled(time_of(before), 1000).await.must();
                prop_assert_eq!(sorted(unsettled), self.rooms.unsettled(time_of(before)));
            }
            _ => unreachable!("another family's"),
        }
        Ok(())
    }

    async fn read_room(&mut self, room: RoomId, limit: u32) -> Played {
        let store = self.storage.rooms.clone();
        let asked: Vec<_> = (0..=USERS).map(|user| (room, user_id(user))).collect();
        let want: Vec<_> = asked.iter().map(|(room, user)| self.rooms.standing(*room, *user)).collect();
        prop_assert_eq!(store.standings(&asked).await.must(), want);
        let got = paged!(limit, |after| store.members(room, after, limit), |last| PageKey {
            at: last.joined_at,
            id: last.user.uuid(),
        });
        prop_assert_eq!(&got, &self.rooms.members(room));
        let ids = sorted(got.iter().map(|member| member.user).collect());
        prop_assert_eq!(sorted(store.member_ids(room).await.must()), ids);
        prop_assert_eq!(store.intents(room).await.must(), self.rooms.intents(room));
        Ok(())
    }

    pub(super) async fn play_logs(&mut self, op: &Op) -> Played {
        let store = self.storage.messages.clone();
        match *op {
            Op::Append { ref batch, max_reactions } => {
                let max_reactions = max_reactions as u32;
                let batch: Vec<_> = batch.iter().map(draft_of).collect();
                let want: Vec<_> = batch.iter().map(|draft| self.logs.append(draft, max_reactions)).collect();
                prop_assert_eq!(store.append(&batch, max_reactions).await.must(), want);
            }
            Op::ReadLog { room, position, limit } => {
                let room = room_id(room);
                let all = self.logs.events(room);
                let head = all.len() as u64;
                let page = store.events(room, LogRange::After(position), limit as u32).await.must();
                let events = all.iter().skip(position as usize).take(limit as usize).cloned().collect();
                prop_assert_eq!(page, LogPage { events, head });
                if let Some(position) = Seq::new(position) {
                    let page = store.events(room, LogRange::Before(position), limit as u32).await.must();
                    let before = all.iter().rev().skip_while(|event| event.seq >= position);
                    let mut events: Vec<_> = before.take(limit as usize).cloned().collect();
                    events.reverse();
                    prop_assert_eq!(page, LogPage { events, head });
                }
            }
            Op::ReadMessages { room, viewer, position, limit } => {
                self.read_messages(room_id(room), user_id(viewer), position, limit as u32).await?;
            }
            Op::ReadDigests { viewer, marker, cap } => {
                let (viewer, cap) = (user_id(viewer), cap as u32);
                let rooms: Vec<_> = (0..=LOGS).map(room_id).collect();
                let asked: Vec<_> = rooms.iter().map(|room| (*room, marker)).collect();
                let mut got = store.digests(viewer, &asked, cap).await.must();
                got.sort_by_key(|digest| digest.room);
                let digest = |room: &RoomId| self.logs.digest(*room, viewer, marker, cap);
                prop_assert_eq!(got, rooms.iter().filter_map(digest).collect::<Vec<_>>());
                let mut heads = store.heads(&rooms).await.must();
                heads.sort_by_key(|head| head.room);
                let want: Vec<_> = rooms.iter().filter_map(|room| self.logs.head_of(*room)).collect();
                prop_assert_eq!(heads, want);
            }
            _ => unreachable!("another family's"),
        }
        Ok(())
    }

    async fn read_messages(&mut self, room: RoomId, viewer: UserId, position: u64, limit: u32) -> Played {
        let store = self.storage.messages.clone();
        let mut ranges = vec![MessageRange::Newest, MessageRange::After(position)];
        if let Some(position) = Seq::new(position) {
            ranges.extend([MessageRange::Before(position), MessageRange::Around(position)]);
        }
        for range in ranges {
            let want = self.logs.page(viewer, room, range, limit as usize);
            prop_assert_eq!(store.messages(viewer, room, range, limit).await.must(), want, "{:?}", range);
        }
        let numbers: Vec<_> = (1..=20).rev().map(seq).collect();
        let mut want = self.logs.messages(room, viewer);
        want.retain(|message| message.seq <= seq(20));
        prop_assert_eq!(store.messages_at(viewer, room, &numbers).await.must(), want);
        for number in 0..3 {
            let (target, emoji) = (seq(position + 1), emoji_of(number));
            let got =
                paged!(limit, |after| store.reactors(room, target, &emoji, after.unwrap_or(0), limit), |last| last
                    .1
                    .number());
            prop_assert_eq!(got, self.logs.reactors(room, target, &emoji));
        }
        let everybody: Vec<_> = (0..=USERS).map(user_id).collect();
        let want = everybody.iter().filter_map(|user| Some((*user, self.logs.last_post(room, *user)?)));
        let got = sorted(store.last_posts(room, &everybody).await.must());
        prop_assert_eq!(got, want.collect::<Vec<_>>());
        Ok(())
    }
}

/// The host posts and renames; the rest is done by users alone.
fn draft_of(op: &DraftOp) -> Draft {
    let by_host = op.actor == 0 && matches!(op.kind, DraftKind::Post { .. } | DraftKind::Rename { .. });
    let key = client_id(&op.key.to_string());
    let kind = match op.kind {
        DraftKind::Post { text, reply_to } => EventKind::Posted(Posted {
            kind: if by_host { MessageKind::System } else { MessageKind::Text },
            body: Some(text_of(text)),
            client_id: Some(key.clone()),
            reply_to: reply_to.map(seq),
        }),
        DraftKind::Edit { target, text } => EventKind::Edited { target: seq(target), body: Some(text_of(text)) },
        DraftKind::Delete { target } => EventKind::Deleted { target: seq(target) },
        DraftKind::React { target, emoji } => EventKind::ReactionAdded { target: seq(target), emoji: emoji_of(emoji) },
        DraftKind::Unreact { target, emoji } => {
            EventKind::ReactionRemoved { target: seq(target), emoji: emoji_of(emoji) }
        }
        DraftKind::Rename { name } => EventKind::Renamed { name: name_of(name) },
    };
    let actor = (!by_host).then(|| user_id(op.actor));
    Draft { room: room_id(op.room), key: DraftKey::from_client(&key), actor, at: time_of(op.at), kind }
}

fn name_of(number: u64) -> crate::model::RoomName {
    room_name(["One", "one", "Two"][number as usize])
}

fn text_of(number: u64) -> crate::model::Body {
    body(["text", "Text", "Täxt 🎉"][number as usize])
}

fn emoji_of(number: u64) -> crate::model::Emoji {
    emoji(["👍", "👍🏽", "🎉"][number as usize])
}
