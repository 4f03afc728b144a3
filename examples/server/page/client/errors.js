/**
 * What can go wrong, as three classes: the server said no ({@link ApiError}), nobody answered ({@link OfflineError}),
 * or there is no session any more ({@link SignedOutError}).
 */

/** @typedef {{field: string, code: string, message: string}} FieldError */

/** Codes after which the same request may succeed later without any change. */
const TRANSIENT = new Set(['rate_limited', 'unavailable', 'internal']);

/** A problem document (RFC 9457) or an `error` frame. */
export class ApiError extends Error {
  /**
   * @param {{status?: number, code?: string, title?: string, detail?: string, rule?: string,
   *          errors?: FieldError[], request_id?: string}} problem
   * @param {number} [retryAfterMs] how long the server asked us to wait
   */
  constructor(problem, retryAfterMs = 0) {
    super(problem.detail || problem.title || problem.code || 'The request failed');
    this.name = 'ApiError';
    this.status = problem.status ?? 0;
    /** @type {string} one of the protocol's codes; `unknown` where the answer was not a problem document */
    this.code = problem.code ?? 'unknown';
    /** @type {string|null} which business rule said no, for `code: 'rule'` */
    this.rule = problem.rule ?? null;
    /** @type {FieldError[]} */
    this.errors = Array.isArray(problem.errors) ? problem.errors : [];
    this.requestId = problem.request_id ?? null;
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether the same request may succeed later. */
  get transient() {
    return TRANSIENT.has(this.code) || this.status >= 500;
  }

  /**
   * The message for one field of the request, if the server found fault with it.
   * @param {string} name
   * @returns {string|null}
   */
  field(name) {
    return this.errors.find((error) => error.field === name)?.message ?? null;
  }

  /**
   * Reads a failed answer. A proxy in between may answer with anything, so a body that is no problem document is fine.
   * @param {Response} response
   */
  static async from(response) {
    let problem = {};
    try {
      problem = await response.json();
    } catch {
      // not JSON: the status has to do
    }
    if (typeof problem !== 'object' || problem === null) problem = {};
    return new ApiError(
      { title: `HTTP ${response.status}`, ...problem, status: response.status, code: problem.code ?? codeOf(response.status) },
      retryAfter(response.headers.get('retry-after')),
    );
  }

  /**
   * @param {{code: string, detail?: string, rule?: string, errors?: FieldError[], retry_after_ms?: number}} frame
   */
  static frame(frame) {
    return new ApiError(frame, frame.retry_after_ms ?? 0);
  }
}

/** No answer: the network is away, the socket closed, or it took too long. The outcome on the server is unknown. */
export class OfflineError extends Error {
  /** @param {string} [message] @param {unknown} [cause] */
  constructor(message = 'The server cannot be reached', cause) {
    super(message, { cause });
    this.name = 'OfflineError';
    this.retryAfterMs = 0;
  }
}

/** There is no session: signed out here, in another tab, or ended by the server. */
export class SignedOutError extends Error {
  constructor(message = 'You are signed out') {
    super(message);
    this.name = 'SignedOutError';
  }
}

/**
 * `Retry-After` is seconds or a date (RFC 9110, 10.2.3).
 * @param {string|null} value
 * @param {number} [now]
 * @returns {number} milliseconds, 0 where there is none
 */
export function retryAfter(value, now = Date.now()) {
  if (!value) return 0;
  if (/^\s*\d+\s*$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? 0 : Math.max(0, date - now);
}

function codeOf(status) {
  const codes = { 401: 'unauthenticated', 403: 'forbidden', 404: 'not_found', 413: 'too_large', 429: 'rate_limited' };
  return codes[status] ?? (status === 502 || status === 503 || status === 504 ? 'unavailable' : 'unknown');
}
