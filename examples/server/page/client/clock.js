/** Time and chance, so that tests can hold both. */

/**
 * @typedef {object} Clock
 * @property {() => number} now milliseconds since the epoch
 * @property {(run: () => void, ms: number) => any} setTimeout
 * @property {(handle: any) => void} clearTimeout
 * @property {() => number} random in [0, 1)
 */

/** @type {Clock} */
export const systemClock = {
  now: () => Date.now(),
  setTimeout: (run, ms) => globalThis.setTimeout(run, ms),
  clearTimeout: (handle) => globalThis.clearTimeout(handle),
  random: () => Math.random(),
};

/**
 * @param {Clock} clock
 * @param {number} ms
 * @returns {Promise<void>}
 */
export function sleep(clock, ms) {
  return new Promise((resolve) => clock.setTimeout(resolve, ms));
}

/** Exponential back-off with jitter: after a restart the clients of a server must not come back all at once. */
export class Backoff {
  /**
   * @param {Clock} clock
   * @param {{baseMs?: number, maxMs?: number}} [options]
   */
  constructor(clock, { baseMs = 500, maxMs = 30_000 } = {}) {
    this.clock = clock;
    this.baseMs = baseMs;
    this.maxMs = maxMs;
    this.attempt = 0;
  }

  /**
   * The next wait: half to the whole of `base * 2^attempt`, and never less than the server asked for.
   * @param {number} [atLeastMs]
   */
  next(atLeastMs = 0) {
    const whole = Math.min(this.maxMs, this.baseMs * 2 ** Math.min(this.attempt, 20));
    this.attempt += 1;
    return Math.max(atLeastMs, Math.round(whole * (0.5 + this.clock.random() / 2)));
  }

  reset() {
    this.attempt = 0;
  }
}
