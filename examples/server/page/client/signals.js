import { Emitter } from './emitter.js';

/** What the protocol says: repeated every 3 s while typing, lapses after 6 s. */
const REPEAT_MS = 3_000;
const LAPSE_MS = 6_000;

/**
 * Who types where, and telling others that I do. Emits `typing` {room} when the set of a room changed.
 */
export class Typing extends Emitter {
  #socket;
  #clock;
  /** @type {Map<string, Map<string, any>>} room -> user -> timer of the lapse */
  #others = new Map();
  #mine = { room: null, at: 0 };

  /** @param {{socket: import('./socket.js').Socket, clock: import('./clock.js').Clock}} options */
  constructor({ socket, clock }) {
    super();
    this.#socket = socket;
    this.#clock = clock;
  }

  /** @param {string} room @returns {string[]} user ids */
  in(room) {
    return [...(this.#others.get(room)?.keys() ?? [])];
  }

  /** To be called with every key pressed: sends no more than one frame in 3 s. @param {string} room */
  pressed(room) {
    const now = this.#clock.now();
    if (this.#mine.room === room && now - this.#mine.at < REPEAT_MS) return;
    if (this.#mine.room !== room) this.stopped();
    if (this.#socket.send({ type: 'typing', room, on: true })) this.#mine = { room, at: now };
  }

  /** The text was emptied or left. After a send it need not be called with `tell`: the message itself ends it. */
  stopped({ tell = true } = {}) {
    const { room, at } = this.#mine;
    this.#mine = { room: null, at: 0 };
    if (tell && room && this.#clock.now() - at < LAPSE_MS) this.#socket.send({ type: 'typing', room, on: false });
  }

  /** @param {string} room @param {string} user @param {boolean} on */
  heard(room, user, on) {
    let users = this.#others.get(room);
    if (!users) this.#others.set(room, (users = new Map()));
    const known = users.has(user);
    this.#clock.clearTimeout(users.get(user));
    if (on) users.set(user, this.#clock.setTimeout(() => this.heard(room, user, false), LAPSE_MS));
    else users.delete(user);
    if (known !== on) this.emit('typing', { room });
  }

  clear() {
    for (const [room, users] of this.#others) {
      for (const timer of users.values()) this.#clock.clearTimeout(timer);
      this.#others.delete(room);
      this.emit('typing', { room });
    }
    this.#mine = { room: null, at: 0 };
  }
}

const GATHER_MS = 400;

/** Read markers, gathered: while somebody scrolls through a room only the furthest position is worth a frame. */
export class ReadMarks {
  #socket;
  #rooms;
  #clock;
  /** @type {Map<string, number>} what the server has not confirmed yet */
  #wanted = new Map();
  #timer = null;
  #ready = false;

  /** @param {{socket: import('./socket.js').Socket, rooms: import('./rooms.js').Rooms, clock: import('./clock.js').Clock}} options */
  constructor({ socket, rooms, clock }) {
    this.#socket = socket;
    this.#rooms = rooms;
    this.#clock = clock;
  }

  /** @param {string} room @param {number} seq everything up to here has been seen */
  read(room, seq) {
    const known = Math.max(this.#rooms.get(room)?.summary.read ?? 0, this.#wanted.get(room) ?? 0);
    if (seq <= known) return;
    this.#wanted.set(room, seq);
    // Shown at once: a badge on the room that one is looking at would only flicker.
    this.#rooms.get(room)?.markerMoved(this.#rooms.me, seq);
    this.#plan(GATHER_MS);
  }

  connected() {
    this.#ready = true;
    this.#plan(0);
  }

  disconnected() {
    this.#ready = false;
  }

  clear() {
    this.#wanted.clear();
    this.#clock.clearTimeout(this.#timer);
    this.#timer = null;
    this.#ready = false;
  }

  #plan(ms) {
    if (this.#timer !== null || !this.#ready || this.#wanted.size === 0) return;
    this.#timer = this.#clock.setTimeout(() => {
      this.#timer = null;
      for (const [room, seq] of this.#wanted) this.#tell(room, seq);
    }, ms);
  }

  async #tell(room, seq) {
    try {
      const ack = await this.#socket.request({ type: 'read', room, seq });
      this.#rooms.get(room)?.markerMoved(this.#rooms.me, ack.read, ack.unread);
    } catch (error) {
      // Lost with the connection: kept for the next one. Refused: a marker is not worth bothering anybody.
      if (error.transient ?? true) {
        if (this.#ready) this.#plan(Math.max(2_000, error.retryAfterMs ?? 0));
        return;
      }
    }
    if (this.#wanted.get(room) === seq) this.#wanted.delete(room);
  }
}
