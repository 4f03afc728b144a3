/**
 * Every REST call of the protocol, one method each. Answers are the protocol's own objects, see types.js.
 * @typedef {import('./types.js').User} User
 * @typedef {import('./types.js').Tokens} Tokens
 * @typedef {import('./types.js').Friendship} Friendship
 * @typedef {import('./types.js').RoomSummary} RoomSummary
 * @typedef {import('./types.js').Room} Room
 * @typedef {import('./types.js').Member} Member
 * @typedef {import('./types.js').Message} Message
 * @typedef {import('./types.js').MessagePage} MessagePage
 */

const id = encodeURIComponent;

export class Api {
  /** @param {import('./rest.js').Rest} rest */
  constructor(rest) {
    this.rest = rest;
  }

  // --- auth -------------------------------------------------------------------------------------------------------

  /** @param {{username: string, email: string, password: string, display_name?: string}} form @returns {Promise<User>} */
  register(form) {
    return this.rest.call('POST', 'auth/register', { body: form, auth: false });
  }

  /** @param {{login: string, password: string, device?: string}} form @returns {Promise<Tokens>} */
  login(form) {
    return this.rest.call('POST', 'auth/login', { body: form, auth: false });
  }

  /** @param {string} refresh_token @returns {Promise<Tokens>} */
  refresh(refresh_token) {
    return this.rest.call('POST', 'auth/refresh', { body: { refresh_token }, auth: false });
  }

  /** @returns {Promise<null>} */
  logout() {
    return this.rest.call('POST', 'auth/logout');
  }

  /** @returns {Promise<User>} */
  me() {
    return this.rest.call('GET', 'auth/me');
  }

  /** @param {{display_name?: string, email?: string}} change @returns {Promise<User>} */
  changeMe(change) {
    return this.rest.call('PATCH', 'auth/me', { body: change });
  }

  /** @param {string} current_password @param {string} new_password */
  changePassword(current_password, new_password) {
    return this.rest.call('PUT', 'auth/password', { body: { current_password, new_password } });
  }

  sessions() {
    return this.all('auth/sessions');
  }

  /** @param {string} session */
  endSession(session) {
    return this.rest.call('DELETE', `auth/sessions/${id(session)}`, { safe: true });
  }

  // --- people -----------------------------------------------------------------------------------------------------

  /** @param {string} user */
  user(user) {
    return this.rest.call('GET', `users/${id(user)}`);
  }

  /** @param {string[]} ids at most 100 @returns {Promise<{items: User[]}>} */
  users(ids) {
    return this.rest.call('GET', 'users', { query: { ids: ids.join(','), limit: 100 } });
  }

  /** @param {string} q at least 2 characters @returns {Promise<{items: User[]}>} */
  findUsers(q) {
    return this.rest.call('GET', 'users', { query: { q, limit: 20 } });
  }

  /** @returns {Promise<Friendship[]>} */
  friends() {
    return this.all('friends');
  }

  /** @param {'incoming'|'outgoing'} direction @returns {Promise<Friendship[]>} */
  friendRequests(direction) {
    return this.all('friends/requests', { direction });
  }

  /** @param {{user_id: string}|{username: string}} who @returns {Promise<Friendship>} */
  askFriend(who) {
    return this.rest.call('POST', 'friends/request', { body: who, safe: true });
  }

  /** @param {string} friendship @param {'accepted'|'rejected'} status @returns {Promise<Friendship>} */
  answerFriend(friendship, status) {
    return this.rest.call('PUT', `friends/${id(friendship)}/status`, { body: { status }, safe: true });
  }

  /** Unfriends, or takes a request back. @param {string} friendship */
  removeFriend(friendship) {
    return this.rest.call('DELETE', `friends/${id(friendship)}`);
  }

  /** @returns {Promise<User[]>} */
  blocked() {
    return this.all('users/blocked');
  }

  /** @param {string} user @param {boolean} on */
  block(user, on) {
    return this.rest.call(on ? 'PUT' : 'DELETE', `users/${id(user)}/block`, { safe: true });
  }

  // --- rooms ------------------------------------------------------------------------------------------------------

  /** @returns {Promise<RoomSummary[]>} */
  rooms() {
    return this.all('chat-rooms');
  }

  /** @param {string} room @returns {Promise<Room>} */
  room(room) {
    return this.rest.call('GET', `chat-rooms/${id(room)}`);
  }

  /** @param {string} user_id @returns {Promise<Room>} */
  directRoom(user_id) {
    return this.rest.call('POST', 'chat-rooms', { body: { kind: 'direct', user_id }, safe: true });
  }

  /** @param {string} name @param {string[]} member_ids @param {string} client_id makes a repeat harmless */
  groupRoom(name, member_ids, client_id) {
    return this.rest.call('POST', 'chat-rooms', { body: { kind: 'group', name, member_ids, client_id }, safe: true });
  }

  /** @param {string} room @returns {Promise<Member[]>} */
  members(room) {
    return this.all(`chat-rooms/${id(room)}/members`);
  }

  /** @param {string} room @param {string} name */
  renameRoom(room, name) {
    return this.rest.call('PATCH', `chat-rooms/${id(room)}`, { body: { name } });
  }

  /** @param {string} room @param {string[]} user_ids */
  addMembers(room, user_ids) {
    return this.rest.call('POST', `chat-rooms/${id(room)}/members`, { body: { user_ids }, safe: true });
  }

  /** Removes a member; with my own id: leaves. @param {string} room @param {string} user */
  removeMember(room, user) {
    return this.rest.call('DELETE', `chat-rooms/${id(room)}/members/${id(user)}`, { safe: true });
  }

  /** @param {string} room @param {string} user @param {'owner'|'admin'|'member'} role */
  setRole(room, user, role) {
    return this.rest.call('PUT', `chat-rooms/${id(room)}/members/${id(user)}/role`, { body: { role }, safe: true });
  }

  /** @param {string} room @param {{after?: number, before?: number, limit?: number}} [query] */
  events(room, query) {
    return this.rest.call('GET', `chat-rooms/${id(room)}/events`, { query });
  }

  // --- messages ---------------------------------------------------------------------------------------------------

  /** @param {string} room @param {{before?: number, after?: number, around?: number, limit?: number}} [query] @returns {Promise<MessagePage>} */
  messages(room, query) {
    return this.rest.call('GET', `messages/${id(room)}`, { query });
  }

  /** @param {string} room @param {number} seq @returns {Promise<Message>} */
  message(room, seq) {
    return this.rest.call('GET', `messages/${id(room)}/${seq}`);
  }

  /** @param {string} room @param {number} seq @param {string} body @returns {Promise<Message>} */
  editMessage(room, seq, body) {
    return this.rest.call('PATCH', `messages/${id(room)}/${seq}`, { body: { body }, safe: true });
  }

  /** @param {string} room @param {number} seq */
  deleteMessage(room, seq) {
    return this.rest.call('DELETE', `messages/${id(room)}/${seq}`, { safe: true });
  }

  /** @param {string} room @param {number} seq @param {string} emoji @param {boolean} on */
  react(room, seq, emoji, on) {
    return this.rest.call(on ? 'PUT' : 'DELETE', `messages/${id(room)}/${seq}/reactions/${id(emoji)}`, { safe: true });
  }

  /** Who reacted so. @param {string} room @param {number} seq @param {string} emoji @returns {Promise<User[]>} */
  reactors(room, seq, emoji) {
    return this.all(`messages/${id(room)}/${seq}/reactions/${id(emoji)}`);
  }

  /** Walks a list to its end. A list may shift between two pages, so that what comes twice is kept once. */
  async all(path, query = {}) {
    const items = new Map();
    let cursor;
    do {
      const page = await this.rest.call('GET', path, { query: { ...query, limit: 100, cursor } });
      for (const item of page.items) items.set(item.id ?? item.user?.id, item);
      cursor = page.next;
    } while (cursor);
    return [...items.values()];
  }
}
