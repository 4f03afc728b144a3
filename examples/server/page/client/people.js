import { Emitter } from './emitter.js';

const BATCH = 100;
/** Ids asked for within this time go out together. */
const GATHER_MS = 20;

/**
 * @typedef {import('./types.js').User} User
 * @typedef {import('./types.js').Friendship} Friendship
 */

/**
 * Everybody we have heard of, who our friends are, and who is there. Emits `people` whenever something changed.
 */
export class People extends Emitter {
  #api;
  #clock;
  #me;
  /** @type {Map<string, User>} */
  #users = new Map();
  #missing = new Set();
  #gathering = false;
  /** @type {Map<string, Friendship>} */
  friends = new Map();
  /** @type {Map<string, Friendship>} requests that wait for me */
  incoming = new Map();
  /** @type {Map<string, Friendship>} requests that I made */
  outgoing = new Map();
  /** @type {Map<string, User>} */
  blocked = new Map();
  #version = 0;

  /** @param {{api: import('./api.js').Api, clock: import('./clock.js').Clock, me: () => string}} options */
  constructor({ api, clock, me }) {
    super();
    this.#api = api;
    this.#clock = clock;
    this.#me = me;
  }

  clear() {
    this.#users.clear();
    this.#missing.clear();
    for (const map of [this.friends, this.incoming, this.outgoing, this.blocked]) map.clear();
  }

  /**
   * A user by id. One that is not known yet is fetched, and `people` emitted once it is here.
   * @param {string|null} id
   * @returns {User|null}
   */
  get(id) {
    if (!id) return null;
    const user = this.#users.get(id);
    if (!user) this.#want(id);
    return user ?? null;
  }

  /** @param {User|null|undefined} user as any answer brought it */
  absorb(user) {
    if (!user?.id) return;
    const held = this.#users.get(user.id);
    this.#users.set(user.id, { ...held, ...user, presence: user.presence ?? held?.presence });
  }

  /** @param {string} id @returns {import('./types.js').Status} */
  status(id) {
    return this.#users.get(id)?.presence?.status ?? 'offline';
  }

  /** Reads friends, requests and blocks anew, as the protocol wants after every `hello`. */
  async load() {
    const version = ++this.#version;
    const [friends, incoming, outgoing, blocked] = await Promise.all([
      this.#api.friends(),
      this.#api.friendRequests('incoming'),
      this.#api.friendRequests('outgoing'),
      this.#api.blocked(),
    ]);
    // A signal that came meanwhile may be newer than these lists: then they are read once more.
    if (version !== this.#version) return this.load();
    const byId = (list) => new Map(list.map((item) => [item.id, item]));
    this.friends = byId(friends);
    this.incoming = byId(incoming);
    this.outgoing = byId(outgoing);
    this.blocked = byId(blocked);
    for (const friendship of [...friends, ...incoming, ...outgoing]) {
      this.absorb(friendship.requester);
      this.absorb(friendship.addressee);
    }
    blocked.forEach((user) => this.absorb(user));
    this.emit('people');
  }

  /** @param {import('./types.js').Signal} signal @returns {boolean} whether it was about people */
  receive({ signal, user, data }) {
    switch (signal) {
      case 'presence': {
        const held = this.#users.get(user);
        if (held) this.#users.set(user, { ...held, presence: { status: data.status, last_seen: data.last_seen ?? null } });
        break;
      }
      case 'user.updated':
        this.absorb(data.user);
        break;
      case 'friend.requested':
      case 'friend.accepted':
        this.place(data.friendship);
        return true;
      case 'friend.removed':
        this.#version += 1;
        this.#remove(data.friendship.id);
        break;
      default:
        return false;
    }
    this.emit('people');
    return true;
  }

  /** Puts a friendship where its status says. @param {Friendship} friendship */
  place(friendship) {
    const held = this.friends.get(friendship.id) ?? this.incoming.get(friendship.id) ?? this.outgoing.get(friendship.id);
    // An answer can be overtaken by the signal of what happened next.
    if (held && held.updated_at > friendship.updated_at) return;
    this.#version += 1;
    this.#remove(friendship.id);
    const mine = friendship.requester.id === this.#me();
    const placed = { ...friendship, friend: mine ? friendship.addressee : friendship.requester };
    this.absorb(friendship.requester);
    this.absorb(friendship.addressee);
    if (friendship.status === 'accepted') this.friends = new Map([[placed.id, placed], ...this.friends]);
    else if (friendship.status === 'pending') (mine ? this.outgoing : this.incoming).set(placed.id, placed);
    this.emit('people');
  }

  #remove(id) {
    for (const map of [this.friends, this.incoming, this.outgoing]) map.delete(id);
  }

  /**
   * How a person stands to me.
   * @param {string} id
   * @returns {{is: 'me'|'friend'|'incoming'|'outgoing'|'none', friendship: Friendship|null, blocked: boolean}}
   */
  relation(id) {
    const blocked = this.blocked.has(id);
    if (id === this.#me()) return { is: 'me', friendship: null, blocked };
    for (const [is, map] of [['friend', this.friends], ['incoming', this.incoming], ['outgoing', this.outgoing]]) {
      for (const friendship of map.values()) if (friendship.friend.id === id) return { is, friendship, blocked };
    }
    return { is: 'none', friendship: null, blocked };
  }

  // --- actions: each waits for the server, then shows what it answered --------------------------------------------

  /** @param {string} q @returns {Promise<User[]>} */
  async find(q) {
    const { items } = await this.#api.findUsers(q);
    items.forEach((user) => this.absorb(user));
    return items;
  }

  async ask(user_id) {
    this.place(await this.#api.askFriend({ user_id }));
  }

  async answer(friendship, status) {
    this.place(await this.#api.answerFriend(friendship, status));
  }

  async remove(friendship) {
    await this.#api.removeFriend(friendship);
    this.#version += 1;
    this.#remove(friendship);
    this.emit('people');
  }

  async block(user, on) {
    await this.#api.block(user, on);
    await this.load();
  }

  #want(id) {
    this.#missing.add(id);
    if (this.#gathering) return;
    this.#gathering = true;
    this.#clock.setTimeout(() => this.#fetchMissing(), GATHER_MS);
  }

  async #fetchMissing() {
    this.#gathering = false;
    const ids = [...this.#missing].slice(0, BATCH);
    if (ids.length === 0) return;
    try {
      const { items } = await this.#api.users(ids);
      items.forEach((user) => this.absorb(user));
      // Whoever does not exist is not asked for again and again.
      for (const id of ids) {
        if (!this.#users.has(id)) this.#users.set(id, { id, username: '', display_name: 'Somebody', created_at: '' });
        this.#missing.delete(id);
      }
      this.emit('people');
    } catch {
      // Left in the set: the next view that asks for any of them tries again.
      return;
    }
    if (this.#missing.size > 0) this.#want([...this.#missing][0]);
  }
}
