//! Rooms, members, read markers, intents.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;

use crate::id::{IntentId, RoomId, UserId};
use crate::model::{
    ClientId, Intent, LeaveReason, Member, Membership, PageKey, Role, Room, RoomChange, RoomKind, RoomName, Seq,
    Standing,
};
use crate::policy::room::{self as policy, Facts, Refusal};
use crate::store::{Changed, Created, MarkerWrite, NewMember, NewRoom, Removal, RoleChange};
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Rooms {
    rows: HashMap<RoomId, Row>,
    by_pair: HashMap<(UserId, UserId), RoomId>,
    by_client_id: HashMap<(UserId, ClientId), RoomId>,
    by_user: HashMap<UserId, BTreeSet<RoomId>>,
    /// The room of each unsettled intent.
    intents: HashMap<IntentId, RoomId>,
    /// The rooms that have one.
    unsettled: BTreeSet<RoomId>,
}

#[derive(Debug)]
struct Row {
    /// Its `member_count` is that of the creation; [`Row::room`] tells the present one.
    room: Room,
    /// The two of a direct room.
    pair: Option<(UserId, UserId)>,
    members: HashMap<UserId, Seat>,
    by_age: BTreeMap<PageKey, UserId>,
    /// Unsettled, in the order of their recording.
    intents: Vec<Intent>,
}

#[derive(Debug)]
struct Seat {
    member: Member,
    /// The intent of this coming, not of an earlier one.
    joined_by: IntentId,
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The same for both orders.
fn pair(one: UserId, other: UserId) -> (UserId, UserId) {
    if one < other { (one, other) } else { (other, one) }
}

fn position(member: &Member) -> PageKey {
    PageKey { at: member.joined_at, id: member.user.uuid() }
}

impl Row {
    fn room(&self) -> Room {
        Room { member_count: count(self.members.len()), ..self.room.clone() }
    }

    fn membership(&self, user: UserId) -> Option<Membership> {
        let member = self.members.get(&user)?.member.clone();
        let peer = self.pair.map(|(one, other)| if one == user { other } else { one });
        Some(Membership { room: self.room(), member, peer })
    }

    fn role(&self, user: UserId) -> Option<Role> {
        self.members.get(&user).map(|seat| seat.member.role)
    }

    fn facts(&self, actor: UserId) -> Facts {
        let owners = self.members.values().filter(|seat| seat.member.role == Role::Owner).count();
        Facts {
            kind: self.room.kind,
            actor: self.role(actor),
            members: count(self.members.len()),
            owners: count(owners),
        }
    }
}

impl Rooms {
    pub(super) fn create(&mut self, new: &NewRoom) -> Created {
        let pair = match (new.kind, &new.members[..]) {
            (RoomKind::Direct, [one, other]) => Some(pair(one.user, other.user)),
            _ => None,
        };
        let client_id = new.client_id.clone().map(|client_id| (new.created_by, client_id));
        let of_pair = pair.and_then(|pair| self.by_pair.get(&pair).copied());
        let of_client_id = client_id.as_ref().and_then(|key| self.by_client_id.get(key).copied());
        let existing = of_pair.or(of_client_id).unwrap_or(new.id);
        if let Some(row) = self.rows.get(&existing) {
            return Created::Existing(row.room());
        }
        if let Some(pair) = pair {
            self.by_pair.insert(pair, new.id);
        }
        if let Some(key) = client_id {
            self.by_client_id.insert(key, new.id);
        }
        let room = Room {
            id: new.id,
            kind: new.kind,
            name: new.name.clone(),
            created_by: new.created_by,
            created_at: new.created_at,
            member_count: count(new.members.len()),
        };
        let members = HashMap::new();
        let row = Row { room: room.clone(), pair, members, by_age: BTreeMap::new(), intents: Vec::new() };
        self.rows.insert(new.id, row);
        for member in &new.members {
            self.enter(new.id, new.created_by, member, new.created_at);
        }
        Created::New(room)
    }

    pub(super) fn direct(&self, one: UserId, other: UserId) -> Option<Room> {
        let id = self.by_pair.get(&pair(one, other))?;
        self.rows.get(id).map(Row::room)
    }

    pub(super) fn standings(&self, of: &[(RoomId, UserId)]) -> Vec<Standing> {
        let standing = |(room, user): &(RoomId, UserId)| match self.rows.get(room) {
            None => Standing::NoRoom,
            Some(row) => row.membership(*user).map_or(Standing::Outsider, Standing::Member),
        };
        of.iter().map(standing).collect()
    }

    pub(super) fn memberships(&self, user: UserId) -> Vec<Membership> {
        let rooms = self.by_user.get(&user).into_iter().flatten();
        rooms.filter_map(|room| self.rows.get(room)?.membership(user)).collect()
    }

    pub(super) fn rooms_of(&self, users: &[UserId]) -> Vec<(UserId, RoomId)> {
        let users: HashSet<_> = users.iter().copied().collect();
        let rooms = |user| self.by_user.get(&user).into_iter().flatten().map(move |room| (user, *room));
        users.into_iter().flat_map(rooms).collect()
    }

    pub(super) fn members(&self, room: RoomId, after: Option<PageKey>, limit: usize) -> Vec<Member> {
        let Some(row) = self.rows.get(&room) else { return Vec::new() };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let users = row.by_age.range((start, Bound::Unbounded)).take(limit).map(|(_, user)| user);
        users.filter_map(|user| row.members.get(user)).map(|seat| seat.member.clone()).collect()
    }

    pub(super) fn member_ids(&self, room: RoomId) -> Vec<UserId> {
        self.rows.get(&room).into_iter().flat_map(|row| row.members.keys().copied()).collect()
    }

    pub(super) fn add(
        &mut self,
        room: RoomId,
        by: UserId,
        members: &[NewMember],
        max_members: u32,
        at: Timestamp,
    ) -> Changed {
        let Some(row) = self.rows.get(&room) else { return Changed::Refused(Refusal::NoRoom) };
        let new: Vec<_> = members.iter().filter(|member| !row.members.contains_key(&member.user)).collect();
        if let Err(refusal) = policy::add(&row.facts(by), count(new.len()), max_members) {
            return Changed::Refused(refusal);
        }
        for member in &new {
            self.enter(room, by, member, at);
        }
        if new.is_empty() { Changed::Same } else { Changed::Done }
    }

    pub(super) fn remove(&mut self, removal: &Removal) -> Changed {
        let Removal { room, by, user, intent, at } = *removal;
        let Some(row) = self.rows.get_mut(&room) else { return Changed::Refused(Refusal::NoRoom) };
        match policy::remove(&row.facts(by), row.role(user), by == user) {
            Err(refusal) => return Changed::Refused(refusal),
            Ok(false) => return Changed::Same,
            Ok(true) => {}
        }
        if let Some(seat) = row.members.remove(&user) {
            row.by_age.remove(&position(&seat.member));
        }
        if let Some(rooms) = self.by_user.get_mut(&user) {
            rooms.remove(&room);
        }
        let reason = if by == user { LeaveReason::Left } else { LeaveReason::Removed };
        self.record(Intent { id: intent, room, actor: Some(by), at, change: RoomChange::Left { user, reason } });
        Changed::Done
    }

    pub(super) fn change_role(&mut self, change: &RoleChange) -> Changed {
        let RoleChange { room, by, user, role, intent, at } = *change;
        let Some(row) = self.rows.get_mut(&room) else { return Changed::Refused(Refusal::NoRoom) };
        match policy::change_role(&row.facts(by), row.role(user), role) {
            Err(refusal) => return Changed::Refused(refusal),
            Ok(false) => return Changed::Same,
            Ok(true) => {}
        }
        if let Some(seat) = row.members.get_mut(&user) {
            seat.member.role = role;
        }
        self.record(Intent { id: intent, room, actor: Some(by), at, change: RoomChange::RoleChanged { user, role } });
        Changed::Done
    }

    pub(super) fn rename(
        &mut self,
        room: RoomId,
        by: UserId,
        name: &RoomName,
        intent: IntentId,
        at: Timestamp,
    ) -> Changed {
        let Some(row) = self.rows.get_mut(&room) else { return Changed::Refused(Refusal::NoRoom) };
        if let Err(refusal) = policy::rename(&row.facts(by)) {
            return Changed::Refused(refusal);
        }
        if row.room.name.as_ref() == Some(name) {
            return Changed::Same;
        }
        row.room.name = Some(name.clone());
        let change = RoomChange::Renamed { name: name.clone() };
        self.record(Intent { id: intent, room, actor: Some(by), at, change });
        Changed::Done
    }

    pub(super) fn mark_read(&mut self, markers: &[MarkerWrite]) {
        for marker in markers {
            let row = self.rows.get_mut(&marker.room);
            if let Some(seat) = row.and_then(|row| row.members.get_mut(&marker.user)) {
                seat.member.read = seat.member.read.max(Some(marker.seq));
            }
        }
    }

    pub(super) fn intents(&self, room: RoomId) -> Vec<Intent> {
        self.rows.get(&room).map(|row| row.intents.clone()).unwrap_or_default()
    }

    pub(super) fn unsettled(&self, before: Timestamp, limit: usize) -> Vec<RoomId> {
        let due = |room: &RoomId| {
            let row = self.rows.get(room);
            row.is_some_and(|row| row.intents.iter().any(|intent| intent.at <= before))
        };
        self.unsettled.iter().copied().filter(due).take(limit).collect()
    }

    pub(super) fn settle(&mut self, settled: &[(IntentId, Seq)]) {
        for (id, seq) in settled {
            let Some(room) = self.intents.remove(id) else { continue };
            let Some(row) = self.rows.get_mut(&room) else { continue };
            let Some(at) = row.intents.iter().position(|intent| intent.id == *id) else { continue };
            let intent = row.intents.remove(at);
            if row.intents.is_empty() {
                self.unsettled.remove(&room);
            }
            if let RoomChange::Joined { user, .. } = intent.change
                && let Some(seat) = row.members.get_mut(&user)
                && seat.joined_by == *id
            {
                seat.member.joined_seq = Some(*seq);
            }
        }
    }

    /// Seats somebody who is not in the room yet, and records it.
    fn enter(&mut self, room: RoomId, by: UserId, new: &NewMember, at: Timestamp) {
        let NewMember { user, role, intent } = *new;
        let Some(row) = self.rows.get_mut(&room) else { return };
        let member = Member { user, role, joined_at: at, joined_seq: None, read: None };
        row.by_age.insert(position(&member), user);
        row.members.insert(user, Seat { member, joined_by: intent });
        self.by_user.entry(user).or_default().insert(room);
        self.record(Intent { id: intent, room, actor: Some(by), at, change: RoomChange::Joined { user, role } });
    }

    fn record(&mut self, intent: Intent) {
        if let Some(row) = self.rows.get_mut(&intent.room) {
            self.intents.insert(intent.id, intent.room);
            self.unsettled.insert(intent.room);
            row.intents.push(intent);
        }
    }
}
