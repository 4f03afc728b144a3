import { Emitter } from './emitter.js';
import { ApiError, OfflineError } from './errors.js';
import { Backoff } from './clock.js';

/** A defect of the server does not heal by itself: after so many tries the person decides. */
const INTERNAL_TRIES = 4;

/**
 * @typedef {object} Draft
 * @property {string} client_id makes every repeat the same message
 * @property {string} user who wrote it: nobody else sends it or sees it
 * @property {string} room
 * @property {string} body
 * @property {number|null} reply_to
 * @property {string} created_at
 * @property {'queued'|'sending'|'sent'|'failed'} state
 * @property {number|null} seq once acknowledged
 * @property {string|null} error why it failed
 */

/**
 * Where unsent messages are kept. Per tab is right: two tabs that send the same draft do no harm, but show it twice.
 * @typedef {{load: () => Draft[], save: (drafts: Draft[]) => void}} OutboxStore
 */

/** @returns {OutboxStore} */
export function memoryOutbox() {
  return { load: () => [], save: () => {} };
}

/** @param {Storage} storage @param {string} [key] @returns {OutboxStore} */
export function webOutbox(storage, key = 'chatcore.outbox') {
  return {
    load() {
      try {
        const drafts = JSON.parse(storage.getItem(key) ?? '[]');
        return Array.isArray(drafts) ? drafts : [];
      } catch {
        return [];
      }
    },
    save: (drafts) => storage.setItem(key, JSON.stringify(drafts)),
  };
}

/**
 * Messages on their way. A message stays here, with the same `client_id`, until the room's own log has shown it; a lost
 * connection only means that it is sent again. One at a time per room, so that the order of writing is the order of
 * the log also when the server asks to wait.
 *
 * A message is its writer's. Where their session ends without their asking for it, it waits here until they sign in again; where they sign out, it
 * is dropped, because whoever signs out is done. Meanwhile nobody else who signs in gets to see it, and it is never sent as theirs.
 *
 * Emits `outbox` {room: string} when a room's drafts changed.
 */
export class Outbox extends Emitter {
  #socket;
  #rooms;
  #clock;
  #store;
  #newId;
  /** @type {Draft[]} */
  #drafts;
  #busy = new Set();
  #backoffs = new Map();
  #ready = false;
  #generation = 0;

  /**
   * @param {{socket: import('./socket.js').Socket, rooms: import('./rooms.js').Rooms, clock: import('./clock.js').Clock,
   *          store: OutboxStore, newId: () => string}} options
   */
  constructor({ socket, rooms, clock, store, newId }) {
    super();
    this.#socket = socket;
    this.#rooms = rooms;
    this.#clock = clock;
    this.#store = store;
    this.#newId = newId;
    // One that does not say whose it is may be anybody's.
    this.#drafts = store.load().filter((draft) => draft.user).map(waiting);
    rooms.on('applied', ({ room, event }) => this.#seen(room, event));
    // A room may also get ahead without events: by a newer summary, or by starting anew.
    rooms.on('room', (room) => this.#seen(room, null));
    rooms.on('timeline', (room) => this.#seen(room, null));
    // One that went out before the list of rooms was here: the list has what became of it.
    rooms.on('rooms', () => {
      for (const { room } of this.#mine()) if (rooms.get(room)) this.#seen(rooms.get(room), null);
    });
    rooms.on('gone', ({ room }) => this.#dropRoom(room.id));
  }

  /** @param {string} room @returns {Draft[]} mine, in the order written */
  of(room) {
    return this.#mine().filter((draft) => draft.room === room);
  }

  #mine() {
    return this.#drafts.filter((draft) => draft.user === this.#rooms.me);
  }

  /**
   * @param {string} room @param {string} body @param {number|null} [reply_to]
   * @returns {Draft}
   */
  send(room, body, reply_to = null) {
    const draft = {
      client_id: this.#newId(),
      user: this.#rooms.me,
      room,
      body,
      reply_to,
      created_at: new Date(this.#clock.now()).toISOString(),
      state: 'queued',
      seq: null,
      error: null,
    };
    this.#drafts.push(draft);
    this.#changed(room);
    this.#pump(room);
    return draft;
  }

  /** @param {string} client_id of a failed draft */
  retry(client_id) {
    const draft = this.#mine().find((one) => one.client_id === client_id && one.state === 'failed');
    if (!draft) return;
    this.#set(draft, { state: 'queued', error: null });
    this.#pump(draft.room);
  }

  /** @param {string} client_id of a failed draft @returns {Draft|null} */
  discard(client_id) {
    const draft = this.#mine().find((one) => one.client_id === client_id && one.state === 'failed');
    if (draft) this.#remove(draft);
    return draft ?? null;
  }

  /** The connection has been resumed: everything that waits goes out. */
  connected() {
    this.#ready = true;
    for (const room of new Set(this.#mine().map((draft) => draft.room))) this.#pump(room);
  }

  disconnected() {
    this.#ready = false;
  }

  /** The session has ended: what is here waits for the next one of whoever wrote it. */
  suspend() {
    this.#generation += 1;
    this.#ready = false;
    this.#busy.clear();
    this.#backoffs.clear();
    this.#drafts = this.#drafts.map(waiting);
    this.#store.save(this.#drafts);
  }

  /** @param {string} user who has signed out */
  forget(user) {
    this.#drafts = this.#drafts.filter((draft) => draft.user !== user);
    this.suspend();
  }

  async #pump(room) {
    if (!this.#ready || this.#busy.has(room)) return;
    const draft = this.of(room).find((one) => one.state === 'queued');
    if (!draft) return;
    const generation = this.#generation;
    this.#busy.add(room);
    let waitMs = 0;
    this.#set(draft, { state: 'sending' });
    try {
      const { client_id, body, reply_to } = draft;
      const frame = { type: 'message.send', room, body, client_id };
      if (reply_to !== null) frame.reply_to = reply_to;
      const ack = await this.#socket.request(frame);
      if (generation !== this.#generation) return;
      this.#backoffs.delete(room);
      this.#set(draft, { state: 'sent', seq: ack.seq });
      // A duplicate's event may long be behind us: then nothing more will come.
      if ((this.#rooms.get(room)?.position ?? 0) >= ack.seq) this.#remove(draft);
    } catch (error) {
      if (generation !== this.#generation) return;
      waitMs = this.#failed(draft, error);
    } finally {
      if (generation === this.#generation) this.#busy.delete(room);
    }
    if (waitMs > 0) this.#clock.setTimeout(() => this.#pump(room), waitMs);
    else this.#pump(room);
  }

  /** @returns {number} how long to wait before the next try */
  #failed(draft, error) {
    let backoff = this.#backoffs.get(draft.room);
    if (!backoff) this.#backoffs.set(draft.room, (backoff = new Backoff(this.#clock, { baseMs: 500, maxMs: 10_000 })));
    const hopeless =
      error instanceof ApiError && (!error.transient || (error.code === 'internal' && backoff.attempt >= INTERNAL_TRIES));
    if (hopeless) {
      this.#backoffs.delete(draft.room);
      this.#set(draft, { state: 'failed', error: error.field('body') ?? error.message });
      return 0;
    }
    this.#set(draft, { state: 'queued' });
    // Without a connection `connected()` goes on; on an open one the answer was late or asked us to wait.
    if (error instanceof OfflineError && this.#socket.state.phase !== 'open') this.#ready = false;
    return backoff.next(error.retryAfterMs);
  }

  #seen(room, event) {
    const posted = event?.event === 'message.posted' ? event.data.message : null;
    for (const draft of this.of(room.id)) {
      const isIt = posted && posted.client_id === draft.client_id && posted.sender === this.#rooms.me;
      if (isIt || (draft.seq !== null && room.position >= draft.seq)) this.#remove(draft);
    }
  }

  #dropRoom(room) {
    for (const draft of this.of(room)) this.#remove(draft);
  }

  #set(draft, change) {
    Object.assign(draft, change);
    this.#changed(draft.room);
  }

  #remove(draft) {
    this.#drafts = this.#drafts.filter((one) => one !== draft);
    this.#changed(draft.room);
  }

  #changed(room) {
    this.#store.save(this.#drafts);
    this.emit('outbox', { room });
  }
}

/** As after a reload: what had not been refused goes out again. @param {Draft} draft @returns {Draft} */
function waiting(draft) {
  return draft.state === 'failed' ? draft : { ...draft, state: 'queued' };
}
