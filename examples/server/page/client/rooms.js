import { Emitter } from './emitter.js';
import { ApiError } from './errors.js';
import { Room } from './room.js';

/** The protocol's bound for one `resume` frame. */
const RESUME_CHUNK = 1_000;
const STALE_MS = 400;

/**
 * All my rooms. Hands events to their room, resumes after a reconnect, and finds out about rooms that came or went.
 *
 * Emits `rooms` when the list changed, `room` {Room} for a summary or its members, `timeline` {Room} for messages,
 * `applied` {room, event} for every event taken in (once), and `gone` {room, reason}.
 */
export class Rooms extends Emitter {
  #api;
  #socket;
  #clock;
  #me;
  /** @type {Map<string, Room>} */
  #rooms = new Map();
  /** Events of rooms that are not known yet. @type {Map<string, import('./types.js').Event[]>} */
  #early = new Map();
  #listing = false;
  /** While a resume is under way its answer decides where each room begins, so events wait for it. */
  #held = null;
  #stale = new Map();
  #people;
  /** Whether the list has been loaded once. */
  loaded = false;

  /**
   * @param {{api: import('./api.js').Api, socket: import('./socket.js').Socket, clock: import('./clock.js').Clock,
   *          people: import('./people.js').People, me: () => string}} options
   */
  constructor({ api, socket, clock, people, me }) {
    super();
    this.#api = api;
    this.#socket = socket;
    this.#clock = clock;
    this.#people = people;
    this.#me = me;
  }

  /** My user id. */
  get me() {
    return this.#me();
  }

  /** @param {string} id @returns {Room|null} */
  get(id) {
    return this.#rooms.get(id) ?? null;
  }

  /** @returns {Room[]} latest message first */
  list() {
    return [...this.#rooms.values()].sort((a, b) => (a.summary.updated_at < b.summary.updated_at ? 1 : -1));
  }

  clear() {
    this.#rooms.clear();
    this.#early.clear();
    this.#held = null;
    this.#stale.forEach((timer) => this.#clock.clearTimeout(timer));
    this.#stale.clear();
    this.loaded = false;
    this.emit('rooms');
  }

  // --- the connection ---------------------------------------------------------------------------------------------

  /** From `hello` until the answer to the resume. */
  hold() {
    this.#held = [];
    for (const room of this.#rooms.values()) room.forgetLater();
  }

  /**
   * Tells the server where each room stands, in frames of at most 1000 rooms, and takes in what it answers.
   * @throws {ApiError|import('./errors.js').OfflineError} where the connection is of no use then
   */
  async resume() {
    const positions = [...this.#rooms.values()].map((room) => [room.id, room.position]);
    const frames = [];
    do {
      const rooms = Object.fromEntries(positions.splice(0, RESUME_CHUNK));
      frames.push(this.#socket.request({ type: 'resume', rooms, more: positions.length > 0 }));
    } while (positions.length > 0);
    // Frames take effect in the order sent, so there is no need to wait for each answer before the next frame.
    const acks = await Promise.all(frames);
    for (const ack of acks) for (const [id, start] of Object.entries(ack.rooms ?? {})) this.#started(id, start);
    const held = this.#held ?? [];
    this.#held = null;
    for (const event of held) this.receive(event);
  }

  #started(id, start) {
    const room = this.#rooms.get(id);
    if (!room) return undefined;
    if (start.code) {
      if (start.code === 'forbidden' || start.code === 'not_found') this.#remove(id, start.code);
      else this.#repair(); // e.g. `unavailable`: this room was not subscribed, only another attempt helps
      return undefined;
    }
    if (start.resumed === false) return room.reset(start.head);
    if (start.read > room.summary.read) {
      // Read on another device meanwhile. The `unread` of this answer also counts what is about to be replayed, so the
      // summary is read once more instead.
      room.markerMoved(this.#me(), start.read);
      this.#refreshSoon(room);
    }
    return undefined;
  }

  /** @param {import('./types.js').Event} event */
  receive(event) {
    if (this.#held) {
      this.#held.push(event);
      return;
    }
    const room = this.#rooms.get(event.room);
    if (room) {
      room.receive(event);
      return;
    }
    const waiting = this.#early.get(event.room);
    if (waiting) {
      waiting.push(event);
      return;
    }
    this.#early.set(event.room, [event]);
    // The list that is being loaded will hold the room; otherwise its `room.added` was lost.
    if (!this.#listing) this.#discover(event.room);
  }

  /** @param {import('./types.js').Signal} signal @returns {boolean} whether it was about rooms */
  signal({ signal, room: id, user, data }) {
    const room = this.#rooms.get(id);
    switch (signal) {
      case 'read':
        room?.markerMoved(user, data.seq, data.unread);
        return true;
      case 'room.added':
        this.add(data.summary);
        return true;
      case 'room.removed':
        this.#remove(id, data.reason);
        return true;
      default:
        return false;
    }
  }

  // --- the list ---------------------------------------------------------------------------------------------------

  /** Reads the list anew, after every `hello`: rooms may have come and gone while nobody told us. */
  async load() {
    const before = new Set(this.#rooms.keys());
    this.#listing = true;
    let summaries;
    try {
      summaries = await this.#api.rooms();
    } finally {
      this.#listing = false;
    }
    const listed = new Set(summaries.map((summary) => summary.id));
    for (const id of before) if (!listed.has(id)) this.#verify(id);
    this.loaded = true;
    for (const summary of summaries) this.#put(summary);
    for (const id of [...this.#early.keys()]) if (!this.#rooms.has(id)) this.#discover(id);
    this.emit('rooms');
  }

  /**
   * Takes a room in, or what is new about it.
   * @param {import('./types.js').RoomSummary|import('./types.js').Room} summary
   * @returns {Room}
   */
  add(summary) {
    const room = this.#put(summary);
    this.emit('rooms');
    return room;
  }

  #put(summary) {
    this.#people.absorb(summary.peer);
    let room = this.#rooms.get(summary.id);
    if (room) {
      room.merge(summary);
      return room;
    }
    const { members, created_by, ...rest } = summary;
    room = new Room(rest, {
      api: this.#api,
      me: this.#me,
      changed: (changed, what) => this.#changed(changed, what),
      applied: (changed, event) => this.#applied(changed, event),
      repair: () => this.#repair(),
      stale: (changed) => this.#refreshSoon(changed),
    });
    this.#rooms.set(room.id, room);
    const early = this.#early.get(room.id) ?? [];
    this.#early.delete(room.id);
    for (const event of early) room.receive(event);
    return room;
  }

  #remove(id, reason) {
    this.#early.delete(id);
    const room = this.#rooms.get(id);
    if (!room) return;
    this.#rooms.delete(id);
    this.emit('gone', { room, reason });
    this.emit('rooms');
  }

  /** A room that the list did not hold: lists shift while they are paged through, so the room itself is asked. */
  async #verify(id) {
    try {
      this.#put(await this.#api.room(id));
    } catch (error) {
      if (error instanceof ApiError && (error.status === 403 || error.status === 404)) this.#remove(id, error.code);
    }
  }

  async #discover(id) {
    try {
      this.add(await this.#api.room(id));
    } catch {
      // Not a member after all, or offline: then the next hello loads the list.
      this.#early.delete(id);
    }
  }

  /** Reads one summary again, shortly: several reasons for it tend to come together. */
  #refreshSoon(room) {
    if (this.#stale.has(room.id)) return;
    const run = async () => {
      this.#stale.delete(room.id);
      try {
        room.merge(await this.#api.room(room.id));
      } catch {
        // The next hello reads the list.
      }
    };
    this.#stale.set(room.id, this.#clock.setTimeout(run, STALE_MS));
  }

  #repair() {
    this.#socket.restart('lost');
  }

  #changed(room, what) {
    this.emit(what === 'timeline' ? 'timeline' : 'room', room);
    if (what === 'summary') this.emit('rooms');
  }

  #applied(room, event) {
    this.emit('applied', { room, event });
    if (event.event === 'member.left' && event.data.user === this.#me()) this.#remove(room.id, event.data.reason);
  }
}
