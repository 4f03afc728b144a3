//! The naive model of rooms, members, markers and intents.

use crate::id::{IntentId, RoomId, UserId};
use crate::model::{
    Intent, LeaveReason, Member, Membership, Role, Room, RoomChange, RoomKind, RoomName, Seq, Standing,
};
use crate::policy::room::{self as policy, Facts, Refusal};
use crate::store::{Changed, Created, MarkerWrite, NewMember, NewRoom, Removal, RoleChange};
use crate::time::Timestamp;

#[derive(Default)]
pub(super) struct Rooms {
    made: Vec<(NewRoom, RoomName)>,
    /// Members of all rooms, each with the intent of their coming.
    seats: Vec<(RoomId, Member, IntentId)>,
    pub(super) intents: Vec<Intent>,
}

impl Rooms {
    fn made(&self, room: RoomId) -> Option<&(NewRoom, RoomName)> {
        self.made.iter().find(|(new, _)| new.id == room)
    }

    pub(super) fn room(&self, id: RoomId) -> Option<Room> {
        let (new, name) = self.made(id)?;
        Some(Room {
            id,
            kind: new.kind,
            name: new.name.as_ref().map(|_| name.clone()),
            created_by: new.created_by,
            created_at: new.created_at,
            member_count: self.members(id).len() as u32,
        })
    }

    pub(super) fn direct(&self, one: UserId, other: UserId) -> Option<Room> {
        let has = |new: &NewRoom, user| new.members.iter().any(|member| member.user == user);
        let of_pair = |new: &NewRoom| new.kind == RoomKind::Direct && has(new, one) && has(new, other);
        self.made.iter().find(|(new, _)| of_pair(new)).and_then(|(new, _)| self.room(new.id))
    }

    pub(super) fn create(&mut self, new: &NewRoom) -> Created {
        let of_pair = match (new.kind, &new.members[..]) {
            (RoomKind::Direct, [one, other]) => self.direct(one.user, other.user),
            _ => None,
        };
        let of_key = |old: &NewRoom| {
            new.client_id.is_some() && (old.created_by, &old.client_id) == (new.created_by, &new.client_id)
        };
        let same = self.made.iter().find(|(old, _)| old.id == new.id || of_key(old));
        let existing = of_pair.or_else(|| self.room(same?.0.id));
        if let Some(room) = existing {
            return Created::Existing(room);
        }
        let unnamed = RoomName::from_stored(String::new());
        self.made.push((new.clone(), new.name.clone().unwrap_or(unnamed)));
        for member in &new.members {
            self.enter(new.id, new.created_by, member, new.created_at);
        }
        Created::New(self.room(new.id).expect("it was just made"))
    }

    fn enter(&mut self, room: RoomId, by: UserId, new: &NewMember, at: Timestamp) {
        let NewMember { user, role, intent } = *new;
        self.seats.push((room, Member { user, role, joined_at: at, joined_seq: None, read: None }, intent));
        self.intents.push(Intent { id: intent, room, actor: Some(by), at, change: RoomChange::Joined { user, role } });
    }

    /// Oldest first.
    pub(super) fn members(&self, room: RoomId) -> Vec<Member> {
        let mut members: Vec<_> = self.seats.iter().filter(|seat| seat.0 == room).map(|seat| seat.1.clone()).collect();
        members.sort_by_key(|member| (member.joined_at, member.user));
        members
    }

    pub(super) fn standing(&self, room: RoomId, user: UserId) -> Standing {
        let Some(known) = self.room(room) else { return Standing::NoRoom };
        let Some(member) = self.members(room).into_iter().find(|member| member.user == user) else {
            return Standing::Outsider;
        };
        let direct = known.kind == RoomKind::Direct;
        let peer = self.members(room).into_iter().map(|member| member.user).find(|other| direct && *other != user);
        Standing::Member(Membership { room: known, member, peer })
    }

    pub(super) fn memberships(&self, user: UserId) -> Vec<Membership> {
        let mut all: Vec<_> = self
            .made
            .iter()
            .filter_map(|(new, _)| match self.standing(new.id, user) {
                Standing::Member(membership) => Some(membership),
                _ => None,
            })
            .collect();
        all.sort_by_key(|membership| membership.room.id);
        all
    }

    fn facts(&self, room: RoomId, actor: UserId) -> Option<Facts> {
        let members = self.members(room);
        Some(Facts {
            kind: self.room(room)?.kind,
            actor: members.iter().find(|member| member.user == actor).map(|member| member.role),
            members: members.len() as u32,
            owners: members.iter().filter(|member| member.role == Role::Owner).count() as u32,
        })
    }

    fn role(&self, room: RoomId, user: UserId) -> Option<Role> {
        self.members(room).into_iter().find(|member| member.user == user).map(|member| member.role)
    }

    pub(super) fn add(&mut self, room: RoomId, by: UserId, members: &[NewMember], max: u32, at: Timestamp) -> Changed {
        let Some(facts) = self.facts(room, by) else { return Changed::Refused(Refusal::NoRoom) };
        let new: Vec<_> = members.iter().filter(|new| self.role(room, new.user).is_none()).copied().collect();
        if let Err(refusal) = policy::add(&facts, new.len() as u32, max) {
            return Changed::Refused(refusal);
        }
        for member in &new {
            self.enter(room, by, member, at);
        }
        if new.is_empty() { Changed::Same } else { Changed::Done }
    }

    pub(super) fn remove(&mut self, removal: &Removal) -> Changed {
        let Removal { room, by, user, intent, at } = *removal;
        let Some(facts) = self.facts(room, by) else { return Changed::Refused(Refusal::NoRoom) };
        match policy::remove(&facts, self.role(room, user), by == user) {
            Err(refusal) => return Changed::Refused(refusal),
            Ok(false) => return Changed::Same,
            Ok(true) => {}
        }
        self.seats.retain(|seat| (seat.0, seat.1.user) != (room, user));
        let reason = if by == user { LeaveReason::Left } else { LeaveReason::Removed };
        self.intents.push(Intent { id: intent, room, actor: Some(by), at, change: RoomChange::Left { user, reason } });
        Changed::Done
    }

    pub(super) fn change_role(&mut self, change: &RoleChange) -> Changed {
        let RoleChange { room, by, user, role, intent, at } = *change;
        let Some(facts) = self.facts(room, by) else { return Changed::Refused(Refusal::NoRoom) };
        match policy::change_role(&facts, self.role(room, user), role) {
            Err(refusal) => return Changed::Refused(refusal),
            Ok(false) => return Changed::Same,
            Ok(true) => {}
        }
        for seat in &mut self.seats {
            if (seat.0, seat.1.user) == (room, user) {
                seat.1.role = role;
            }
        }
        let change = RoomChange::RoleChanged { user, role };
        self.intents.push(Intent { id: intent, room, actor: Some(by), at, change });
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
        let Some(facts) = self.facts(room, by) else { return Changed::Refused(Refusal::NoRoom) };
        if let Err(refusal) = policy::rename(&facts) {
            return Changed::Refused(refusal);
        }
        let (_, old) = self.made.iter_mut().find(|(new, _)| new.id == room).expect("its facts are known");
        if old == name {
            return Changed::Same;
        }
        *old = name.clone();
        let change = RoomChange::Renamed { name: name.clone() };
        self.intents.push(Intent { id: intent, room, actor: Some(by), at, change });
        Changed::Done
    }

    pub(super) fn mark(&mut self, marker: &MarkerWrite) {
        for (room, member, _) in &mut self.seats {
            let theirs = (*room, member.user) == (marker.room, marker.user);
            if theirs && member.read.is_none_or(|read| read < marker.seq) {
                member.read = Some(marker.seq);
            }
        }
    }

    pub(super) fn intents(&self, room: RoomId) -> Vec<Intent> {
        self.intents.iter().filter(|intent| intent.room == room).cloned().collect()
    }

    pub(super) fn unsettled(&self, before: Timestamp) -> Vec<RoomId> {
        let mut rooms: Vec<_> = self.intents.iter().filter(|i| i.at <= before).map(|intent| intent.room).collect();
        rooms.sort();
        rooms.dedup();
        rooms
    }

    pub(super) fn settle(&mut self, id: IntentId, seq: Seq) {
        if self.intents.iter().all(|intent| intent.id != id) {
            return;
        }
        self.intents.retain(|intent| intent.id != id);
        for (_, member, joined_by) in &mut self.seats {
            if *joined_by == id {
                member.joined_seq = Some(seq);
            }
        }
    }
}
