//! Rooms, members, read markers, intents.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use chatcore::id::{IntentId, RoomId, UserId};
use chatcore::model::{Intent, Member, Membership, PageKey, Room, RoomName, Seq, Standing};
use chatcore::store::{Changed, Created, MarkerWrite, NewMember, NewRoom, Removal, RoleChange, RoomStore, StoreResult};
use chatcore::time::Timestamp;
use futures::TryStreamExt;
use mongodb::ClientSession;
use mongodb::bson::{Uuid as Id, doc};
use mongodb::options::Hint;
use serde::Deserialize;
use uuid::Uuid;

use crate::documents::{INTENTS, MEMBERS, MemberDoc, ROOMS, RoomDoc, id, uuid};
use crate::error::corrupt;
use crate::event::IntentDoc;
use crate::keys::{member_key, pair};
use crate::lists::{BATCH, ROWS, distinct, ids, in_session};
use crate::open::MongoStore;
use crate::retry::Attempt;

#[derive(Deserialize)]
struct InRoom {
    room: Id,
    user: Id,
}

#[derive(Deserialize)]
struct OnlyUser {
    user: Id,
}

#[derive(Deserialize)]
struct OnlyId {
    _id: Id,
}

impl MongoStore {
    async fn rooms_by_id(&self, rooms: &[Uuid], session: &mut ClientSession) -> Attempt<HashMap<Id, RoomDoc>> {
        let collection = self.frozen::<RoomDoc>(ROOMS);
        let mut found = HashMap::with_capacity(rooms.len());
        for chunk in rooms.chunks(BATCH) {
            let find = collection.find(doc! { "_id": { "$in": ids(chunk) } });
            found.extend(in_session(find, session).await?.into_iter().map(|room| (room._id, room)));
        }
        Ok(found)
    }

    async fn try_standings(&self, of: &[(RoomId, UserId)]) -> Attempt<Vec<Standing>> {
        let mut session = self.snapshot().await?;
        let rooms = self.rooms_by_id(&distinct(of.iter().map(|(room, _)| room.uuid())), &mut session).await?;
        let inside: Vec<_> = of.iter().filter(|(room, _)| rooms.contains_key(&id(room.uuid()))).collect();
        let mut members: HashMap<(RoomId, UserId), Member> = HashMap::new();
        let collection = self.frozen::<MemberDoc>(MEMBERS);
        for chunk in inside.chunks(BATCH) {
            let keys: Vec<_> = chunk.iter().map(|(room, user)| member_key(*room, *user)).collect();
            let find = collection.find(doc! { "_id": { "$in": keys } });
            for member in in_session(find, &mut session).await? {
                let room = RoomId::from_uuid(uuid(member.room));
                members.insert((room, UserId::from_uuid(uuid(member.user))), member.member()?);
            }
        }
        let standing = |key: &(RoomId, UserId)| {
            let Some(room) = rooms.get(&id(key.0.uuid())) else { return Ok(Standing::NoRoom) };
            let Some(member) = members.get(key) else { return Ok(Standing::Outsider) };
            Ok(Standing::Member(membership(room, member.clone())?))
        };
        of.iter().map(standing).collect()
    }

    async fn try_memberships(&self, user: UserId) -> Attempt<Vec<Membership>> {
        let mut session = self.snapshot().await?;
        let collection = self.frozen::<MemberDoc>(MEMBERS);
        let members = in_session(collection.find(doc! { "user": id(user.uuid()) }), &mut session).await?;
        let rooms: Vec<Uuid> = members.iter().map(|member| uuid(member.room)).collect();
        let rooms = self.rooms_by_id(&rooms, &mut session).await?;
        let membership = |member: MemberDoc| {
            let room = rooms.get(&member.room).ok_or_else(corrupt)?;
            Ok(membership(room, member.member()?)?)
        };
        members.into_iter().map(membership).collect()
    }
}

fn membership(room: &RoomDoc, member: Member) -> StoreResult<Membership> {
    let peer = room.peer(member.user)?;
    Ok(Membership { room: room.room()?, member, peer })
}

#[async_trait]
impl RoomStore for MongoStore {
    async fn ping(&self) -> StoreResult<()> {
        self.answers().await
    }

    async fn create(&self, room: &NewRoom) -> StoreResult<Created> {
        let (store, room) = (self.clone(), room.clone());
        self.step(move || {
            let (store, room) = (store.clone(), room.clone());
            async move { store.try_create_room(&room).await }
        })
        .await
    }

    async fn direct(&self, one: UserId, other: UserId) -> StoreResult<Option<Room>> {
        let rooms = &self.collection::<RoomDoc>(ROOMS);
        let key = &pair(one, other);
        let found = self.ask(|| async move { Ok(rooms.find_one(doc! { "pair": key }).await?) }).await?;
        found.map(|room| room.room()).transpose()
    }

    async fn standings(&self, of: &[(RoomId, UserId)]) -> StoreResult<Vec<Standing>> {
        if of.is_empty() {
            return Ok(Vec::new());
        }
        self.ask(|| self.try_standings(of)).await
    }

    async fn memberships(&self, user: UserId) -> StoreResult<Vec<Membership>> {
        self.ask(|| self.try_memberships(user)).await
    }

    async fn rooms_of(&self, users: &[UserId]) -> StoreResult<Vec<(UserId, RoomId)>> {
        let members = &self.collection::<InRoom>(MEMBERS);
        let mut found = Vec::new();
        for chunk in distinct(users.iter().map(|id| id.uuid())).chunks(BATCH) {
            let users = &ids(chunk);
            let read = || async move {
                let find = members.find(doc! { "user": { "$in": users } });
                let find = find.projection(doc! { "_id": 0, "user": 1, "room": 1 }).batch_size(ROWS);
                Ok(find.await?.try_collect().await?)
            };
            let rows: Vec<InRoom> = self.ask(read).await?;
            let row = |row: InRoom| (UserId::from_uuid(uuid(row.user)), RoomId::from_uuid(uuid(row.room)));
            found.extend(rows.into_iter().map(row));
        }
        Ok(found)
    }

    async fn members(&self, room: RoomId, after: Option<PageKey>, limit: u32) -> StoreResult<Vec<Member>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let members = &self.collection::<MemberDoc>(MEMBERS);
        let room = id(room.uuid());
        let filter = &match after {
            None => doc! { "room": room },
            Some(after) => doc! { "$or": [
                { "room": room, "joined_at": after.at.micros(), "user": { "$gt": id(after.id) } },
                { "room": room, "joined_at": { "$gt": after.at.micros() } },
            ] },
        };
        let read = || async move {
            let find = members.find(filter.clone()).sort(doc! { "joined_at": 1, "user": 1 });
            Ok(find.hint(Hint::Name("age".to_owned())).limit(i64::from(limit)).await?.try_collect().await?)
        };
        let rows: Vec<MemberDoc> = self.ask(read).await?;
        rows.iter().map(MemberDoc::member).collect()
    }

    async fn member_ids(&self, room: RoomId) -> StoreResult<Vec<UserId>> {
        let members = &self.collection::<OnlyUser>(MEMBERS);
        let read = || async move {
            let find = members.find(doc! { "room": id(room.uuid()) }).projection(doc! { "_id": 0, "user": 1 });
            Ok(find.batch_size(ROWS).await?.try_collect().await?)
        };
        let rows: Vec<OnlyUser> = self.ask(read).await?;
        Ok(rows.into_iter().map(|row| UserId::from_uuid(uuid(row.user))).collect())
    }

    async fn add(
        &self,
        room: RoomId,
        by: UserId,
        members: &[NewMember],
        max_members: u32,
        at: Timestamp,
    ) -> StoreResult<Changed> {
        let (store, members) = (self.clone(), members.to_vec());
        self.step(move || {
            let (store, members) = (store.clone(), members.clone());
            async move {
                let _guard = store.lock([room]).await;
                store.try_add(room, by, &members, max_members, at).await
            }
        })
        .await
    }

    async fn remove(&self, removal: &Removal) -> StoreResult<Changed> {
        let (store, removal) = (self.clone(), *removal);
        self.step(move || {
            let store = store.clone();
            async move {
                let _guard = store.lock([removal.room]).await;
                store.try_remove(&removal).await
            }
        })
        .await
    }

    async fn change_role(&self, change: &RoleChange) -> StoreResult<Changed> {
        let (store, change) = (self.clone(), *change);
        self.step(move || {
            let store = store.clone();
            async move {
                let _guard = store.lock([change.room]).await;
                store.try_change_role(&change).await
            }
        })
        .await
    }

    async fn rename(
        &self,
        room: RoomId,
        by: UserId,
        name: &RoomName,
        intent: IntentId,
        at: Timestamp,
    ) -> StoreResult<Changed> {
        let (store, name) = (self.clone(), name.clone());
        self.step(move || {
            let (store, name) = (store.clone(), name.clone());
            async move {
                let _guard = store.lock([room]).await;
                store.try_rename(room, by, &name, intent, at).await
            }
        })
        .await
    }

    async fn mark_read(&self, markers: &[MarkerWrite]) -> StoreResult<()> {
        // One write a member, in one order, whatever the batch says of them.
        let mut furthest: BTreeMap<(RoomId, UserId), Seq> = BTreeMap::new();
        for marker in markers {
            let seq = furthest.entry((marker.room, marker.user)).or_insert(marker.seq);
            *seq = (*seq).max(marker.seq);
        }
        if furthest.is_empty() {
            return Ok(());
        }
        let markers: Vec<_> = furthest.into_iter().collect();
        let store = self.clone();
        self.step(move || {
            let (store, markers) = (store.clone(), markers.clone());
            async move { store.try_mark_read(&markers).await }
        })
        .await
    }

    async fn intents(&self, room: RoomId) -> StoreResult<Vec<Intent>> {
        let intents = &self.collection::<IntentDoc>(INTENTS);
        let read = || async move {
            let find = intents.find(doc! { "room": id(room.uuid()) }).sort(doc! { "ordinal": 1 });
            Ok(find.batch_size(ROWS).await?.try_collect().await?)
        };
        let rows: Vec<IntentDoc> = self.ask(read).await?;
        rows.into_iter().map(IntentDoc::intent).collect()
    }

    async fn unsettled(&self, before: Timestamp, limit: u32) -> StoreResult<Vec<RoomId>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let intents = &self.collection::<IntentDoc>(INTENTS);
        let read = || async move {
            let pipeline = [
                doc! { "$match": { "at": { "$lte": before.micros() } } },
                doc! { "$group": { "_id": "$room", "at": { "$min": "$at" } } },
                doc! { "$sort": { "at": 1 } },
                doc! { "$limit": i64::from(limit) },
            ];
            Ok(intents.aggregate(pipeline).batch_size(ROWS).with_type::<OnlyId>().await?.try_collect().await?)
        };
        let rows: Vec<OnlyId> = self.ask(read).await?;
        Ok(rows.into_iter().map(|row| RoomId::from_uuid(uuid(row._id))).collect())
    }

    async fn settle(&self, settled: &[(IntentId, Seq)]) -> StoreResult<()> {
        if settled.is_empty() {
            return Ok(());
        }
        let (store, settled) = (self.clone(), settled.to_vec());
        self.step(move || {
            let (store, settled) = (store.clone(), settled.clone());
            async move { store.try_settle(&settled).await }
        })
        .await
    }
}
