import { Emitter } from './emitter.js';
import { ApiError, OfflineError, SignedOutError } from './errors.js';
import { Backoff, sleep } from './clock.js';

/**
 * @typedef {object} StoredTokens
 * @property {string} access_token
 * @property {string} refresh_token
 * @property {number} expires_at local milliseconds since the epoch
 * @property {import('./types.js').User} user
 */

/**
 * Where tokens are kept. Tabs of one origin should share one store, so that they share one session.
 * @typedef {object} TokenStore
 * @property {() => StoredTokens|null} load
 * @property {(tokens: StoredTokens|null) => void} save `null` forgets
 * @property {(changed: () => void) => void} [watch] calls `changed` when another tab has saved
 */

/** Tokens for as long as the page lives. @returns {TokenStore} */
export function memoryTokens() {
  let kept = null;
  return { load: () => kept, save: (tokens) => void (kept = tokens) };
}

/**
 * Tokens in `localStorage` or `sessionStorage`.
 * @param {Storage} storage
 * @param {string} [key]
 * @returns {TokenStore}
 */
export function webTokens(storage, key = 'chatcore.tokens') {
  return {
    load() {
      try {
        const tokens = JSON.parse(storage.getItem(key) ?? 'null');
        return tokens?.refresh_token && tokens?.user?.id ? tokens : null;
      } catch {
        return null;
      }
    },
    save(tokens) {
      if (tokens) storage.setItem(key, JSON.stringify(tokens));
      else storage.removeItem(key);
    },
    watch(changed) {
      globalThis.addEventListener?.('storage', (event) => {
        // a null key means that the whole storage was cleared
        if (event.storageArea === storage && (event.key === key || event.key === null)) changed();
      });
    },
  };
}

/** An access token with less than this left is refreshed before it is used. */
const MARGIN_MS = 30_000;
const REFRESH_TRIES = 4;

/**
 * The session: who is signed in, and an access token that works.
 *
 * A refresh token works once, so only one refresh may be under way: within the page through one shared promise, between
 * tabs through a Web Lock, under which the store is read again first, since another tab may have refreshed meanwhile.
 * Where there are no locks (a page that is not a secure context) the protocol's 30 s of grace for a repeat is the net.
 *
 * The store belongs to all tabs, and another one may sign somebody else in at any moment. A session here is one user's to its end: it never takes
 * over tokens of another user, and never replaces or forgets theirs.
 *
 * Emits `begun` {user}, `ended` {reason: 'logout'|'expired'|'elsewhere', user} and `user` {user}.
 */
export class Session extends Emitter {
  #store;
  #locks;
  #clock;
  #exchange;
  #lockName;
  /** @type {StoredTokens|null} */
  #tokens;
  #flight = null;

  /**
   * @param {{store: TokenStore, clock: import('./clock.js').Clock, locks?: LockManager|null, lockName?: string,
   *          exchange: (refreshToken: string) => Promise<import('./types.js').Tokens>}} options
   */
  constructor({ store, clock, locks = null, lockName = 'chatcore.refresh', exchange }) {
    super();
    this.#store = store;
    this.#clock = clock;
    this.#locks = locks;
    this.#lockName = lockName;
    this.#exchange = exchange;
    this.#tokens = store.load();
    store.watch?.(() => this.#changedElsewhere());
  }

  /** @returns {import('./types.js').User|null} */
  get user() {
    return this.#tokens?.user ?? null;
  }

  get signedIn() {
    return this.#tokens !== null;
  }

  /** @param {import('./types.js').Tokens} tokens a login's answer */
  begin(tokens) {
    // While this login was under way another tab may have signed in somebody else, and so this one.
    if (this.#tokens && this.#tokens.user.id !== tokens.user.id) this.end('elsewhere');
    this.#keep(tokens);
    this.emit('begun', { user: tokens.user });
  }

  /** @param {'logout'|'expired'|'elsewhere'} reason */
  end(reason) {
    if (!this.#tokens) return;
    const { user } = this.#tokens;
    this.#tokens = null;
    this.#flight = null;
    if (reason !== 'elsewhere' && this.#stored(user.id)) this.#store.save(null);
    this.emit('ended', { reason, user });
  }

  /** @param {import('./types.js').User} user my own profile, as the server has it now */
  setUser(user) {
    if (!this.#tokens || this.#tokens.user.id !== user.id) return;
    this.#tokens = { ...this.#tokens, user: { ...this.#tokens.user, ...user } };
    // Another tab may have refreshed: its tokens stay.
    const stored = this.#stored(user.id);
    if (stored) this.#store.save({ ...stored, user: this.#tokens.user });
    this.emit('user', { user: this.#tokens.user });
  }

  /**
   * An access token, refreshed first where needed.
   * @param {{minMs?: number, not?: string|null, user?: string|null}} [want] `minMs`: with at least so long to live; `not`: any but
   *   this one, which the server has just refused; `user`: of this user, who was signed in when the work for it began
   * @returns {Promise<string>}
   * @throws {SignedOutError|OfflineError|ApiError}
   */
  async accessToken({ minMs = MARGIN_MS, not = null, user = this.user?.id ?? null } = {}) {
    this.#mustBe(user);
    if (this.#good(this.#tokens, minMs, not)) return this.#tokens.access_token;
    this.#flight ??= this.#fly(user, minMs, not);
    await this.#flight;
    this.#mustBe(user);
    return this.#tokens.access_token;
  }

  /** @throws {SignedOutError} unless it is still this user's session */
  #mustBe(user) {
    if (!this.#tokens || this.#tokens.user.id !== user) throw new SignedOutError();
  }

  /** What is stored, as far as it is this user's. */
  #stored(user) {
    const stored = this.#store.load();
    return stored?.user.id === user ? stored : null;
  }

  #fly(user, minMs, not) {
    const flight = this.#exclusive(() => this.#refresh(user, minMs, not)).finally(() => {
      if (this.#flight === flight) this.#flight = null;
    });
    return flight;
  }

  #good(tokens, minMs, not) {
    return tokens.access_token !== not && tokens.expires_at - this.#clock.now() > minMs;
  }

  #exclusive(run) {
    return this.#locks ? this.#locks.request(this.#lockName, run) : run();
  }

  async #refresh(user, minMs, not) {
    this.#mustBe(user);
    const stored = this.#stored(user);
    if (!stored) {
      this.end('elsewhere');
      throw new SignedOutError();
    }
    if (stored.refresh_token !== this.#tokens.refresh_token && this.#good(stored, minMs, not)) {
      this.#tokens = stored;
      return;
    }
    const backoff = new Backoff(this.#clock, { baseMs: 400, maxMs: 4_000 });
    for (let tries = 1; ; tries += 1) {
      try {
        const tokens = await this.#exchange(stored.refresh_token);
        // Signed out while the answer was under way, here or in another tab, or somebody else signed in: it must not bring the session back.
        this.#mustBe(user);
        if (!this.#stored(user)) this.end('elsewhere');
        else this.#keep(tokens);
        return;
      } catch (error) {
        if (error instanceof SignedOutError) throw error;
        this.#mustBe(user);
        if (error instanceof ApiError && error.status === 401) {
          this.end('expired');
          throw new SignedOutError('Your session has ended. Please sign in again.');
        }
        // A lost answer may be asked for again within 30 s, so a few quick tries are both safe and worth it.
        const again = error instanceof OfflineError || (error instanceof ApiError && error.transient);
        if (!again || tries >= REFRESH_TRIES || error.retryAfterMs > 5_000) throw error;
        await sleep(this.#clock, backoff.next(error.retryAfterMs));
      }
    }
  }

  #keep(tokens) {
    this.#tokens = {
      access_token: tokens.access_token,
      refresh_token: tokens.refresh_token,
      expires_at: this.#clock.now() + tokens.expires_in * 1000,
      user: tokens.user,
    };
    this.#store.save(this.#tokens);
  }

  #changedElsewhere() {
    const stored = this.#store.load();
    if (!stored || (this.#tokens && stored.user.id !== this.#tokens.user.id)) return this.end('elsewhere');
    if (this.#tokens) {
      this.#tokens = stored;
    } else {
      this.#tokens = stored;
      this.emit('begun', { user: stored.user });
    }
  }
}
