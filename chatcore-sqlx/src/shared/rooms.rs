//! Rooms, members, read markers, intents.

use std::collections::HashMap;

use async_trait::async_trait;
use chatcore::id::{IntentId, RoomId, UserId};
use chatcore::model::{
    EventKind, Intent, LeaveReason, Member, Membership, PageKey, Role, Room, RoomChange, RoomKind, RoomName, Seq,
    Standing,
};
use chatcore::policy::room::{self as policy, Facts, Refusal};
use chatcore::store::{
    Changed, Created, MarkerWrite, NewMember, NewRoom, Removal, RoleChange, RoomStore, StoreError, StoreResult,
};
use chatcore::time::Timestamp;
use sqlx::{QueryBuilder, Transaction};
use uuid::Uuid;

use super::Store;
use super::codec::{self, count, flatten, optional_seq, role, role_code, room_kind, room_kind_code, seq_number, time};
use super::dialect::{self, Db, FOR_UPDATE};
use super::error::store_error;
use super::retry::retry;
use super::sql::{LIST, push_ids};

/// id, kind, name, maker, creation, members
type RoomRow = (Uuid, i64, Option<String>, Uuid, i64, i64);
/// user, role, coming, its event, marker
type MemberRow = (Uuid, i64, i64, Option<i64>, Option<i64>);
/// Both, and of a direct room the pair.
type MembershipRow =
    (Uuid, i64, Option<String>, Uuid, i64, i64, Option<Vec<u8>>, Uuid, i64, i64, Option<i64>, Option<i64>);

const MEMBERSHIP: &str = "SELECT r.id, r.kind, r.name, r.created_by, r.created_at, r.member_count, r.pair, \
     m.user_id, m.role, m.joined_at, m.joined_seq, m.read_seq \
     FROM chat_members m JOIN chat_rooms r ON r.id = m.room_id WHERE ";

fn room((id, kind, name, created_by, created_at, members): RoomRow) -> StoreResult<Room> {
    Ok(Room {
        id: RoomId::from_uuid(id),
        kind: room_kind(kind)?,
        name: name.map(RoomName::from_stored),
        created_by: UserId::from_uuid(created_by),
        created_at: time(created_at),
        member_count: count(members)?,
    })
}

fn member((user, code, joined_at, joined_seq, read): MemberRow) -> StoreResult<Member> {
    Ok(Member {
        user: UserId::from_uuid(user),
        role: role(code)?,
        joined_at: time(joined_at),
        joined_seq: optional_seq(joined_seq)?,
        read: optional_seq(read)?,
    })
}

fn membership(row: MembershipRow) -> StoreResult<Membership> {
    let (id, kind, name, created_by, created_at, members, pair, user, code, joined_at, joined_seq, read) = row;
    let room = room((id, kind, name, created_by, created_at, members))?;
    let member = member((user, code, joined_at, joined_seq, read))?;
    let peer = pair.map(|pair| peer(&pair, member.user)).transpose()?;
    Ok(Membership { room, member, peer })
}

/// The key of a direct room: both ids, the smaller one first.
fn pair(one: UserId, other: UserId) -> Vec<u8> {
    [*one.min(other).uuid().as_bytes(), *one.max(other).uuid().as_bytes()].concat()
}

fn peer(pair: &[u8], user: UserId) -> StoreResult<UserId> {
    let (ids, rest) = pair.as_chunks::<16>();
    let ids: Vec<UserId> = ids.iter().map(|id| UserId::from_uuid(Uuid::from_bytes(*id))).collect();
    match (ids.as_slice(), rest) {
        ([one, other], []) if *one == user => Ok(*other),
        ([one, other], []) if *other == user => Ok(*one),
        _ => Err(StoreError::corrupt("the pair of a direct room does not hold its member")),
    }
}

async fn room_where(tx: &mut Transaction<'static, Db>, id: RoomId) -> StoreResult<Option<Room>> {
    let sql =
        format!("SELECT id, kind, name, created_by, created_at, member_count FROM chat_rooms WHERE id = ?{FOR_UPDATE}");
    let row: Option<RoomRow> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(id.uuid())
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    row.map(room).transpose()
}

async fn role_in(tx: &mut Transaction<'static, Db>, room: RoomId, user: UserId) -> StoreResult<Option<Role>> {
    let code: Option<i64> = sqlx::query_scalar("SELECT role FROM chat_members WHERE room_id = ? AND user_id = ?")
        .bind(room.uuid())
        .bind(user.uuid())
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    code.map(role).transpose()
}

/// What the policy has to know, the room's row locked first; `None`: no such room.
async fn facts(tx: &mut Transaction<'static, Db>, id: RoomId, actor: UserId) -> StoreResult<Option<(Room, Facts)>> {
    let Some(room) = room_where(tx, id).await? else { return Ok(None) };
    let owners: i64 = sqlx::query_scalar("SELECT count(*) FROM chat_members WHERE room_id = ? AND role = ?")
        .bind(id.uuid())
        .bind(role_code(Role::Owner))
        .fetch_one(&mut **tx)
        .await
        .map_err(store_error)?;
    let actor = role_in(tx, id, actor).await?;
    let facts = Facts { kind: room.kind, actor, members: room.member_count, owners: count(owners)? };
    Ok(Some((room, facts)))
}

async fn record(tx: &mut Transaction<'static, Db>, intent: &Intent) -> StoreResult<()> {
    let kind: EventKind = intent.change.clone().into();
    let flat = flatten(&kind).ok_or_else(|| StoreError::corrupt("a change of an unknown kind"))?;
    sqlx::query(
        "INSERT INTO chat_intents (id, room_id, actor, created_at, kind, subject, detail, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(intent.id.uuid())
    .bind(intent.room.uuid())
    .bind(intent.actor.map(UserId::uuid))
    .bind(intent.at.micros())
    .bind(flat.kind)
    .bind(flat.subject)
    .bind(flat.detail)
    .bind(flat.body)
    .execute(&mut **tx)
    .await
    .map(drop)
    .map_err(store_error)
}

async fn put_in(
    tx: &mut Transaction<'static, Db>,
    room: RoomId,
    by: UserId,
    new: &NewMember,
    at: Timestamp,
) -> StoreResult<()> {
    sqlx::query("INSERT INTO chat_members (room_id, user_id, role, joined_at, joined_by) VALUES (?, ?, ?, ?, ?)")
        .bind(room.uuid())
        .bind(new.user.uuid())
        .bind(role_code(new.role))
        .bind(at.micros())
        .bind(new.intent.uuid())
        .execute(&mut **tx)
        .await
        .map_err(store_error)?;
    let change = RoomChange::Joined { user: new.user, role: new.role };
    record(tx, &Intent { id: new.intent, room, actor: Some(by), at, change }).await
}

async fn set_member_count(tx: &mut Transaction<'static, Db>, room: RoomId, members: i64) -> StoreResult<()> {
    sqlx::query("UPDATE chat_rooms SET member_count = ? WHERE id = ?")
        .bind(members)
        .bind(room.uuid())
        .execute(&mut **tx)
        .await
        .map(drop)
        .map_err(store_error)
}

#[async_trait]
impl RoomStore for Store {
    async fn ping(&self) -> StoreResult<()> {
        sqlx::query("SELECT 1").execute(&self.reader).await.map(drop).map_err(store_error)
    }

    async fn create(&self, new: &NewRoom) -> StoreResult<Created> {
        retry(|| async move {
            let key = match (new.kind, new.members.as_slice()) {
                (RoomKind::Direct, [one, other]) => Some(pair(one.user, other.user)),
                _ => None,
            };
            let client_id = new.client_id.as_ref().map(|client_id| client_id.as_str().to_owned());
            let mut tx = dialect::begin(&self.writer).await.map_err(store_error)?;
            let existing: Option<RoomRow> = sqlx::query_as(
                // Three seeks. An OR over three indexes is for some servers a scan.
                "SELECT id, kind, name, created_by, created_at, member_count FROM chat_rooms WHERE id = ? \
                 UNION ALL SELECT id, kind, name, created_by, created_at, member_count FROM chat_rooms WHERE pair = ? \
                 UNION ALL SELECT id, kind, name, created_by, created_at, member_count FROM chat_rooms \
                 WHERE created_by = ? AND client_id = ?",
            )
            .bind(new.id.uuid())
            .bind(key.clone())
            .bind(new.created_by.uuid())
            .bind(client_id.clone())
            .fetch_optional(&mut *tx)
            .await
            .map_err(store_error)?;
            if let Some(row) = existing {
                return Ok(Created::Existing(room(row)?));
            }
            let members = i64::try_from(new.members.len()).unwrap_or(i64::MAX);
            sqlx::query(
                "INSERT INTO chat_rooms (id, kind, name, created_by, created_at, member_count, client_id, pair) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(new.id.uuid())
            .bind(room_kind_code(new.kind))
            .bind(new.name.as_ref().map(|name| name.as_str().to_owned()))
            .bind(new.created_by.uuid())
            .bind(new.created_at.micros())
            .bind(members)
            .bind(client_id)
            .bind(key)
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
            for member in &new.members {
                put_in(&mut tx, new.id, new.created_by, member, new.created_at).await?;
            }
            tx.commit().await.map_err(store_error)?;
            Ok(Created::New(Room {
                id: new.id,
                kind: new.kind,
                name: new.name.clone(),
                created_by: new.created_by,
                created_at: new.created_at,
                member_count: count(members)?,
            }))
        })
        .await
    }

    async fn direct(&self, one: UserId, other: UserId) -> StoreResult<Option<Room>> {
        let row: Option<RoomRow> = sqlx::query_as(
            "SELECT id, kind, name, created_by, created_at, member_count FROM chat_rooms WHERE pair = ?",
        )
        .bind(pair(one, other))
        .fetch_optional(&self.reader)
        .await
        .map_err(store_error)?;
        row.map(room).transpose()
    }

    async fn standings(&self, of: &[(RoomId, UserId)]) -> StoreResult<Vec<Standing>> {
        // One membership is the hot path: one statement, which also tells a room without this member from no room.
        let mut found: HashMap<(RoomId, UserId), Membership> = HashMap::new();
        for chunk in of.chunks(LIST) {
            let mut rooms: Vec<Uuid> = chunk.iter().map(|(room, _)| room.uuid()).collect();
            let mut users: Vec<Uuid> = chunk.iter().map(|(_, user)| user.uuid()).collect();
            for ids in [&mut rooms, &mut users] {
                ids.sort_unstable();
                ids.dedup();
            }
            let mut query = QueryBuilder::<Db>::new(MEMBERSHIP);
            query.push("m.room_id IN ");
            push_ids(&mut query, &rooms);
            query.push(" AND m.user_id IN ");
            push_ids(&mut query, &users);
            let rows: Vec<MembershipRow> = query.build_query_as().fetch_all(&self.reader).await.map_err(store_error)?;
            for row in rows {
                let membership = membership(row)?;
                found.insert((membership.room.id, membership.member.user), membership);
            }
        }
        let outside: Vec<Uuid> =
            of.iter().filter(|key| !found.contains_key(key)).map(|(room, _)| room.uuid()).collect();
        let mut rooms: Vec<Uuid> = Vec::new();
        for chunk in outside.chunks(LIST) {
            let mut query = QueryBuilder::<Db>::new("SELECT id FROM chat_rooms WHERE id IN ");
            push_ids(&mut query, chunk);
            let ids: Vec<Uuid> = query.build_query_scalar().fetch_all(&self.reader).await.map_err(store_error)?;
            rooms.extend(ids);
        }
        Ok(of
            .iter()
            .map(|key| match found.get(key) {
                Some(membership) => Standing::Member(membership.clone()),
                None if rooms.contains(&key.0.uuid()) => Standing::Outsider,
                None => Standing::NoRoom,
            })
            .collect())
    }

    async fn memberships(&self, user: UserId) -> StoreResult<Vec<Membership>> {
        let rows: Vec<MembershipRow> = sqlx::query_as(sqlx::AssertSqlSafe(format!("{MEMBERSHIP}m.user_id = ?")))
            .bind(user.uuid())
            .fetch_all(&self.reader)
            .await
            .map_err(store_error)?;
        rows.into_iter().map(membership).collect()
    }

    async fn rooms_of(&self, users: &[UserId]) -> StoreResult<Vec<(UserId, RoomId)>> {
        let mut ids: Vec<Uuid> = users.iter().map(|id| id.uuid()).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut found = Vec::new();
        for chunk in ids.chunks(LIST) {
            let mut query = QueryBuilder::<Db>::new("SELECT user_id, room_id FROM chat_members WHERE user_id IN ");
            push_ids(&mut query, chunk);
            let rows: Vec<(Uuid, Uuid)> = query.build_query_as().fetch_all(&self.reader).await.map_err(store_error)?;
            found.extend(rows.into_iter().map(|(user, room)| (UserId::from_uuid(user), RoomId::from_uuid(room))));
        }
        Ok(found)
    }

    async fn members(&self, room: RoomId, after: Option<PageKey>, limit: u32) -> StoreResult<Vec<Member>> {
        let (from, user) = after.map_or((i64::MIN, Uuid::nil()), |key| (key.at.micros(), key.id));
        let rows: Vec<MemberRow> = sqlx::query_as(
            "SELECT user_id, role, joined_at, joined_seq, read_seq FROM chat_members \
             WHERE room_id = ? AND joined_at >= ? AND (joined_at > ? OR user_id > ?) ORDER BY joined_at, user_id LIMIT ?",
        )
        .bind(room.uuid())
        .bind(from)
        .bind(from)
        .bind(user)
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await
        .map_err(store_error)?;
        rows.into_iter().map(member).collect()
    }

    async fn member_ids(&self, room: RoomId) -> StoreResult<Vec<UserId>> {
        let ids: Vec<Uuid> = sqlx::query_scalar("SELECT user_id FROM chat_members WHERE room_id = ?")
            .bind(room.uuid())
            .fetch_all(&self.reader)
            .await
            .map_err(store_error)?;
        Ok(ids.into_iter().map(UserId::from_uuid).collect())
    }

    async fn add(
        &self,
        room: RoomId,
        by: UserId,
        members: &[NewMember],
        max_members: u32,
        at: Timestamp,
    ) -> StoreResult<Changed> {
        retry(|| async move {
            let mut tx = dialect::begin(&self.writer).await.map_err(store_error)?;
            let Some((_, facts)) = facts(&mut tx, room, by).await? else {
                return Ok(Changed::Refused(Refusal::NoRoom));
            };
            let ids: Vec<Uuid> = members.iter().map(|member| member.user.uuid()).collect();
            let mut there: Vec<Uuid> = Vec::new();
            for chunk in ids.chunks(LIST) {
                let mut query = QueryBuilder::<Db>::new("SELECT user_id FROM chat_members WHERE room_id = ");
                query.push_bind(room.uuid()).push(" AND user_id IN ");
                push_ids(&mut query, chunk);
                let rows: Vec<Uuid> = query.build_query_scalar().fetch_all(&mut *tx).await.map_err(store_error)?;
                there.extend(rows);
            }
            let new: Vec<&NewMember> = members.iter().filter(|member| !there.contains(&member.user.uuid())).collect();
            let adding = u32::try_from(new.len()).unwrap_or(u32::MAX);
            if let Err(refusal) = policy::add(&facts, adding, max_members) {
                return Ok(Changed::Refused(refusal));
            }
            if new.is_empty() {
                return Ok(Changed::Same);
            }
            for member in new {
                put_in(&mut tx, room, by, member, at).await?;
            }
            set_member_count(&mut tx, room, i64::from(facts.members) + i64::from(adding)).await?;
            tx.commit().await.map_err(store_error)?;
            Ok(Changed::Done)
        })
        .await
    }

    async fn remove(&self, removal: &Removal) -> StoreResult<Changed> {
        retry(|| async move {
            let &Removal { room, by, user, intent, at } = removal;
            let mut tx = dialect::begin(&self.writer).await.map_err(store_error)?;
            let Some((_, facts)) = facts(&mut tx, room, by).await? else {
                return Ok(Changed::Refused(Refusal::NoRoom));
            };
            let target = role_in(&mut tx, room, user).await?;
            match policy::remove(&facts, target, by == user) {
                Err(refusal) => return Ok(Changed::Refused(refusal)),
                Ok(false) => return Ok(Changed::Same),
                Ok(true) => {}
            }
            sqlx::query("DELETE FROM chat_members WHERE room_id = ? AND user_id = ?")
                .bind(room.uuid())
                .bind(user.uuid())
                .execute(&mut *tx)
                .await
                .map_err(store_error)?;
            set_member_count(&mut tx, room, i64::from(facts.members) - 1).await?;
            let reason = if by == user { LeaveReason::Left } else { LeaveReason::Removed };
            let change = RoomChange::Left { user, reason };
            record(&mut tx, &Intent { id: intent, room, actor: Some(by), at, change }).await?;
            tx.commit().await.map_err(store_error)?;
            Ok(Changed::Done)
        })
        .await
    }

    async fn change_role(&self, change: &RoleChange) -> StoreResult<Changed> {
        retry(|| async move {
            let &RoleChange { room, by, user, role, intent, at } = change;
            let mut tx = dialect::begin(&self.writer).await.map_err(store_error)?;
            let Some((_, facts)) = facts(&mut tx, room, by).await? else {
                return Ok(Changed::Refused(Refusal::NoRoom));
            };
            let target = role_in(&mut tx, room, user).await?;
            match policy::change_role(&facts, target, role) {
                Err(refusal) => return Ok(Changed::Refused(refusal)),
                Ok(false) => return Ok(Changed::Same),
                Ok(true) => {}
            }
            sqlx::query("UPDATE chat_members SET role = ? WHERE room_id = ? AND user_id = ?")
                .bind(role_code(role))
                .bind(room.uuid())
                .bind(user.uuid())
                .execute(&mut *tx)
                .await
                .map_err(store_error)?;
            let change = RoomChange::RoleChanged { user, role };
            record(&mut tx, &Intent { id: intent, room, actor: Some(by), at, change }).await?;
            tx.commit().await.map_err(store_error)?;
            Ok(Changed::Done)
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
        retry(|| async move {
            let mut tx = dialect::begin(&self.writer).await.map_err(store_error)?;
            let Some((now, facts)) = facts(&mut tx, room, by).await? else {
                return Ok(Changed::Refused(Refusal::NoRoom));
            };
            if let Err(refusal) = policy::rename(&facts) {
                return Ok(Changed::Refused(refusal));
            }
            if now.name.as_ref() == Some(name) {
                return Ok(Changed::Same);
            }
            sqlx::query("UPDATE chat_rooms SET name = ? WHERE id = ?")
                .bind(name.as_str())
                .bind(room.uuid())
                .execute(&mut *tx)
                .await
                .map_err(store_error)?;
            let change = RoomChange::Renamed { name: name.clone() };
            record(&mut tx, &Intent { id: intent, room, actor: Some(by), at, change }).await?;
            tx.commit().await.map_err(store_error)?;
            Ok(Changed::Done)
        })
        .await
    }

    async fn mark_read(&self, markers: &[MarkerWrite]) -> StoreResult<()> {
        retry(|| async move {
        // One write a member, in one order, whatever the batch says of them.
        let mut furthest: std::collections::BTreeMap<(RoomId, UserId), Seq> = std::collections::BTreeMap::new();
        for marker in markers {
            let seq = furthest.entry((marker.room, marker.user)).or_insert(marker.seq);
            *seq = (*seq).max(marker.seq);
        }
        let mut tx = dialect::begin(&self.writer).await.map_err(store_error)?;
        for ((room, user), seq) in furthest {
            sqlx::query(
                "UPDATE chat_members SET read_seq = ? WHERE room_id = ? AND user_id = ? AND (read_seq IS NULL OR read_seq < ?)",
            )
            .bind(seq_number(seq))
            .bind(room.uuid())
            .bind(user.uuid())
            .bind(seq_number(seq))
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
        }
        tx.commit().await.map_err(store_error)
        })
        .await
    }

    async fn intents(&self, room: RoomId) -> StoreResult<Vec<Intent>> {
        let rows: Vec<codec::IntentRow> = sqlx::query_as(
            "SELECT id, actor, created_at, kind, subject, detail, body FROM chat_intents WHERE room_id = ? ORDER BY ordinal",
        )
        .bind(room.uuid())
        .fetch_all(&self.reader)
        .await
        .map_err(store_error)?;
        rows.into_iter().map(|row| codec::intent(room, row)).collect()
    }

    async fn unsettled(&self, before: Timestamp, limit: u32) -> StoreResult<Vec<RoomId>> {
        // From the oldest on, so that what is left out comes when these are settled. A new room leaves an intent a member.
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "SELECT DISTINCT room_id FROM \
             (SELECT room_id FROM chat_intents WHERE created_at <= ? ORDER BY created_at LIMIT ?) AS oldest LIMIT ?",
        )
        .bind(before.micros())
        .bind(16 * i64::from(limit))
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await
        .map_err(store_error)?;
        Ok(ids.into_iter().map(RoomId::from_uuid).collect())
    }

    async fn settle(&self, settled: &[(IntentId, Seq)]) -> StoreResult<()> {
        retry(|| async move {
            let mut tx = dialect::begin(&self.writer).await.map_err(store_error)?;
            for (id, seq) in settled {
                let intent: Option<(Uuid, Option<Uuid>)> =
                    sqlx::query_as("SELECT room_id, subject FROM chat_intents WHERE id = ?")
                        .bind(id.uuid())
                        .fetch_optional(&mut *tx)
                        .await
                        .map_err(store_error)?;
                let Some((room, subject)) = intent else { continue };
                // A member who has gone and come again since has another intent.
                sqlx::query(
                    "UPDATE chat_members SET joined_seq = ? WHERE room_id = ? AND user_id = ? AND joined_by = ?",
                )
                .bind(seq_number(*seq))
                .bind(room)
                .bind(subject)
                .bind(id.uuid())
                .execute(&mut *tx)
                .await
                .map_err(store_error)?;
                sqlx::query("DELETE FROM chat_intents WHERE id = ?")
                    .bind(id.uuid())
                    .execute(&mut *tx)
                    .await
                    .map_err(store_error)?;
            }
            tx.commit().await.map_err(store_error)
        })
        .await
    }
}
