/**
 * The window of messages that is loaded of a room: always one unbroken run, which may end before the newest message.
 * Pure state, no I/O. Messages are never changed in place, so that a view can tell by identity what to draw again.
 *
 * @typedef {import('./types.js').Message} Message
 * @typedef {import('./types.js').Event} Event
 */

/**
 * A message as it is after an event about it. What the message already contains (`rev`) is skipped.
 * @param {Message} message
 * @param {Event} event
 * @param {string} me my user id, for `reactions[].me`
 * @returns {Message} the same object where nothing changed
 */
export function applyEvent(message, event, me) {
  if (event.seq <= message.rev || event.data?.seq !== message.seq) return message;
  const next = { ...message, rev: event.seq };
  switch (event.event) {
    case 'message.edited':
      // An edit whose body is gone belongs to a message that was deleted later: the deletion is on its way.
      if (typeof event.data.body === 'string') next.body = event.data.body;
      next.edited_at = event.data.edited_at ?? event.at;
      return next;
    case 'message.deleted':
      return { ...next, body: null, deleted: true, reactions: [] };
    case 'reaction.added':
      next.reactions = react(message.reactions, event.data.emoji, event.actor === me, +1);
      return next;
    case 'reaction.removed':
      next.reactions = react(message.reactions, event.data.emoji, event.actor === me, -1);
      return next;
    default:
      return message;
  }
}

function react(reactions, emoji, mine, by) {
  const next = [];
  let found = false;
  for (const reaction of reactions) {
    if (reaction.emoji !== emoji) {
      next.push(reaction);
      continue;
    }
    found = true;
    const count = reaction.count + by;
    if (count > 0) next.push({ emoji, count, me: mine ? by > 0 : reaction.me });
  }
  if (!found && by > 0) next.push({ emoji, count: 1, me: mine });
  return next;
}

export class Timeline {
  /** @type {Message[]} rising seq */
  items = [];
  /** @type {Map<number, Message>} what the items reply to and do not hold */
  replied = new Map();
  loaded = false;
  hasBefore = false;
  hasAfter = false;
  /** Events that came while a page was under way: it may have been read before them. */
  #recent = [];
  #loads = 0;
  /** The newest post we know of, to tell whether the window still reaches the end. */
  #newest = 0;
  /** The head when the window last reached the end: posts up to it are either in a page or before the window. */
  #reach = 0;

  clear() {
    this.items = [];
    this.replied = new Map();
    this.loaded = this.hasBefore = this.hasAfter = false;
    this.#recent = [];
    this.#newest = this.#reach = 0;
  }

  /** @param {number} seq @returns {Message|null} */
  get(seq) {
    const at = this.#index(seq);
    return this.items[at]?.seq === seq ? this.items[at] : (this.replied.get(seq) ?? null);
  }

  get first() {
    return this.items[0] ?? null;
  }

  get last() {
    return this.items[this.items.length - 1] ?? null;
  }

  /** A page is asked for: from here on events are kept, until {@link Timeline#loadEnded}. */
  loadBegan() {
    this.#loads += 1;
  }

  loadEnded() {
    this.#loads -= 1;
    if (this.#loads === 0) this.#recent = [];
  }

  /**
   * Takes a page in.
   * @param {import('./types.js').MessagePage} page
   * @param {'fresh'|'before'|'after'} where `fresh` replaces what is there
   * @param {string} me
   */
  take(page, where, me) {
    for (const message of page.replied ?? []) this.keepReplied(message);
    if (where === 'fresh') {
      this.items = page.items.slice();
      this.hasBefore = page.has_before;
      this.hasAfter = page.has_after;
      this.loaded = true;
    } else {
      for (const message of page.items) this.#put(message);
      if (where === 'before') this.hasBefore = page.has_before;
      else this.hasAfter = page.has_after;
    }
    if (where !== 'before' && !page.has_after) this.#reach = page.head;
    for (const event of this.#recent) this.#apply(event, me);
    // Posts that came while the window did not reach the end were not taken in: there is more after all.
    if (!this.hasAfter && this.#newest > Math.max(page.head, this.last?.seq ?? 0)) this.hasAfter = true;
  }

  /**
   * @param {Event} event
   * @param {string} me
   * @returns {boolean} whether what is shown changed
   */
  apply(event, me) {
    if (this.#loads > 0) this.#recent.push(event);
    return this.#apply(event, me);
  }

  /** Takes a message as an answer brought it: the newer of the two stays. @param {Message} message */
  refresh(message) {
    const at = this.#index(message.seq);
    if (this.items[at]?.seq === message.seq) {
      if (this.items[at].rev < message.rev) this.items = this.items.with(at, message);
    } else if (this.replied.has(message.seq)) {
      this.keepReplied(message);
    }
  }

  #apply(event, me) {
    if (event.event === 'message.posted') {
      this.#newest = Math.max(this.#newest, event.seq);
      if (!this.loaded || this.hasAfter || event.seq <= this.#reach) return false;
      return this.#put(event.data.message);
    }
    const seq = event.data?.seq;
    if (typeof seq !== 'number') return false;
    let changed = false;
    const at = this.#index(seq);
    const held = this.items[at];
    if (held?.seq === seq) {
      const next = applyEvent(held, event, me);
      if (next !== held) {
        this.items = this.items.with(at, next);
        changed = true;
      }
    }
    const quoted = this.replied.get(seq);
    if (quoted) {
      const next = applyEvent(quoted, event, me);
      if (next !== quoted) {
        this.replied.set(seq, next);
        changed = true;
      }
    }
    return changed;
  }

  #put(message) {
    const at = this.#index(message.seq);
    const held = this.items[at];
    if (held?.seq === message.seq) {
      if (held.rev >= message.rev) return false;
      this.items = this.items.with(at, message);
    } else {
      this.items = this.items.toSpliced(at, 0, message);
    }
    return true;
  }

  /** Keeps a message that an item replies to. @param {Message} message */
  keepReplied(message) {
    const held = this.replied.get(message.seq);
    if (!held || held.rev < message.rev) this.replied.set(message.seq, message);
  }

  /** Where `seq` is, or would be put. */
  #index(seq) {
    let low = 0;
    let high = this.items.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.items[middle].seq < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
