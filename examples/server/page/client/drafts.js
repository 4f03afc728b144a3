/**
 * What was being written, for each user and room: looking into another room must not lose it, and nobody else who signs in on this page may see it.
 * In memory alone, so that it is gone with the page.
 * @template T
 */
export class Unfinished {
  /** @type {Map<string, Map<string, T>>} user -> room -> what they wrote */
  #kept = new Map();

  /** @param {string} user @param {string} room @returns {T|null} */
  get(user, room) {
    return this.#kept.get(user)?.get(room) ?? null;
  }

  /** @param {string} user @param {string} room @param {T|null} text `null` forgets */
  set(user, room, text) {
    const rooms = this.#kept.get(user) ?? new Map();
    if (text === null) rooms.delete(room);
    else rooms.set(room, text);
    if (rooms.size > 0) this.#kept.set(user, rooms);
    else this.#kept.delete(user);
  }

  /** @param {string} user */
  forget(user) {
    this.#kept.delete(user);
  }
}
