/**
 * The protocol's objects, for editors and for readers. There is no code here.
 *
 * @typedef {'online'|'away'|'offline'} Status
 * @typedef {'owner'|'admin'|'member'} Role
 * @typedef {{id: string, username: string, display_name: string, created_at: string, email?: string,
 *            presence?: {status: Status, last_seen: string|null}}} User
 * @typedef {{access_token: string, refresh_token: string, token_type: 'Bearer', expires_in: number, user: User}} Tokens
 * @typedef {{id: string, status: 'pending'|'accepted'|'rejected', requester: User, addressee: User, friend: User,
 *            created_at: string, updated_at: string}} Friendship
 * @typedef {{emoji: string, count: number, me: boolean}} Reaction
 * @typedef {{room: string, seq: number, rev: number, sender: string|null, type: 'text'|'system', body: string|null,
 *            client_id: string|null, reply_to: number|null, created_at: string, edited_at: string|null,
 *            deleted: boolean, reactions: Reaction[]}} Message
 * @typedef {{items: Message[], replied: Message[], has_before: boolean, has_after: boolean, head: number}} MessagePage
 * @typedef {{id: string, kind: 'direct'|'group', name: string|null, peer: User|null, member_count: number, role: Role,
 *            head: number, read: number, unread: number, last_message: Message|null, created_at: string,
 *            updated_at: string}} RoomSummary
 * @typedef {{user: User, role: Role, joined_at: string, read: number}} Member
 * @typedef {RoomSummary & {created_by: string, members: Member[]}} Room
 * @typedef {{room: string, seq: number, at: string, actor: string|null, event: string, data: any}} Event
 * @typedef {{signal: string, room?: string, user?: string, data: any}} Signal
 */
export {};
