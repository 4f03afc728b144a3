// A clock and a server without I/O, just enough of both to drive the client's state machines step by step.

/** Time that moves only when told to. Timers run in order, with all promises settled in between. */
export class FakeClock {
  #now = Date.parse('2026-01-01T00:00:00.000Z');
  #timers = [];
  #next = 1;

  now = () => this.#now;
  random = () => 0.5;
  setTimeout = (run, ms) => {
    const timer = { id: this.#next++, at: this.#now + ms, run };
    this.#timers.push(timer);
    return timer.id;
  };
  clearTimeout = (id) => {
    this.#timers = this.#timers.filter((timer) => timer.id !== id);
  };

  async advance(ms) {
    const end = this.#now + ms;
    await settle();
    for (;;) {
      const due = this.#timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at || a.id - b.id)[0];
      if (!due) break;
      this.clearTimeout(due.id);
      this.#now = Math.max(this.#now, due.at);
      due.run();
      await settle();
    }
    this.#now = end;
    await settle();
  }
}

/** Lets every promise that can go on do so. */
export async function settle() {
  for (let i = 0; i < 20; i += 1) await new Promise((resolve) => setImmediate(resolve));
}

export const ME = '00000000-0000-7000-8000-000000000001';
export const ADA = '00000000-0000-7000-8000-0000000000ad';
export const BOB = '00000000-0000-7000-8000-0000000000b0';
export const ROOM = '00000000-0000-7000-8000-0000000000aa';

const user = (id) => ({ id, username: `u${id.slice(-2)}`, display_name: `User ${id.slice(-2)}`, created_at: '' });

export class FakeServer {
  /** Every request, as `METHOD path?query`. */
  requests = [];
  /** Every frame that arrived, over all connections. */
  frames = [];
  /** @type {FakeSocket[]} */
  sockets = [];
  /** room -> its log */
  logs = new Map();
  read = new Map();
  tokenLife = 900;
  /** Named faults: `refuseResume`, `swallow` (frames that get no answer), `loseAck` (once), `fetchDown`, `socketDown`. */
  faults = {};
  /** What a given `METHOD path` answers instead: a function (request) -> {status, body}. */
  overrides = new Map();
  refreshes = 0;
  /** Who signs in by the next login. A token is theirs who got it; what a token posts, or a socket opened with it, is theirs. */
  who = ME;
  #token = 0;
  #owners = new Map();

  constructor(clock) {
    this.clock = clock;
    const server = this;
    this.WebSocket = class extends FakeSocket {
      constructor(url, protocols) {
        super(server, url, protocols);
      }
    };
  }

  tokens(who = this.who) {
    this.#token += 1;
    for (const kind of ['access', 'refresh']) this.#owners.set(`${kind}-${this.#token}`, who);
    return {
      access_token: `access-${this.#token}`,
      refresh_token: `refresh-${this.#token}`,
      token_type: 'Bearer',
      expires_in: this.tokenLife,
      user: user(who),
    };
  }

  /** @param {string} token access or refresh */
  owner(token) {
    return this.#owners.get(token) ?? ME;
  }

  get socket() {
    return this.sockets[this.sockets.length - 1];
  }

  // --- the log ---

  /** Appends without telling anybody. */
  append(room, event, data, actor = ADA) {
    const log = this.logs.get(room) ?? [];
    this.logs.set(room, log);
    const seq = log.length + 1;
    const entry = { type: 'event', room, seq, at: new Date(this.clock.now()).toISOString(), actor, event, data };
    if (event === 'message.posted') {
      entry.data = {
        message: {
          room, seq, rev: seq, sender: actor, type: 'text', body: data.body, client_id: data.client_id ?? null,
          reply_to: data.reply_to ?? null, created_at: entry.at, edited_at: null, deleted: false, reactions: [],
        },
      };
    }
    log.push(entry);
    return entry;
  }

  /** Appends and delivers. */
  post(room, body, actor = ADA) {
    const event = this.append(room, 'message.posted', { body }, actor);
    this.socket.deliver(event);
    return event;
  }

  summary(room) {
    const log = this.logs.get(room);
    const posts = log.filter((event) => event.event === 'message.posted');
    const read = this.read.get(room) ?? 0;
    return {
      id: room, kind: 'direct', name: null, peer: user(ADA), member_count: 2, role: 'member', head: log.length, read,
      unread: posts.filter((event) => event.seq > read && event.actor !== ME).length,
      last_message: posts.at(-1)?.data.message ?? null,
      created_at: '2026-01-01T00:00:00.000Z', updated_at: log.at(-1)?.at ?? '2026-01-01T00:00:00.000Z',
    };
  }

  // --- HTTP ---

  fetch = async (url, { method, headers, body }) => {
    const { pathname, searchParams, search } = new URL(url);
    this.requests.push(`${method} ${pathname}${search}`);
    await new Promise((resolve) => setImmediate(resolve));
    if (this.faults.fetchDown) throw new TypeError('fetch failed');
    const override = this.overrides.get(`${method} ${pathname}`);
    const answer = override
      ? override({ headers, body: body ? JSON.parse(body) : null, query: searchParams })
      : this.#answer(method, pathname, searchParams, headers, body);
    const { status = 200, body: content = null, retryAfter } = answer ?? { status: 404, body: { code: 'not_found', status: 404 } };
    return new Response(content === null ? null : JSON.stringify(content), {
      status,
      headers: retryAfter ? { 'retry-after': String(retryAfter) } : {},
    });
  };

  #answer(method, path, query, headers, body) {
    const me = this.owner(headers.authorization?.replace('Bearer ', ''));
    const list = (items) => ({ body: { items, next: null } });
    if (path === '/auth/login') return { body: this.tokens() };
    if (path === '/auth/refresh') {
      this.refreshes += 1;
      return { body: this.tokens(this.owner(JSON.parse(body).refresh_token)) };
    }
    if (path === '/auth/logout') return { status: 204 };
    if (path === '/auth/me') return { body: { ...user(me), email: 'me@example.com' } };
    if (path === '/chat-rooms') return list([...this.logs.keys()].map((room) => this.summary(room)));
    if (path.startsWith('/friends') || path === '/users/blocked') return list([]);
    const [, kind, room, what] = path.split('/');
    const log = this.logs.get(room);
    if (!log) return null;
    if (kind === 'chat-rooms' && !what) return { body: { ...this.summary(room), created_by: ADA, members: [] } };
    if (kind === 'chat-rooms' && what === 'events') {
      const after = Number(query.get('after') ?? 0);
      const items = log.slice(after, after + Number(query.get('limit')));
      return { body: { items, head: log.length, more: after + items.length < log.length } };
    }
    if (kind === 'messages' && method === 'GET') {
      const limit = Number(query.get('limit') ?? 50);
      const before = Number(query.get('before') ?? Infinity);
      const posts = this.present(room).filter((message) => message.seq < before);
      const items = posts.slice(-limit);
      return {
        body: { items, replied: [], has_before: posts.length > items.length, has_after: before !== Infinity, head: log.length },
      };
    }
    return null;
  }

  /** The messages of a room as they are now: enough for edits and deletions. */
  present(room) {
    const messages = new Map();
    for (const { event, seq, data, at } of this.logs.get(room)) {
      if (event === 'message.posted') messages.set(seq, { ...data.message });
      const message = messages.get(data.seq);
      if (event === 'message.edited') Object.assign(message, { body: data.body, edited_at: at, rev: seq });
      if (event === 'message.deleted') Object.assign(message, { body: null, deleted: true, rev: seq });
    }
    return [...messages.values()];
  }

  // --- frames ---

  handle(socket, frame) {
    this.frames.push(frame);
    if (this.faults.swallow?.(frame)) return;
    const ack = (more) => socket.deliver({ type: 'ack', id: frame.id, ...more });
    switch (frame.type) {
      case 'resume': {
        const rooms = {};
        const replay = [];
        for (const [room, after] of Object.entries(frame.rooms)) {
          const log = this.logs.get(room);
          if (!log) rooms[room] = { code: 'forbidden' };
          else if (this.faults.refuseResume) rooms[room] = { head: log.length, resumed: false, read: 0, unread: 0 };
          else {
            rooms[room] = { from: after, head: log.length, resumed: true, read: this.read.get(room) ?? 0, unread: 0 };
            replay.push(...log.slice(after));
          }
        }
        ack({ rooms });
        replay.forEach((event) => socket.deliver(event));
        return;
      }
      case 'message.send': {
        const log = this.logs.get(frame.room);
        const first = log.find((event) => event.data.message?.client_id === frame.client_id);
        const event = first ?? this.append(frame.room, 'message.posted', frame, socket.me);
        if (!first) socket.deliver(event);
        if (this.faults.loseAck) {
          this.faults.loseAck = false;
          socket.drop(1006);
          return;
        }
        ack({ room: frame.room, seq: event.seq, duplicate: Boolean(first) });
        return;
      }
      case 'read':
        this.read.set(frame.room, frame.seq);
        ack({ room: frame.room, read: frame.seq, unread: 0 });
        return;
      case 'auth':
        ack({ expires_at: new Date(this.clock.now() + this.tokenLife * 1000).toISOString() });
        return;
      case 'ping':
        ack({ now: new Date(this.clock.now()).toISOString() });
        return;
      default:
    }
  }
}

class FakeSocket {
  readyState = 0;

  constructor(server, url, protocols) {
    this.server = server;
    this.url = url;
    this.protocols = protocols;
    this.me = server.owner(protocols[1].replace('bearer.', ''));
    server.sockets.push(this);
    queueMicrotask(() => {
      if (server.faults.socketDown) return this.drop(1006);
      this.readyState = 1;
      return this.deliver({
        type: 'hello', protocol: 1, connection: 'c', user: user(this.me), room: null, from: null, head: null, resumed: null,
        read: null, unread: null, now: new Date(server.clock.now()).toISOString(),
        expires_at: new Date(server.clock.now() + server.tokenLife * 1000).toISOString(), heartbeat_ms: 30_000,
        limits: { frames_per_s: 50, frame_bytes: 65_536, resume_events: 1_000 },
      });
    });
  }

  /** To the client, as text, so that no object is shared. */
  deliver(frame) {
    if (this.readyState === 1) this.onmessage?.({ data: JSON.stringify(frame) });
  }

  send(text) {
    const frame = JSON.parse(text);
    queueMicrotask(() => {
      if (this.readyState === 1) this.server.handle(this, frame);
    });
  }

  close() {
    this.readyState = 3;
  }

  /** The connection ends, as seen from outside. */
  drop(code) {
    this.readyState = 3;
    this.onclose?.({ code });
  }
}

/** Locks as the browser has them, as far as the client uses them: one holder a name. */
export class FakeLocks {
  #tail = Promise.resolve();

  request(_name, run) {
    const turn = this.#tail.then(run);
    this.#tail = turn.catch(() => {});
    return turn;
  }
}
