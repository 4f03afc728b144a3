/**
 * A client of the chatcore protocol for browsers and for Node, without any dependency and without the DOM.
 *
 * ```js
 * const chat = new ChatClient({ base: new URL('.', location.href).href, tokens: webTokens(localStorage) });
 * await chat.login({ login: 'ada', password: '…' });
 * chat.rooms.on('timeline', (room) => console.log(room.timeline.items));
 * const room = chat.rooms.get(id);
 * await room.loadNewest();
 * chat.outbox.send(room.id, 'hello');
 * ```
 *
 * What it takes care of: tokens and their refresh, one socket that reconnects and resumes, no hole and no repeat in any
 * room, messages that are sent exactly once, read markers, typing, presence.
 *
 * | part | is |
 * |---|---|
 * | {@link Session} `session` | who is signed in, and a working access token |
 * | {@link Api} `api` | every REST call |
 * | {@link Socket} `socket` | the connection to `/ws` |
 * | {@link Rooms} `rooms` | my rooms, each a log with a window of messages ({@link Room}, {@link Timeline}) |
 * | {@link People} `people` | users, friends, requests, presence |
 * | {@link Outbox} `outbox` | messages on their way |
 * | {@link Unfinished} `unfinished` | what was being written |
 * | {@link Typing} `typing`, {@link ReadMarks} `marks` | the small signals |
 *
 * @module
 */

import { Api } from './client/api.js';
import { systemClock } from './client/clock.js';
import { Unfinished } from './client/drafts.js';
import { Emitter } from './client/emitter.js';
import { ApiError } from './client/errors.js';
import { Outbox, memoryOutbox } from './client/outbox.js';
import { People } from './client/people.js';
import { Rest } from './client/rest.js';
import { Rooms } from './client/rooms.js';
import { ReadMarks, Typing } from './client/signals.js';
import { Socket } from './client/socket.js';
import { Session, memoryTokens } from './client/tokens.js';

export { Api } from './client/api.js';
export { Backoff, systemClock } from './client/clock.js';
export { Unfinished } from './client/drafts.js';
export { Emitter } from './client/emitter.js';
export { ApiError, OfflineError, SignedOutError } from './client/errors.js';
export { Outbox, memoryOutbox, webOutbox } from './client/outbox.js';
export { People } from './client/people.js';
export { Rest } from './client/rest.js';
export { Room } from './client/room.js';
export { Rooms } from './client/rooms.js';
export { ReadMarks, Typing } from './client/signals.js';
export { Socket } from './client/socket.js';
export { Timeline, applyEvent } from './client/timeline.js';
export { Session, memoryTokens, webTokens } from './client/tokens.js';

/**
 * @typedef {object} ClientOptions
 * @property {string} base absolute URL that the paths stand under, with a slash at its end
 * @property {typeof fetch} [fetch]
 * @property {typeof WebSocket} [WebSocket]
 * @property {LockManager|null} [locks] default: `navigator.locks`, where there is one
 * @property {import('./client/tokens.js').TokenStore} [tokens] default: in memory
 * @property {import('./client/outbox.js').OutboxStore} [drafts] default: in memory
 * @property {import('./client/clock.js').Clock} [clock]
 * @property {() => string} [newId] 1..64 printable ASCII, never the same twice
 */

/**
 * @typedef {object} Connection
 * @property {'offline'|'connecting'|'resuming'|'online'|'waiting'} phase
 * @property {number|null} retryAt local milliseconds of the next attempt, while `waiting`
 * @property {string|null} reason why the last connection ended
 * @property {boolean} again whether we have been online before
 */

/**
 * Emits `connection` {Connection} and `problem` {ApiError|OfflineError} for what fails in the background.
 */
export class ChatClient extends Emitter {
  /** @type {Connection} */
  connection = { phase: 'offline', retryAt: null, reason: null, again: false };
  #presence = 'online';

  /** @param {ClientOptions} options */
  constructor({
    base,
    fetch = globalThis.fetch?.bind(globalThis),
    WebSocket = globalThis.WebSocket,
    locks = globalThis.navigator?.locks ?? null,
    tokens = memoryTokens(),
    drafts = memoryOutbox(),
    clock = systemClock,
    newId = randomId,
  }) {
    super();
    const me = () => this.session.user?.id ?? '';
    const rest = new Rest({ base, fetch, clock });
    const socketUrl = new URL('ws', base);
    socketUrl.protocol = socketUrl.protocol === 'https:' ? 'wss:' : 'ws:';

    this.newId = newId;
    this.api = new Api(rest);
    this.session = new Session({
      store: tokens,
      clock,
      locks,
      lockName: `chatcore.refresh ${base}`,
      exchange: (token) => this.api.refresh(token),
    });
    rest.session = this.session;
    this.socket = new Socket({ url: socketUrl.href, WebSocket, session: this.session, clock });
    this.people = new People({ api: this.api, clock, me });
    this.rooms = new Rooms({ api: this.api, socket: this.socket, clock, people: this.people, me });
    this.outbox = new Outbox({ socket: this.socket, rooms: this.rooms, clock, store: drafts, newId });
    this.unfinished = new Unfinished();
    this.typing = new Typing({ socket: this.socket, clock });
    this.marks = new ReadMarks({ socket: this.socket, rooms: this.rooms, clock });

    this.socket.on('hello', () => this.#greeted());
    this.socket.on('event', (event) => this.rooms.receive(event));
    this.socket.on('signal', (signal) => this.#signal(signal));
    this.socket.on('closed', () => this.#closed());
    this.socket.on('state', () => this.#showState());
    this.rooms.on('applied', ({ room, event }) => {
      if (event.event === 'message.posted') this.typing.heard(room.id, event.actor, false);
    });
    this.session.on('ended', (ended) => this.#ended(ended));
  }

  /** @returns {import('./client/types.js').User|null} */
  get me() {
    return this.session.user;
  }

  /**
   * Registers and signs in.
   * @param {{username: string, email: string, password: string, display_name?: string}} form
   * @param {string} [device]
   */
  async register(form, device) {
    await this.api.register(form);
    await this.login({ login: form.username.trim(), password: form.password, device });
  }

  /** @param {{login: string, password: string, device?: string}} form */
  async login(form) {
    this.session.begin(await this.api.login(form));
    this.start();
  }

  /** Ends the session, on the server too where it can be reached. What has not been sent is dropped: whoever signs out is done. */
  async logout() {
    const user = this.me;
    this.socket.stop();
    try {
      await this.api.logout();
    } catch {
      // Offline: the tokens are forgotten here all the same.
    }
    if (!user || this.me?.id !== user.id) return; // meanwhile somebody else signed in, in another tab
    this.session.end('logout');
    this.unfinished.forget(user.id);
  }

  /** Connects, if somebody is signed in. */
  start() {
    if (this.session.signedIn) this.socket.start();
  }

  stop() {
    this.socket.stop();
  }

  /** @param {'online'|'away'} status what others see of me while I am connected */
  setPresence(status) {
    if (status === this.#presence) return;
    this.#presence = status;
    this.socket.send({ type: 'presence', status });
  }

  async #greeted() {
    const { socket, rooms, connection } = this;
    const hello = socket.hello;
    const current = () => socket.hello === hello && socket.state.phase === 'open';
    rooms.hold();
    this.#show({ phase: 'resuming' });
    this.people.absorb(hello.user);
    if (this.#presence !== 'online') socket.send({ type: 'presence', status: this.#presence });
    try {
      await rooms.resume();
    } catch (error) {
      // Without its rooms the connection is of no use. One that was lost meanwhile is being replaced already.
      if (current()) socket.restart('lost', error.retryAfterMs ?? 0);
      return;
    }
    if (!current()) return;
    this.#show({ phase: 'online', again: true, reason: null });
    this.outbox.connected();
    this.marks.connected();
    // The socket first, lists after: what changed in between is in them, or comes as an event above their head.
    try {
      await Promise.all([rooms.load(), this.people.load(), this.#loadMe()]);
      if (connection.again) await this.#reloadMembers();
    } catch (error) {
      if (!current()) return;
      this.emit('problem', error);
      // Incomplete lists would stay so until the next hello. What the server refuses for good is not asked for again.
      if (!(error instanceof ApiError) || error.transient) socket.restart('lost', error.retryAfterMs ?? 0);
    }
  }

  /** `hello` does not carry the e-mail address, and the profile may have been changed on another device. */
  async #loadMe() {
    this.session.setUser(await this.api.me());
  }

  /** Read markers of others came as signals, and were lost with the connection. */
  async #reloadMembers() {
    for (const room of this.rooms.list()) if (room.membersLoaded) await room.loadMembers();
  }

  #signal(signal) {
    if (signal.signal === 'typing') {
      if (signal.user !== this.me?.id) this.typing.heard(signal.room, signal.user, Boolean(signal.data?.on));
      return;
    }
    if (signal.signal === 'user.updated' && signal.data.user.id === this.me?.id) this.session.setUser(signal.data.user);
    if (!this.rooms.signal(signal)) this.people.receive(signal);
  }

  #closed() {
    this.outbox.disconnected();
    this.marks.disconnected();
    this.typing.clear();
  }

  #ended({ reason, user }) {
    this.socket.stop();
    this.rooms.clear();
    this.people.clear();
    if (reason === 'logout') this.outbox.forget(user.id);
    else this.outbox.suspend();
    this.typing.clear();
    this.marks.clear();
    this.connection = { phase: 'offline', retryAt: null, reason: null, again: false };
  }

  #showState() {
    const { phase, retryAt, reason } = this.socket.state;
    if (phase === 'open') return; // `resuming` follows at once
    this.#show({ phase: phase === 'stopped' ? 'offline' : phase, retryAt, reason });
  }

  #show(change) {
    this.connection = { ...this.connection, retryAt: null, ...change };
    this.emit('connection', this.connection);
  }
}

/** `crypto.randomUUID` exists in secure contexts only; a page on a plain address of the local network has none. */
function randomId() {
  if (globalThis.crypto.randomUUID) return globalThis.crypto.randomUUID();
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
