//! The shapes of the wire, made from the core's views. The OpenAPI document is made from these types.

use chatcore::hub::{Signal, SignalKind};
use chatcore::model::{
    Account, Event, EventKind, FriendshipStatus, LeaveReason, LogPage, Message, MessageKind, Role, RoomKind, Seq,
    Session,
};
use chatcore::service::{HistoryPage, RoomStatus, TokenPair};
use chatcore::view::{
    FriendshipView, MemberView, Presence, PresenceStatus, Profile, ReadState, RoomSummary, RoomView, UserView,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::schema::{EmojiText, Id, Key, Place, Position, Time};
use crate::time::rfc3339;

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListDto<T> {
    /// In the order of the list.
    pub(crate) items: Vec<T>,
    /// Where the next page begins; null when there are no more.
    pub(crate) next: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = PresenceStatus)]
pub(crate) enum PresenceStatusDto {
    Online,
    Away,
    Offline,
}

impl From<PresenceStatus> for PresenceStatusDto {
    fn from(status: PresenceStatus) -> Self {
        match status {
            PresenceStatus::Online => Self::Online,
            PresenceStatus::Away => Self::Away,
            PresenceStatus::Offline => Self::Offline,
        }
    }
}

/// Whether somebody is there.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Presence)]
pub(crate) struct PresenceDto {
    pub(crate) status: PresenceStatusDto,
    /// When the last of their connections went; null while one lives, before the first, and for those whom they have blocked.
    #[schema(value_type = Option<Time>)]
    pub(crate) last_seen: Option<String>,
}

impl From<Presence> for PresenceDto {
    fn from(presence: Presence) -> Self {
        Self { status: presence.status.into(), last_seen: presence.last_seen.map(rfc3339) }
    }
}

/// A user as others see them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub(crate) struct UserDto {
    #[schema(value_type = Id)]
    pub(crate) id: String,
    pub(crate) username: String,
    pub(crate) display_name: String,
    #[schema(value_type = Time)]
    pub(crate) created_at: String,
    pub(crate) presence: PresenceDto,
}

impl From<&UserView> for UserDto {
    fn from(view: &UserView) -> Self {
        let user = &view.user;
        Self {
            id: user.id.to_string(),
            username: user.username.to_string(),
            display_name: user.display_name.to_string(),
            created_at: rfc3339(user.created_at),
            presence: view.presence.into(),
        }
    }
}

/// The caller's own account.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Account)]
pub(crate) struct AccountDto {
    #[serde(flatten)]
    user: UserDto,
    email: String,
}

impl AccountDto {
    pub(crate) fn new(account: &Account, view: &UserView) -> Self {
        Self { user: view.into(), email: account.email.to_string() }
    }
}

/// A user as looked up by another.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Profile)]
pub(crate) struct ProfileDto {
    #[serde(flatten)]
    user: UserDto,
    /// What is between the two.
    friendship: Option<FriendshipDto>,
    /// Whether the caller has blocked them.
    blocked: bool,
}

impl From<&Profile> for ProfileDto {
    fn from(profile: &Profile) -> Self {
        Self {
            user: (&profile.user).into(),
            friendship: profile.friendship.as_ref().map(Into::into),
            blocked: profile.blocked,
        }
    }
}

/// Tokens for a session.
#[derive(Serialize, ToSchema)]
#[schema(as = Tokens)]
pub(crate) struct TokensDto {
    access_token: String,
    refresh_token: String,
    /// Always `Bearer`.
    #[schema(pattern = "^Bearer$")]
    token_type: &'static str,
    /// Seconds that the access token is good for.
    expires_in: u64,
    user: UserDto,
}

impl From<TokenPair> for TokensDto {
    fn from(pair: TokenPair) -> Self {
        Self {
            user: (&pair.user).into(),
            access_token: pair.access_token,
            refresh_token: pair.refresh_token,
            token_type: "Bearer",
            expires_in: pair.expires_in,
        }
    }
}

/// A login on one device.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub(crate) struct SessionDto {
    #[schema(value_type = Id)]
    id: String,
    device: Option<String>,
    #[schema(value_type = Time)]
    created_at: String,
    #[schema(value_type = Time)]
    last_used_at: String,
    /// Whether it is the one of this request.
    current: bool,
}

impl SessionDto {
    pub(crate) fn new(session: &Session, current: bool) -> Self {
        Self {
            id: session.id.to_string(),
            device: session.device.as_ref().map(ToString::to_string),
            created_at: rfc3339(session.created_at),
            last_used_at: rfc3339(session.last_used_at),
            current,
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = FriendshipStatus)]
pub(crate) enum FriendshipStatusDto {
    Pending,
    Accepted,
    Rejected,
}

/// The one row of a pair, seen by one of the two.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Friendship)]
pub(crate) struct FriendshipDto {
    #[schema(value_type = Id)]
    id: String,
    status: FriendshipStatusDto,
    requester: UserDto,
    addressee: UserDto,
    /// The other one, seen from the caller.
    friend: UserDto,
    #[schema(value_type = Time)]
    created_at: String,
    #[schema(value_type = Time)]
    updated_at: String,
}

impl From<&FriendshipView> for FriendshipDto {
    fn from(view: &FriendshipView) -> Self {
        let row = &view.friendship;
        Self {
            id: row.id.to_string(),
            status: match row.status {
                FriendshipStatus::Pending => FriendshipStatusDto::Pending,
                FriendshipStatus::Accepted => FriendshipStatusDto::Accepted,
                FriendshipStatus::Rejected => FriendshipStatusDto::Rejected,
            },
            requester: (&view.requester).into(),
            addressee: (&view.addressee).into(),
            friend: (&view.friend).into(),
            created_at: rfc3339(row.created_at),
            updated_at: rfc3339(row.updated_at),
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = RoomKind)]
pub(crate) enum RoomKindDto {
    Direct,
    Group,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Role)]
pub(crate) enum RoleDto {
    Owner,
    Admin,
    Member,
}

impl From<Role> for RoleDto {
    fn from(role: Role) -> Self {
        match role {
            Role::Owner => Self::Owner,
            Role::Admin => Self::Admin,
            Role::Member => Self::Member,
        }
    }
}

impl From<RoleDto> for Role {
    fn from(role: RoleDto) -> Self {
        match role {
            RoleDto::Owner => Self::Owner,
            RoleDto::Admin => Self::Admin,
            RoleDto::Member => Self::Member,
        }
    }
}

/// A room in the caller's list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RoomSummary)]
pub(crate) struct RoomSummaryDto {
    #[schema(value_type = Id)]
    id: String,
    kind: RoomKindDto,
    /// Of a group.
    name: Option<String>,
    /// The other one of a direct room.
    peer: Option<UserDto>,
    member_count: u32,
    /// The caller's.
    role: RoleDto,
    /// The number of the last event.
    #[schema(value_type = Place)]
    head: u64,
    /// The caller's marker.
    #[schema(value_type = Place)]
    read: u64,
    /// Messages of others after the marker; 1000 means that or more.
    unread: u32,
    /// The latest, perhaps a tombstone.
    last_message: Option<MessageDto>,
    #[schema(value_type = Time)]
    created_at: String,
    /// The time of the last posted message, or of the creation.
    #[schema(value_type = Time)]
    updated_at: String,
}

impl From<&RoomSummary> for RoomSummaryDto {
    fn from(summary: &RoomSummary) -> Self {
        let room = &summary.room;
        Self {
            id: room.id.to_string(),
            kind: match room.kind {
                RoomKind::Direct => RoomKindDto::Direct,
                RoomKind::Group => RoomKindDto::Group,
            },
            name: room.name.as_ref().map(ToString::to_string),
            peer: summary.peer.as_ref().map(Into::into),
            member_count: room.member_count,
            role: summary.role.into(),
            head: summary.head,
            read: summary.read,
            unread: summary.unread,
            last_message: summary.last_message.as_ref().map(Into::into),
            created_at: rfc3339(room.created_at),
            updated_at: rfc3339(summary.updated_at),
        }
    }
}

/// A room with its first members.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Room)]
pub(crate) struct RoomDto {
    #[serde(flatten)]
    summary: RoomSummaryDto,
    #[schema(value_type = Id)]
    created_by: String,
    /// The first 50, oldest first.
    members: Vec<MemberDto>,
}

impl From<&RoomView> for RoomDto {
    fn from(view: &RoomView) -> Self {
        Self {
            summary: (&view.summary).into(),
            created_by: view.summary.room.created_by.to_string(),
            members: view.members.iter().map(Into::into).collect(),
        }
    }
}

/// A member of a room.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Member)]
pub(crate) struct MemberDto {
    user: UserDto,
    role: RoleDto,
    #[schema(value_type = Time)]
    joined_at: String,
    /// Their marker.
    #[schema(value_type = Place)]
    read: u64,
}

impl From<&MemberView> for MemberDto {
    fn from(view: &MemberView) -> Self {
        Self {
            user: (&view.user).into(),
            role: view.member.role.into(),
            joined_at: rfc3339(view.member.joined_at),
            read: view.read,
        }
    }
}

/// Where the caller stands in a room.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReadState)]
pub(crate) struct ReadStateDto {
    #[schema(value_type = Id)]
    room: String,
    #[schema(value_type = Place)]
    read: u64,
    unread: u32,
}

impl ReadStateDto {
    pub(crate) fn new(room: chatcore::id::RoomId, state: &ReadState) -> Self {
        Self { room: room.to_string(), read: state.read, unread: state.unread }
    }
}

/// Who of a room is there.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RoomStatus)]
pub(crate) struct RoomStatusDto {
    #[schema(value_type = Id)]
    room: String,
    online_count: usize,
    #[schema(value_type = Vec<Id>)]
    online: Vec<String>,
    /// Sockets that listen to the room.
    connections: usize,
}

impl From<&RoomStatus> for RoomStatusDto {
    fn from(status: &RoomStatus) -> Self {
        Self {
            room: status.room.to_string(),
            online_count: status.online.len(),
            online: status.online.iter().map(ToString::to_string).collect(),
            connections: status.connections,
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = MessageType)]
pub(crate) enum MessageTypeDto {
    Text,
    System,
}

/// One emoji on a message.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reaction)]
pub(crate) struct ReactionDto {
    #[schema(value_type = EmojiText)]
    emoji: String,
    count: u32,
    /// Whether the caller is among them.
    me: bool,
}

/// A message as it is now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Message)]
pub(crate) struct MessageDto {
    #[schema(value_type = Id)]
    room: String,
    #[schema(value_type = Position)]
    seq: u64,
    /// The number of the last event that changed it.
    #[schema(value_type = Position)]
    rev: u64,
    /// Null for a message of the host.
    #[schema(value_type = Option<Id>)]
    sender: Option<String>,
    r#type: MessageTypeDto,
    /// Null exactly when it is deleted.
    body: Option<String>,
    #[schema(value_type = Option<Key>)]
    client_id: Option<String>,
    #[schema(value_type = Option<Position>)]
    reply_to: Option<u64>,
    #[schema(value_type = Time)]
    created_at: String,
    #[schema(value_type = Option<Time>)]
    edited_at: Option<String>,
    deleted: bool,
    reactions: Vec<ReactionDto>,
}

impl From<&Message> for MessageDto {
    fn from(message: &Message) -> Self {
        let reactions = message.reactions.iter().map(|reaction| ReactionDto {
            emoji: reaction.emoji.to_string(),
            count: reaction.count,
            me: reaction.me,
        });
        Self {
            room: message.room.to_string(),
            seq: message.seq.number(),
            rev: message.rev.number(),
            sender: message.sender.map(|sender| sender.to_string()),
            r#type: match message.kind {
                MessageKind::Text => MessageTypeDto::Text,
                MessageKind::System => MessageTypeDto::System,
            },
            body: message.body.as_ref().map(ToString::to_string),
            client_id: message.client_id.as_ref().map(ToString::to_string),
            reply_to: message.reply_to.map(Seq::number),
            created_at: rfc3339(message.created_at),
            edited_at: message.edited_at.map(rfc3339),
            deleted: message.deleted,
            reactions: reactions.collect(),
        }
    }
}

/// A page of messages.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = History)]
pub(crate) struct HistoryDto {
    /// Rising by `seq`.
    items: Vec<MessageDto>,
    /// What `items` reply to and do not hold.
    replied: Vec<MessageDto>,
    has_before: bool,
    has_after: bool,
    /// The number of the room's last event.
    #[schema(value_type = Place)]
    head: u64,
}

impl From<&HistoryPage> for HistoryDto {
    fn from(history: &HistoryPage) -> Self {
        Self {
            items: history.page.items.iter().map(Into::into).collect(),
            replied: history.replied.iter().map(Into::into).collect(),
            has_before: history.page.has_before,
            has_after: history.page.has_after,
            head: history.page.head,
        }
    }
}

/// What happened, by the event's name.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "event", content = "data")]
#[schema(as = EventData)]
pub(crate) enum EventDataDto {
    #[serde(rename = "message.posted")]
    Posted { message: Box<MessageDto> },
    #[serde(rename = "message.edited")]
    Edited {
        #[schema(value_type = Position)]
        seq: u64,
        body: Option<String>,
        #[schema(value_type = Time)]
        edited_at: String,
    },
    #[serde(rename = "message.deleted")]
    Deleted {
        #[schema(value_type = Position)]
        seq: u64,
    },
    #[serde(rename = "reaction.added")]
    ReactionAdded {
        #[schema(value_type = Position)]
        seq: u64,
        #[schema(value_type = EmojiText)]
        emoji: String,
    },
    #[serde(rename = "reaction.removed")]
    ReactionRemoved {
        #[schema(value_type = Position)]
        seq: u64,
        #[schema(value_type = EmojiText)]
        emoji: String,
    },
    #[serde(rename = "member.joined")]
    Joined {
        #[schema(value_type = Id)]
        user: String,
        role: RoleDto,
    },
    #[serde(rename = "member.left")]
    Left {
        #[schema(value_type = Id)]
        user: String,
        reason: LeaveReasonDto,
    },
    #[serde(rename = "member.role")]
    RoleChanged {
        #[schema(value_type = Id)]
        user: String,
        role: RoleDto,
    },
    #[serde(rename = "room.updated")]
    Renamed { name: String },
    #[serde(rename = "unknown")]
    Unknown {},
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = LeaveReason)]
pub(crate) enum LeaveReasonDto {
    Left,
    Removed,
}

impl From<LeaveReason> for LeaveReasonDto {
    fn from(reason: LeaveReason) -> Self {
        match reason {
            LeaveReason::Left => Self::Left,
            LeaveReason::Removed => Self::Removed,
        }
    }
}

/// One entry of a room's log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub(crate) struct EventDto {
    #[schema(value_type = Id)]
    room: String,
    #[schema(value_type = Position)]
    seq: u64,
    #[schema(value_type = Time)]
    at: String,
    /// Null for the host.
    #[schema(value_type = Option<Id>)]
    actor: Option<String>,
    #[serde(flatten)]
    data: EventDataDto,
}

impl From<&Event> for EventDto {
    fn from(event: &Event) -> Self {
        let data = match &event.kind {
            EventKind::Edited { target, body } => EventDataDto::Edited {
                seq: target.number(),
                body: body.as_ref().map(ToString::to_string),
                edited_at: rfc3339(event.at),
            },
            EventKind::Deleted { target } => EventDataDto::Deleted { seq: target.number() },
            EventKind::ReactionAdded { target, emoji } => {
                EventDataDto::ReactionAdded { seq: target.number(), emoji: emoji.to_string() }
            }
            EventKind::ReactionRemoved { target, emoji } => {
                EventDataDto::ReactionRemoved { seq: target.number(), emoji: emoji.to_string() }
            }
            EventKind::Joined { user, role } => EventDataDto::Joined { user: user.to_string(), role: (*role).into() },
            EventKind::Left { user, reason } => EventDataDto::Left { user: user.to_string(), reason: (*reason).into() },
            EventKind::RoleChanged { user, role } => {
                EventDataDto::RoleChanged { user: user.to_string(), role: (*role).into() }
            }
            EventKind::Renamed { name } => EventDataDto::Renamed { name: name.to_string() },
            _ => match event.posted_message() {
                Some(message) => EventDataDto::Posted { message: Box::new((&message).into()) },
                // Clients ignore event types that they do not know, but need the number.
                None => EventDataDto::Unknown {},
            },
        };
        Self {
            room: event.room.to_string(),
            seq: event.seq.number(),
            at: rfc3339(event.at),
            actor: event.actor.map(|actor| actor.to_string()),
            data,
        }
    }
}

/// The part of the log that was asked for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Events)]
pub(crate) struct EventsDto {
    /// Rising by `seq`.
    items: Vec<EventDto>,
    /// The number of the room's last event.
    #[schema(value_type = Place)]
    head: u64,
    /// Whether the log goes on in the direction of reading.
    more: bool,
}

impl EventsDto {
    pub(crate) fn new(page: &LogPage, more: bool) -> Self {
        Self { items: page.events.iter().map(Into::into).collect(), head: page.head, more }
    }
}

/// A signal, as it stands in a frame.
#[derive(Debug, Serialize)]
pub(crate) struct SignalDto {
    r#type: &'static str,
    signal: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    data: SignalDataDto,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum SignalDataDto {
    Typing {
        on: bool,
    },
    Read {
        seq: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        unread: Option<u32>,
    },
    Presence(PresenceDto),
    RoomAdded {
        summary: Box<RoomSummaryDto>,
    },
    RoomRemoved {
        reason: LeaveReasonDto,
    },
    UserUpdated {
        user: Box<UserDto>,
    },
    Friend {
        friendship: Box<FriendshipDto>,
    },
}

impl SignalDto {
    /// `None` for a signal that this protocol has no name for.
    pub(crate) fn new(signal: &Signal) -> Option<Self> {
        let (name, data) = match &signal.kind {
            SignalKind::Typing { on } => ("typing", SignalDataDto::Typing { on: *on }),
            SignalKind::Read { seq, unread } => ("read", SignalDataDto::Read { seq: *seq, unread: *unread }),
            SignalKind::Presence(presence) => ("presence", SignalDataDto::Presence((*presence).into())),
            SignalKind::RoomAdded(summary) => {
                ("room.added", SignalDataDto::RoomAdded { summary: Box::new((&**summary).into()) })
            }
            SignalKind::RoomRemoved(reason) => {
                ("room.removed", SignalDataDto::RoomRemoved { reason: (*reason).into() })
            }
            SignalKind::UserUpdated(user) => {
                ("user.updated", SignalDataDto::UserUpdated { user: Box::new((&**user).into()) })
            }
            SignalKind::FriendRequested(view) => ("friend.requested", friend(view)),
            SignalKind::FriendAccepted(view) => ("friend.accepted", friend(view)),
            SignalKind::FriendRemoved(view) => ("friend.removed", friend(view)),
            _ => return None,
        };
        Some(Self {
            r#type: "signal",
            signal: name,
            room: signal.room.map(|room| room.to_string()),
            user: signal.user.map(|user| user.to_string()),
            data,
        })
    }
}

fn friend(view: &FriendshipView) -> SignalDataDto {
    SignalDataDto::Friend { friendship: Box::new(view.into()) }
}
