import { ApiError, OfflineError, SignedOutError } from './errors.js';
import { Backoff, sleep } from './clock.js';

const TIMEOUT_MS = 20_000;
const TRIES = 3;
/** Longer than this nobody wants to look at a spinner: the error is shown instead. */
const PATIENCE_MS = 5_000;

/**
 * HTTP with the protocol's habits: JSON in and out, problem documents as {@link ApiError}, the bearer token, one refresh
 * after a 401, and repeats of what is safe to repeat.
 */
export class Rest {
  #base;
  #fetch;
  #clock;
  /** @type {import('./tokens.js').Session|null} */
  session = null;

  /** @param {{base: string, fetch: typeof fetch, clock: import('./clock.js').Clock}} options */
  constructor({ base, fetch, clock }) {
    this.#base = base;
    this.#fetch = fetch;
    this.#clock = clock;
  }

  /**
   * @param {string} method
   * @param {string} path without a leading slash, since it stands under a prefix
   * @param {{query?: object, body?: any, auth?: boolean, safe?: boolean}} [options] `safe`: repeating it does no harm, so a
   *   lost or a 503 answer is tried again (default: every `GET`)
   * @returns {Promise<any>} the parsed body, `null` for 204
   */
  async call(method, path, { query, body, auth = true, safe = method === 'GET' } = {}) {
    const url = this.#url(path, query);
    // Neither is a repeat sent, nor an answer taken in, once somebody else is signed in.
    const user = this.session?.user?.id ?? null;
    const backoff = new Backoff(this.#clock, { baseMs: 300, maxMs: 3_000 });
    for (let tries = 1; ; tries += 1) {
      try {
        if (!auth) return await this.#send(method, url, body, null);
        const answer = await this.#authorised(method, url, body, user);
        if (this.session.user?.id !== user) throw new SignedOutError();
        return answer;
      } catch (error) {
        const again = error instanceof OfflineError || (error instanceof ApiError && error.transient);
        if (!safe || !again || tries >= TRIES || error.retryAfterMs > PATIENCE_MS) throw error;
        await sleep(this.#clock, backoff.next(error.retryAfterMs));
      }
    }
  }

  async #authorised(method, url, body, user) {
    const token = await this.session.accessToken({ user });
    try {
      return await this.#send(method, url, body, token);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) throw error;
      // Nothing was done, so this is safe for every method. A second 401 is for the caller to see.
      return this.#send(method, url, body, await this.session.accessToken({ not: token, user }));
    }
  }

  async #send(method, url, body, token) {
    const headers = { accept: 'application/json, application/problem+json' };
    if (token) headers.authorization = `Bearer ${token}`;
    if (body !== undefined) headers['content-type'] = 'application/json';
    let response;
    let text;
    try {
      response = await this.#fetch(url, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        cache: 'no-store',
        credentials: 'omit',
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      if (!response.ok) throw await ApiError.from(response);
      text = response.status === 204 ? '' : await response.text();
    } catch (error) {
      if (error instanceof ApiError) throw error;
      throw new OfflineError(undefined, error);
    }
    try {
      return text === '' ? null : JSON.parse(text);
    } catch (error) {
      throw new ApiError({ status: response.status, title: 'The answer was not JSON' });
    }
  }

  #url(path, query) {
    const url = new URL(path, this.#base);
    for (const [name, value] of Object.entries(query ?? {})) {
      if (value !== undefined && value !== null) url.searchParams.set(name, String(value));
    }
    return url.href;
  }
}
