import { ApiError } from './errors.js';
import { Timeline, applyEvent } from './timeline.js';

const PAGE = 50;
/** A hole wider than this is not worth walking through: the room starts again at its newest page. */
const WIDEST_HOLE = 1_000;
/** What the server counts to; from there on it means "or more". */
const UNREAD_MAX = 1_000;

/**
 * One room: its place in the log (`position`), its summary, its members, and the window of messages that is loaded.
 *
 * The log's position and the summary advance on their own: a summary that was read at head 40 contains what events up to
 * 40 say about it, while the window may still be at 35 and wants every one of them.
 */
export class Room {
  /** @type {import('./types.js').RoomSummary} */
  summary;
  /** The last event that was taken in; what a `resume` names. @type {number} */
  position;
  timeline = new Timeline();
  /** @type {Map<string, import('./types.js').Member>} filled by {@link Room#loadMembers} */
  members = new Map();
  membersLoaded = false;
  /** Events after a hole, until the hole is filled. @type {import('./types.js').Event[]} */
  #later = [];
  #mending = false;
  /** Grows when the log starts anew, and with every fresh window: answers to older questions are not taken. */
  #logGeneration = 0;
  #windowGeneration = 0;
  #loading = new Map();
  #host;

  /**
   * @param {import('./types.js').RoomSummary} summary
   * @param {{api: import('./api.js').Api, me: () => string, changed: (room: Room, what: 'summary'|'timeline'|'members') => void,
   *          applied: (room: Room, event: import('./types.js').Event) => void, repair: () => void,
   *          stale: (room: Room) => void}} host the collection that this room belongs to
   */
  constructor(summary, host) {
    this.#host = host;
    this.summary = summary;
    this.position = summary.head;
  }

  get id() {
    return this.summary.id;
  }

  // --- the log ----------------------------------------------------------------------------------------------------

  /** @param {import('./types.js').Event} event straight from the socket */
  receive(event) {
    if (event.seq <= this.position) return; // a repeat
    if (this.#mending || event.seq > this.position + 1) {
      this.#later.push(event);
      this.#mend();
      return;
    }
    this.#apply(event);
  }

  /** The socket will send everything after `position` again, or has promised to: what waits here is not needed. */
  forgetLater() {
    this.#later = [];
  }

  /**
   * The server would not replay from our position. Everything shown is dropped; the log goes on at `head`.
   * @param {number} head
   */
  reset(head) {
    this.#logGeneration += 1;
    this.#windowGeneration += 1;
    this.#loading.clear();
    this.#later = [];
    this.#mending = false;
    this.position = head;
    const shown = this.timeline.loaded;
    this.timeline.clear();
    this.#host.changed(this, 'timeline');
    this.#host.stale(this);
    if (shown) this.loadNewest().catch(() => this.#host.repair());
    if (this.membersLoaded) this.loadMembers().catch(() => {});
  }

  /**
   * The server promises that this never happens. Should it happen all the same, the log itself is read, since a message
   * that is silently missing is the one thing that a chat may not do.
   */
  async #mend() {
    if (this.#mending) return;
    this.#mending = true;
    const generation = this.#logGeneration;
    try {
      while (this.#later.length > 0) {
        const next = Math.min(...this.#later.map((event) => event.seq));
        if (next - this.position > WIDEST_HOLE) return this.reset(Math.max(...this.#later.map((event) => event.seq)));
        if (next > this.position + 1) {
          const page = await this.#host.api.events(this.id, { after: this.position, limit: 100 });
          if (generation !== this.#logGeneration) return;
          const before = this.position;
          for (const event of page.items) if (event.seq === this.position + 1) this.#apply(event);
          if (this.position === before) throw new Error('the log does not go on');
        }
        this.#drain();
      }
    } catch (error) {
      if (generation !== this.#logGeneration) return;
      this.#later = [];
      // A new connection resumes from `position`, which nothing has moved past the hole.
      if (!(error instanceof ApiError && error.code === 'forbidden')) this.#host.repair();
    } finally {
      if (generation === this.#logGeneration) this.#mending = false;
    }
  }

  #drain() {
    const waiting = this.#later.sort((a, b) => a.seq - b.seq);
    this.#later = [];
    for (const event of waiting) {
      if (event.seq === this.position + 1) this.#apply(event);
      else if (event.seq > this.position) this.#later.push(event);
    }
  }

  #apply(event) {
    this.position = event.seq;
    const me = this.#host.me();
    const known = event.event === 'message.deleted' ? this.timeline.get(event.data.seq) : null;
    const moved = this.timeline.apply(event, me);
    this.#foldMembers(event);
    // Who writes has read what came before: the marker in force is the larger of the stored one and the own last post.
    if (event.event === 'message.posted' && event.actor && event.actor !== me) this.markerMoved(event.actor, event.seq);
    if (event.seq > this.summary.head) this.#foldSummary(event, me, known);
    if (moved) this.#host.changed(this, 'timeline');
    this.#host.applied(this, event);
  }

  #foldSummary(event, me, known) {
    const next = { ...this.summary, head: event.seq };
    const data = event.data ?? {};
    switch (event.event) {
      case 'message.posted': {
        const { message } = data;
        next.last_message = message;
        next.updated_at = message.created_at;
        if (message.sender === me) {
          next.read = Math.max(next.read, message.seq);
          next.unread = 0;
        } else if (message.sender && !message.deleted) {
          next.unread = this.#countUnread(next.read) ?? Math.min(UNREAD_MAX, next.unread + 1);
        }
        break;
      }
      case 'message.deleted':
        if (data.seq > next.read && next.unread > 0) {
          // Whether it counted is known only of a message that is loaded; otherwise the server is asked.
          const counted = this.#countUnread(next.read);
          if (counted !== null) next.unread = counted;
          else if (!known || next.unread >= UNREAD_MAX) this.#host.stale(this);
          else if (known.sender && known.sender !== me && !known.deleted) next.unread -= 1;
        }
        break;
      case 'member.joined':
        next.member_count += 1;
        if (data.user === me) next.role = data.role;
        break;
      case 'member.left':
        next.member_count = Math.max(0, next.member_count - 1);
        break;
      case 'member.role':
        if (data.user === me) next.role = data.role;
        break;
      case 'room.updated':
        next.name = data.name;
        break;
      default:
    }
    if (next.last_message) next.last_message = applyEvent(next.last_message, event, me);
    this.summary = next;
    this.#host.changed(this, 'summary');
  }

  #foldMembers(event) {
    if (!event.event.startsWith('member.')) return;
    const { user, role } = event.data;
    if (event.event === 'member.left') this.members.delete(user);
    else if (this.members.has(user)) this.members.set(user, { ...this.members.get(user), role });
    else if (this.membersLoaded) this.loadMembers().catch(() => {});
    this.#host.changed(this, 'members');
  }

  // --- the summary ------------------------------------------------------------------------------------------------

  /** @param {import('./types.js').RoomSummary} fresh as an answer brought it; an older one than ours is not taken */
  merge(fresh) {
    if (fresh.head < this.summary.head) return;
    const { members, created_by, ...summary } = fresh;
    if (summary.read < this.summary.read) {
      // A marker never moves back: this answer is from before.
      summary.read = this.summary.read;
      summary.unread = this.summary.unread;
    }
    this.summary = { ...this.summary, ...summary };
    // A room of which nothing is loaded has no use for the events that the summary contains.
    if (!this.timeline.loaded && this.#loading.size === 0 && !this.#mending) {
      this.position = Math.max(this.position, fresh.head);
    }
    this.#host.changed(this, 'summary');
  }

  /**
   * Someone's read marker moved.
   * @param {string} user @param {number} seq
   * @param {number} [unread] for my own: what the server counted
   */
  markerMoved(user, seq, unread) {
    if (user === this.#host.me()) {
      if (seq < this.summary.read) return;
      this.summary = { ...this.summary, read: seq, unread: this.#countUnread(seq) ?? unread ?? this.summary.unread };
      this.#host.changed(this, 'summary');
    } else {
      const member = this.members.get(user);
      if (!member || member.read >= seq) return;
      this.members.set(user, { ...member, read: seq });
      this.#host.changed(this, 'members');
    }
  }

  /** Counted here where the window tells: the server's number may be older than the events that came since. */
  #countUnread(read) {
    const { items, hasAfter, hasBefore, loaded } = this.timeline;
    if (!loaded || hasAfter || this.position < this.summary.head || (hasBefore && !(items[0]?.seq <= read))) return null;
    const me = this.#host.me();
    return items.filter((m) => m.seq > read && m.sender && m.sender !== me && !m.deleted).length;
  }

  // --- loading ----------------------------------------------------------------------------------------------------

  /** Replaces the window by the newest page. */
  loadNewest() {
    return this.#load('newest', { limit: PAGE }, 'fresh');
  }

  /** Replaces the window by the surroundings of one message. @param {number} seq */
  loadAround(seq) {
    return this.#load('newest', { around: seq, limit: PAGE }, 'fresh');
  }

  /** One page further back. */
  loadBefore() {
    const { first, hasBefore } = this.timeline;
    if (!first || !hasBefore) return Promise.resolve();
    return this.#load('before', { before: first.seq, limit: PAGE }, 'before');
  }

  /** One page further on, where the window does not reach the end. */
  loadAfter() {
    const { last, hasAfter } = this.timeline;
    if (!last || !hasAfter) return Promise.resolve();
    return this.#load('after', { after: last.seq, limit: PAGE }, 'after');
  }

  isLoading(what) {
    return this.#loading.has(what);
  }

  /** @returns {Promise<void>} shared by all who ask for the same while it is under way */
  #load(name, query, where) {
    const running = this.#loading.get(name);
    if (running && where !== 'fresh') return running;
    if (where === 'fresh') {
      // A fresh window makes whatever page is still coming meaningless.
      this.#windowGeneration += 1;
      this.#loading.clear();
    }
    const generation = this.#windowGeneration;
    const { timeline } = this;
    timeline.loadBegan();
    const load = (async () => {
      try {
        const page = await this.#host.api.messages(this.id, query);
        if (generation !== this.#windowGeneration) return;
        timeline.take(page, where, this.#host.me());
        this.#host.changed(this, 'timeline');
      } finally {
        timeline.loadEnded();
        if (generation === this.#windowGeneration) this.#loading.delete(name);
      }
    })();
    this.#loading.set(name, load);
    return load;
  }

  /** Fetches what a live reply points to, where it is not in the window. @param {number} seq */
  async loadReplied(seq) {
    if (this.timeline.get(seq)) return;
    this.timeline.keepReplied(await this.#host.api.message(this.id, seq));
    this.#host.changed(this, 'timeline');
  }

  async loadMembers() {
    const members = await this.#host.api.members(this.id);
    // Markers only move forward, so that one heard of meanwhile is kept.
    this.members = new Map(
      members.map((member) => {
        const held = this.members.get(member.user.id);
        return [member.user.id, { ...member, read: Math.max(member.read, held?.read ?? 0) }];
      }),
    );
    this.membersLoaded = true;
    this.#host.changed(this, 'members');
  }
}
