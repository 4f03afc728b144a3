import { Emitter } from './emitter.js';
import { ApiError, OfflineError, SignedOutError } from './errors.js';
import { Backoff } from './clock.js';

const HELLO_TIMEOUT_MS = 10_000;
const ANSWER_TIMEOUT_MS = 20_000;
const PING_TIMEOUT_MS = 8_000;
/** `auth` goes out so long before `expires_at`. */
const AUTH_LEAD_MS = 30_000;
/** A connection that held for so long makes the next loss a fresh one. Shorter ones go on backing off. */
const STABLE_MS = 10_000;
/** `setTimeout` takes 31 bits. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * @typedef {object} SocketState
 * @property {'stopped'|'connecting'|'open'|'waiting'} phase `open` from `hello` on
 * @property {number|null} retryAt local milliseconds, while `waiting`
 * @property {string|null} reason why the last connection ended: a `bye` code, `lost`, `silent`, `refused`
 */

/**
 * One WebSocket that is kept alive: handshake by subprotocol, hello, frames with acks, `auth` before the token expires,
 * a watch for silence, and reconnects with back-off. It knows nothing of rooms.
 *
 * Emits `state` {SocketState}, `hello`, `event`, `signal` (the frames), `closed`, and `failed` {code, detail} when the
 * server said that coming back is of no use.
 */
export class Socket extends Emitter {
  #url;
  #WebSocket;
  #session;
  #clock;
  #backoff;
  /** @type {WebSocket|null} */
  #ws = null;
  /** Grows with every connection, so that what belongs to an older one can tell. */
  #generation = 0;
  #pending = new Map();
  #nextId = 1;
  #timers = {};
  #lastHeard = 0;
  #openedAt = 0;
  #token = null;
  #refused = null;
  #bye = null;
  /** @type {SocketState} */
  state = { phase: 'stopped', retryAt: null, reason: null };
  /** @type {object|null} the last `hello` */
  hello = null;

  /**
   * @param {{url: string, WebSocket: typeof WebSocket, session: import('./tokens.js').Session,
   *          clock: import('./clock.js').Clock, backoff?: Backoff}} options
   */
  constructor({ url, WebSocket, session, clock, backoff = new Backoff(clock) }) {
    super();
    this.#url = url;
    this.#WebSocket = WebSocket;
    this.#session = session;
    this.#clock = clock;
    this.#backoff = backoff;
  }

  start() {
    if (this.state.phase !== 'stopped') return;
    this.#backoff.reset();
    this.#refused = null;
    this.#connect();
  }

  stop() {
    this.#drop(1000);
    this.#set('stopped', null);
  }

  /** Gives this connection up for a new one, at once. Whoever lost track of what it delivered calls this. */
  restart(reason = 'lost', retryAfterMs = 0) {
    if (this.state.phase === 'stopped') return;
    this.#drop(1000);
    this.#wait(reason, retryAfterMs);
  }

  /**
   * The world has changed (the network is back, the page is visible again): a waiting socket tries now, an open one makes
   * sure that it still is one.
   */
  nudge() {
    if (this.state.phase === 'waiting') this.#connect();
    else if (this.state.phase === 'open') this.#ping();
  }

  /** @param {object} frame @returns {boolean} whether it was handed to an open connection */
  send(frame) {
    if (this.state.phase !== 'open' || this.#ws?.readyState !== 1) return false;
    this.#ws.send(JSON.stringify(frame));
    return true;
  }

  /**
   * Sends a frame and waits for its ack.
   * @param {object} frame without `id`
   * @param {number} [timeoutMs]
   * @returns {Promise<any>} the ack
   * @throws {ApiError|OfflineError} the latter when the connection ended first: the outcome is unknown
   */
  request(frame, timeoutMs = ANSWER_TIMEOUT_MS) {
    const id = String(this.#nextId++);
    return new Promise((resolve, reject) => {
      if (!this.send({ ...frame, id })) return reject(new OfflineError('Not connected'));
      const timer = this.#clock.setTimeout(() => {
        this.#pending.delete(id);
        reject(new OfflineError('No answer'));
      }, timeoutMs);
      this.#pending.set(id, { resolve, reject, timer });
    });
  }

  async #connect() {
    this.#clear('retry');
    const generation = ++this.#generation;
    this.#set('connecting', this.state.reason);
    let token;
    try {
      token = await this.#session.accessToken({ not: this.#refused });
    } catch (error) {
      if (generation !== this.#generation) return;
      if (error instanceof SignedOutError) this.stop();
      else this.#wait('lost', error.retryAfterMs ?? 0);
      return;
    }
    if (generation !== this.#generation) return;
    this.#token = token;
    this.#bye = null;
    let ws;
    try {
      ws = new this.#WebSocket(this.#url, ['chatcore.v1', `bearer.${token}`]);
    } catch {
      return this.#wait('lost', 0);
    }
    this.#ws = ws;
    ws.onmessage = ({ data }) => this.#heard(data);
    ws.onclose = ({ code }) => this.#closed(code);
    this.#after('hello', HELLO_TIMEOUT_MS, () => this.#lost('silent'));
  }

  #heard(data) {
    this.#lastHeard = this.#clock.now();
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return;
    }
    switch (frame.type) {
      case 'hello':
        return this.#greeted(frame);
      case 'event':
        return this.emit('event', frame);
      case 'signal':
        return this.emit('signal', frame);
      case 'ack':
        return this.#settle(frame.id, (waiting) => waiting.resolve(frame));
      case 'error':
        return this.#settle(frame.id, (waiting) => waiting.reject(ApiError.frame(frame)));
      case 'bye':
        this.#bye = frame;
        return undefined;
      default: // types that a newer server may know
        return undefined;
    }
  }

  #settle(id, how) {
    const waiting = this.#pending.get(id);
    if (!waiting) return;
    this.#pending.delete(id);
    this.#clock.clearTimeout(waiting.timer);
    how(waiting);
  }

  #greeted(hello) {
    this.#clear('hello');
    this.hello = hello;
    this.#refused = null;
    this.#openedAt = this.#clock.now();
    // The server's clock counts for `expires_at`; ours may be wrong by any amount.
    this.serverOffset = Date.parse(hello.now) - this.#clock.now();
    this.#watch();
    this.#planAuth(hello.expires_at);
    this.#set('open', null);
    this.emit('hello', hello);
  }

  /** A browser does not show the server's pings, so silence for a whole interval is answered with a ping of our own. */
  #watch() {
    const interval = this.hello.heartbeat_ms ?? 30_000;
    this.#after('watch', interval, () => {
      if (this.#clock.now() - this.#lastHeard >= interval) this.#ping();
      this.#watch();
    });
  }

  async #ping() {
    const generation = this.#generation;
    const asked = this.#clock.now();
    try {
      await this.request({ type: 'ping' }, PING_TIMEOUT_MS);
    } catch (error) {
      // An error frame is life too, and so is anything else that came meanwhile.
      const dead = error instanceof OfflineError && this.#lastHeard < asked;
      if (dead && generation === this.#generation && this.state.phase === 'open') this.#lost('silent');
    }
  }

  #planAuth(expiresAt) {
    const left = Date.parse(expiresAt) - (this.#clock.now() + this.serverOffset);
    if (Number.isNaN(left)) return;
    // Half of what is left, where tokens live so short that 30 s before the end is already past.
    const wait = Math.max(left - AUTH_LEAD_MS, left / 2, 1_000);
    this.#after('auth', Math.min(wait, MAX_TIMER_MS), () => this.#reauth(left - wait));
  }

  async #reauth(leftMs) {
    const generation = this.#generation;
    try {
      // Asks for more than the present token has left, so that a fresh one comes.
      const token = await this.#session.accessToken({ minMs: leftMs + 5_000, not: this.#token });
      if (generation !== this.#generation) return;
      const ack = await this.request({ type: 'auth', token });
      if (generation !== this.#generation) return;
      this.#token = token;
      this.#planAuth(ack.expires_at);
    } catch (error) {
      if (generation !== this.#generation || error instanceof SignedOutError) return;
      // The old token stays in force until it expires; then the server says bye and we come back with a new one.
      this.#after('auth', Math.max(5_000, error.retryAfterMs ?? 0), () => this.#reauth(leftMs));
    }
  }

  #lost(reason) {
    this.#drop(4000);
    this.#wait(reason, 0);
  }

  #closed(code) {
    const bye = this.#bye;
    const refused = this.state.phase === 'connecting';
    this.#drop(null);
    const expired = code === 4401 || bye?.code === 'expired' || bye?.code === 'revoked';
    if (expired) {
      // A fresh token settles it: either it works, or the refresh tells that the session is over.
      this.#refused = this.#token;
      return this.#wait(bye?.code ?? 'expired', 0);
    }
    if (bye && bye.reconnect === false) {
      this.#set('stopped', bye.code);
      return this.emit('failed', bye);
    }
    this.#wait(bye?.code ?? (refused ? 'refused' : 'lost'), bye?.retry_after_ms ?? 0);
  }

  /** Detaches from the present connection, whatever state it is in. A dead one may take minutes to say that it closed. */
  #drop(closeCode) {
    this.#generation += 1;
    for (const name of Object.keys(this.#timers)) this.#clear(name);
    const ws = this.#ws;
    this.#ws = null;
    if (ws) {
      ws.onmessage = ws.onclose = null;
      if (closeCode !== null) {
        try {
          ws.close(closeCode);
        } catch {
          // already closed
        }
      }
    }
    const wasOpen = this.state.phase === 'open';
    if (wasOpen && this.#clock.now() - this.#openedAt >= STABLE_MS) this.#backoff.reset();
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const waiting of pending) {
      this.#clock.clearTimeout(waiting.timer);
      waiting.reject(new OfflineError('The connection was lost'));
    }
    if (wasOpen) {
      this.state = { phase: 'connecting', retryAt: null, reason: this.state.reason };
      this.emit('closed');
    }
  }

  #wait(reason, atLeastMs) {
    const delay = this.#backoff.next(atLeastMs);
    this.#set('waiting', reason, this.#clock.now() + delay);
    this.#after('retry', delay, () => this.#connect());
  }

  #set(phase, reason, retryAt = null) {
    this.state = { phase, reason, retryAt };
    this.emit('state', this.state);
  }

  #after(name, ms, run) {
    this.#clear(name);
    this.#timers[name] = this.#clock.setTimeout(run, ms);
  }

  #clear(name) {
    this.#clock.clearTimeout(this.#timers[name]);
    delete this.#timers[name];
  }
}
