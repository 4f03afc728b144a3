//! Changes of rooms: each a transaction that counts up the room's clock, so that two changes of one room conflict and the
//! later one is decided anew, with what the first one has made.

use std::collections::HashMap;

use chatcore::id::{IntentId, RoomId, UserId};
use chatcore::model::{Intent, LeaveReason, Role, RoomChange, RoomKind, RoomName, Seq};
use chatcore::policy::room::{self as policy, Facts, Refusal};
use chatcore::store::{Changed, Created, NewMember, NewRoom, Removal, RoleChange, StoreResult};
use chatcore::time::Timestamp;
use mongodb::ClientSession;
use mongodb::bson::{Document, Uuid as Id, doc};

use crate::documents::{
    INTENTS, MEMBERS, MemberDoc, ROOMS, RoomDoc, id, role, role_code, room_kind_code, seq_number, uuid,
};
use crate::error::is_conflict;
use crate::event::IntentDoc;
use crate::keys::{member_key, pair};
use crate::lists::{BATCH, in_session};
use crate::open::MongoStore;
use crate::retry::{Attempt, Fault, commit};

/// A room in a transaction, and what is to become of it.
struct Change<'a> {
    store: &'a MongoStore,
    session: ClientSession,
    room: RoomDoc,
    facts: Facts,
    /// The roles of those whom the change is about, as far as they are in it.
    roles: HashMap<UserId, Role>,
    intents: Vec<IntentDoc>,
}

impl<'a> Change<'a> {
    /// Reads what the policy has to know; `None`: no such room.
    async fn begin(store: &'a MongoStore, room: RoomId, by: UserId, about: &[UserId]) -> Attempt<Option<Self>> {
        let mut session = store.begin().await?;
        let rooms = store.collection::<RoomDoc>(ROOMS);
        let Some(found) = rooms.find_one(doc! { "_id": id(room.uuid()) }).session(&mut session).await? else {
            return Ok(None);
        };
        let mut roles = HashMap::new();
        let everyone: Vec<_> = std::iter::once(&by).chain(about).map(|user| member_key(room, *user)).collect();
        let members = store.collection::<MemberDoc>(MEMBERS);
        for chunk in everyone.chunks(BATCH) {
            let find = members.find(doc! { "_id": { "$in": chunk } });
            for member in in_session(find, &mut session).await? {
                roles.insert(UserId::from_uuid(uuid(member.user)), role(member.role)?);
            }
        }
        let now = found.room()?;
        let owners = u32::try_from(found.owners).map_err(|_| crate::error::corrupt())?;
        let facts = Facts { kind: now.kind, actor: roles.get(&by).copied(), members: now.member_count, owners };
        Ok(Some(Self { store, session, room: found, facts, roles, intents: Vec::new() }))
    }

    fn record(&mut self, intent: &Intent) -> StoreResult<()> {
        let ordinal = self.room.clock + i64::try_from(self.intents.len()).unwrap_or(i64::MAX);
        self.intents.push(IntentDoc::new(intent, ordinal)?);
        Ok(())
    }

    /// Writes the intents and the room, and commits.
    async fn finish(mut self, set: Document) -> Attempt<()> {
        self.store.collection::<IntentDoc>(INTENTS).insert_many(&self.intents).session(&mut self.session).await?;
        let mut set = set;
        set.insert("clock", self.room.clock + i64::try_from(self.intents.len()).unwrap_or(i64::MAX));
        let rooms = self.store.collection::<RoomDoc>(ROOMS);
        let filter = doc! { "_id": self.room._id };
        rooms.update_one(filter, doc! { "$set": set }).session(&mut self.session).await?;
        commit(&mut self.session).await
    }

    /// Nothing is to be done, by what a majority holds.
    async fn leave(mut self, answer: Changed) -> Attempt<Changed> {
        commit(&mut self.session).await?;
        Ok(answer)
    }
}

fn member(room: RoomId, new: &NewMember, at: Timestamp) -> MemberDoc {
    MemberDoc {
        _id: member_key(room, new.user),
        room: id(room.uuid()),
        user: id(new.user.uuid()),
        role: role_code(new.role),
        joined_at: at.micros(),
        joined_by: id(new.intent.uuid()),
        joined_seq: None,
        read: None,
    }
}

fn joined(room: RoomId, by: UserId, new: &NewMember, at: Timestamp) -> Intent {
    let change = RoomChange::Joined { user: new.user, role: new.role };
    Intent { id: new.intent, room, actor: Some(by), at, change }
}

fn owners(members: &[NewMember]) -> i64 {
    members.iter().map(|member| i64::from(member.role == Role::Owner)).sum()
}

impl MongoStore {
    pub(crate) async fn try_create_room(&self, new: &NewRoom) -> Attempt<Created> {
        let key = match (new.kind, new.members.as_slice()) {
            (RoomKind::Direct, [one, other]) => Some(pair(one.user, other.user)),
            _ => None,
        };
        let members = i64::try_from(new.members.len()).unwrap_or(i64::MAX);
        let room = RoomDoc {
            _id: id(new.id.uuid()),
            kind: room_kind_code(new.kind),
            name: new.name.as_ref().map(|name| name.as_str().to_owned()),
            created_by: id(new.created_by.uuid()),
            created_at: new.created_at.micros(),
            members,
            owners: owners(&new.members),
            client_id: new.client_id.as_ref().map(|client_id| client_id.as_str().to_owned()),
            pair: key,
            clock: members,
        };
        match self.try_insert_room(new, &room).await {
            Ok(()) => return Ok(Created::New(room.room()?)),
            Err(Fault::Driver(error)) if is_conflict(&error) => {}
            Err(fault) => return Err(fault),
        }
        let mut any = vec![doc! { "_id": room._id }];
        any.extend(room.pair.map(|pair| doc! { "pair": pair }));
        any.extend(room.client_id.map(|client_id| doc! { "created_by": room.created_by, "client_id": client_id }));
        let rooms = self.collection::<RoomDoc>(ROOMS);
        // Nothing is there when the other one has not committed yet.
        let found = rooms.find_one(doc! { "$or": any }).await?.ok_or(Fault::Raced)?;
        Ok(Created::Existing(found.room()?))
    }

    async fn try_insert_room(&self, new: &NewRoom, room: &RoomDoc) -> Attempt<()> {
        let mut session = self.begin().await?;
        self.collection::<RoomDoc>(ROOMS).insert_one(room).session(&mut session).await?;
        if !new.members.is_empty() {
            let members: Vec<_> = new.members.iter().map(|coming| member(new.id, coming, new.created_at)).collect();
            let intents: Vec<_> = (0..)
                .zip(&new.members)
                .map(|(ordinal, coming)| {
                    IntentDoc::new(&joined(new.id, new.created_by, coming, new.created_at), ordinal)
                })
                .collect::<StoreResult<_>>()?;
            self.collection::<MemberDoc>(MEMBERS).insert_many(&members).session(&mut session).await?;
            self.collection::<IntentDoc>(INTENTS).insert_many(&intents).session(&mut session).await?;
        }
        commit(&mut session).await
    }

    pub(crate) async fn try_add(
        &self,
        room: RoomId,
        by: UserId,
        members: &[NewMember],
        max_members: u32,
        at: Timestamp,
    ) -> Attempt<Changed> {
        let about: Vec<UserId> = members.iter().map(|member| member.user).collect();
        let Some(mut change) = Change::begin(self, room, by, &about).await? else {
            return Ok(Changed::Refused(Refusal::NoRoom));
        };
        let new: Vec<NewMember> =
            members.iter().filter(|member| !change.roles.contains_key(&member.user)).copied().collect();
        let adding = u32::try_from(new.len()).unwrap_or(u32::MAX);
        if let Err(refusal) = policy::add(&change.facts, adding, max_members) {
            return change.leave(Changed::Refused(refusal)).await;
        }
        if new.is_empty() {
            return change.leave(Changed::Same).await;
        }
        for coming in &new {
            change.record(&joined(room, by, coming, at))?;
        }
        let rows: Vec<_> = new.iter().map(|coming| member(room, coming, at)).collect();
        self.collection::<MemberDoc>(MEMBERS).insert_many(&rows).session(&mut change.session).await?;
        let set = doc! {
            "members": change.room.members + i64::from(adding),
            "owners": change.room.owners + owners(&new),
        };
        change.finish(set).await?;
        Ok(Changed::Done)
    }

    pub(crate) async fn try_remove(&self, removal: &Removal) -> Attempt<Changed> {
        let &Removal { room, by, user, intent, at } = removal;
        let Some(mut change) = Change::begin(self, room, by, &[user]).await? else {
            return Ok(Changed::Refused(Refusal::NoRoom));
        };
        let target = change.roles.get(&user).copied();
        match policy::remove(&change.facts, target, by == user) {
            Err(refusal) => return change.leave(Changed::Refused(refusal)).await,
            Ok(false) => return change.leave(Changed::Same).await,
            Ok(true) => {}
        }
        let reason = if by == user { LeaveReason::Left } else { LeaveReason::Removed };
        let left = RoomChange::Left { user, reason };
        change.record(&Intent { id: intent, room, actor: Some(by), at, change: left })?;
        let filter = doc! { "_id": member_key(room, user) };
        self.collection::<MemberDoc>(MEMBERS).delete_one(filter).session(&mut change.session).await?;
        let set = doc! {
            "members": change.room.members - 1,
            "owners": change.room.owners - i64::from(target == Some(Role::Owner)),
        };
        change.finish(set).await?;
        Ok(Changed::Done)
    }

    pub(crate) async fn try_change_role(&self, to: &RoleChange) -> Attempt<Changed> {
        let &RoleChange { room, by, user, role, intent, at } = to;
        let Some(mut change) = Change::begin(self, room, by, &[user]).await? else {
            return Ok(Changed::Refused(Refusal::NoRoom));
        };
        let target = change.roles.get(&user).copied();
        match policy::change_role(&change.facts, target, role) {
            Err(refusal) => return change.leave(Changed::Refused(refusal)).await,
            Ok(false) => return change.leave(Changed::Same).await,
            Ok(true) => {}
        }
        let changed = RoomChange::RoleChanged { user, role };
        change.record(&Intent { id: intent, room, actor: Some(by), at, change: changed })?;
        let (filter, update) = (doc! { "_id": member_key(room, user) }, doc! { "$set": { "role": role_code(role) } });
        self.collection::<MemberDoc>(MEMBERS).update_one(filter, update).session(&mut change.session).await?;
        let was = i64::from(target == Some(Role::Owner));
        let set = doc! { "owners": change.room.owners - was + i64::from(role == Role::Owner) };
        change.finish(set).await?;
        Ok(Changed::Done)
    }

    pub(crate) async fn try_rename(
        &self,
        room: RoomId,
        by: UserId,
        name: &RoomName,
        intent: IntentId,
        at: Timestamp,
    ) -> Attempt<Changed> {
        let Some(mut change) = Change::begin(self, room, by, &[]).await? else {
            return Ok(Changed::Refused(Refusal::NoRoom));
        };
        if let Err(refusal) = policy::rename(&change.facts) {
            return change.leave(Changed::Refused(refusal)).await;
        }
        if change.room.name.as_deref() == Some(name.as_str()) {
            return change.leave(Changed::Same).await;
        }
        let renamed = RoomChange::Renamed { name: name.clone() };
        change.record(&Intent { id: intent, room, actor: Some(by), at, change: renamed })?;
        change.finish(doc! { "name": name.as_str() }).await?;
        Ok(Changed::Done)
    }

    /// Markers, each member once.
    pub(crate) async fn try_mark_read(&self, markers: &[((RoomId, UserId), Seq)]) -> Attempt<()> {
        let mut session = self.begin().await?;
        for chunk in markers.chunks(BATCH) {
            let updates: Vec<Document> = chunk
                .iter()
                .map(|((room, user), seq)| {
                    doc! { "q": { "_id": member_key(*room, *user) }, "u": { "$max": { "read": seq_number(*seq) } } }
                })
                .collect();
            self.run_many(&mut session, doc! { "update": MEMBERS, "updates": updates }).await?;
        }
        commit(&mut session).await
    }

    pub(crate) async fn try_settle(&self, settled: &[(IntentId, Seq)]) -> Attempt<()> {
        let mut session = self.begin().await?;
        let numbers: HashMap<Id, Seq> = settled.iter().map(|(intent, seq)| (id(intent.uuid()), *seq)).collect();
        let ids: Vec<Id> = numbers.keys().copied().collect();
        for chunk in ids.chunks(BATCH) {
            let intents = self.collection::<IntentDoc>(INTENTS);
            let found = in_session(intents.find(doc! { "_id": { "$in": chunk } }), &mut session).await?;
            let mut updates: Vec<Document> = Vec::with_capacity(found.len());
            for intent in found {
                let (Some(seq), intent) = (numbers.get(&intent._id), intent.intent()?) else { continue };
                let RoomChange::Joined { user, .. } = intent.change else { continue };
                // A member who has gone and come again since has another intent.
                let coming = doc! { "_id": member_key(intent.room, user), "joined_by": id(intent.id.uuid()) };
                updates.push(doc! { "q": coming, "u": { "$set": { "joined_seq": seq_number(*seq) } } });
            }
            if !updates.is_empty() {
                self.run_many(&mut session, doc! { "update": MEMBERS, "updates": updates }).await?;
            }
            intents.delete_many(doc! { "_id": { "$in": chunk } }).session(&mut session).await?;
        }
        commit(&mut session).await
    }
}
