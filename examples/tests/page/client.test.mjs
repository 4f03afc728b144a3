// The client's state machines, without a browser and without a server: node --test
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ApiError, Backoff, ChatClient, OfflineError, Session, applyEvent, memoryTokens } from '../../server/page/chatcore-client.js';
import { retryAfter } from '../../server/page/client/errors.js';
import { ADA, FakeClock, FakeLocks, FakeServer, ME, ROOM, settle } from './fake.mjs';

async function connected({ posts = 3, open = true } = {}) {
  const clock = new FakeClock();
  const server = new FakeServer(clock);
  for (let i = 1; i <= posts; i += 1) server.append(ROOM, 'message.posted', { body: `old ${i}` });
  let ids = 0;
  const chat = new ChatClient({
    base: 'http://test/',
    fetch: server.fetch,
    WebSocket: server.WebSocket,
    locks: null,
    clock,
    newId: () => `id-${(ids += 1)}`,
  });
  await chat.login({ login: 'me', password: 'password' });
  await clock.advance(0);
  assert.equal(chat.connection.phase, 'online');
  const room = chat.rooms.get(ROOM);
  if (open) {
    room.loadNewest();
    await clock.advance(0);
  }
  return { clock, server, chat, room };
}

const bodies = (room) => room.timeline.items.map((message) => message.body);
const sent = (server, type) => server.frames.filter((frame) => frame.type === type);
const asked = (server, start) => server.requests.filter((request) => request.startsWith(start)).length;

// --- the socket and the log -------------------------------------------------------------------------------------------

test('the token travels as a subprotocol, never in the address', async () => {
  const { server } = await connected();
  assert.equal(server.socket.url, 'ws://test/ws');
  assert.deepEqual(server.socket.protocols, ['chatcore.v1', 'bearer.access-1']);
});

test('paths stand under the prefix of the base', async () => {
  const clock = new FakeClock();
  const server = new FakeServer(clock);
  server.overrides.set('POST /some/prefix/auth/login', () => ({ body: server.tokens() }));
  const chat = new ChatClient({ base: 'https://test/some/prefix/', fetch: server.fetch, WebSocket: server.WebSocket, clock });
  await chat.login({ login: 'me', password: 'password' });
  await settle();
  assert.equal(server.socket.url, 'wss://test/some/prefix/ws');
  chat.stop();
});

test('the first resume names no room, the lists come after it', async () => {
  const { server } = await connected({ open: false });
  assert.deepEqual(sent(server, 'resume').map((frame) => frame.rooms), [{}]);
  assert.equal(asked(server, 'GET /chat-rooms'), 1);
});

test('live events are taken in, once each', async () => {
  const { server, room } = await connected();
  const event = server.post(ROOM, 'new');
  server.socket.deliver(event);
  server.socket.deliver(event);
  assert.deepEqual(bodies(room), ['old 1', 'old 2', 'old 3', 'new']);
  assert.equal(room.position, 4);
});

test('an event that comes before the list which holds its room is not lost', async () => {
  const clock = new FakeClock();
  const server = new FakeServer(clock);
  server.append(ROOM, 'message.posted', { body: 'old' });
  let release;
  const gate = new Promise((resolve) => (release = resolve));
  const fetch = async (url, options) => {
    const answer = await server.fetch(url, options); // read now, delivered late
    if (new URL(url).pathname === '/chat-rooms') await gate;
    return answer;
  };
  const chat = new ChatClient({ base: 'http://test/', fetch, WebSocket: server.WebSocket, clock });
  await chat.login({ login: 'me', password: 'password' });
  await clock.advance(0);
  server.post(ROOM, 'in between');
  release();
  await clock.advance(0);
  const { summary, position } = chat.rooms.get(ROOM);
  assert.equal(position, 2);
  assert.equal(summary.last_message.body, 'in between');
  assert.equal(summary.unread, 2);
});

test('a hole is filled from the log, in order and without repeats', async () => {
  const { clock, server, room } = await connected();
  server.append(ROOM, 'message.posted', { body: 'missed 1' });
  server.append(ROOM, 'message.posted', { body: 'missed 2' });
  server.post(ROOM, 'after the hole');
  assert.deepEqual(bodies(room).length, 3, 'nothing is shown out of order');
  server.post(ROOM, 'and another');
  await clock.advance(0);
  assert.deepEqual(bodies(room).slice(3), ['missed 1', 'missed 2', 'after the hole', 'and another']);
  assert.equal(room.position, 7);
  assert.equal(asked(server, `GET /chat-rooms/${ROOM}/events?after=3`), 1);
});

test('a hole that cannot be filled makes the connection start over from before it', async () => {
  const { clock, server, chat, room } = await connected();
  server.append(ROOM, 'message.posted', { body: 'missed' });
  server.overrides.set(`GET /chat-rooms/${ROOM}/events`, () => ({ status: 500, body: { code: 'internal', status: 500 } }));
  server.post(ROOM, 'after the hole');
  await clock.advance(60_000);
  assert.equal(server.sockets.length, 2);
  assert.equal(chat.connection.phase, 'online');
  assert.deepEqual(sent(server, 'resume').at(-1).rooms, { [ROOM]: 3 });
  assert.deepEqual(bodies(room).slice(3), ['missed', 'after the hole']);
});

test('events up to the rev of a loaded message are skipped, later ones applied', async () => {
  const { server, room } = await connected();
  const [message] = room.timeline.items;
  const edited = { event: 'message.edited', data: { seq: 1, body: 'older' }, seq: message.rev, actor: ADA };
  assert.equal(applyEvent(message, edited, ME), message);
  server.socket.deliver(server.append(ROOM, 'message.edited', { seq: 1, body: 'newer' }));
  assert.equal(room.timeline.get(1).body, 'newer');
  assert.equal(room.timeline.get(1).rev, 4);
});

test('an edit that overtakes the page which it belongs to is not lost', async () => {
  const { clock, server, room } = await connected({ open: false });
  room.loadNewest();
  // The page was read before the edit, and arrives after it.
  const page = { items: server.present(ROOM), replied: [], has_before: false, has_after: false, head: 3 };
  server.overrides.set(`GET /messages/${ROOM}`, () => ({ body: page }));
  server.socket.deliver(server.append(ROOM, 'message.edited', { seq: 2, body: 'edited' }));
  server.post(ROOM, 'posted');
  await clock.advance(0);
  assert.deepEqual(bodies(room), ['old 1', 'edited', 'old 3', 'posted']);
});

test('reactions count up and down, and know which are mine', async () => {
  const { server, room } = await connected();
  const react = (event, actor) => server.socket.deliver(server.append(ROOM, event, { seq: 1, emoji: '👍' }, actor));
  react('reaction.added', ADA);
  react('reaction.added', ME);
  assert.deepEqual(room.timeline.get(1).reactions, [{ emoji: '👍', count: 2, me: true }]);
  react('reaction.removed', ME);
  assert.deepEqual(room.timeline.get(1).reactions, [{ emoji: '👍', count: 1, me: false }]);
  react('reaction.removed', ADA);
  assert.deepEqual(room.timeline.get(1).reactions, []);
});

// --- reconnects -------------------------------------------------------------------------------------------------------

test('after a loss the client resumes from its position and shows what it missed, once', async () => {
  const { clock, server, chat, room } = await connected();
  server.socket.drop(1006);
  assert.equal(chat.connection.phase, 'waiting');
  server.append(ROOM, 'message.posted', { body: 'meanwhile' });
  await clock.advance(1_000);
  assert.equal(chat.connection.phase, 'online');
  assert.deepEqual(sent(server, 'resume').at(-1).rooms, { [ROOM]: 3 });
  assert.deepEqual(bodies(room), ['old 1', 'old 2', 'old 3', 'meanwhile']);
  assert.equal(room.summary.unread, 4, 'neither the answer to resume nor the list counts it a second time');
});

test('resumed:false drops what is shown and loads the newest page', async () => {
  const { clock, server, room } = await connected();
  server.socket.drop(1006);
  for (let i = 0; i < 80; i += 1) server.append(ROOM, 'message.posted', { body: `meanwhile ${i}` });
  server.faults.refuseResume = true;
  await clock.advance(5_000);
  assert.equal(room.position, 83);
  assert.equal(bodies(room).length, 50);
  assert.equal(bodies(room).at(-1), 'meanwhile 79');
  assert.equal(room.timeline.hasBefore, true);
  server.post(ROOM, 'live again');
  assert.equal(bodies(room).at(-1), 'live again');
});

test('a room of which I am no member any more goes', async () => {
  const { clock, server, chat } = await connected();
  const gone = [];
  chat.rooms.on('gone', ({ room }) => gone.push(room.id));
  server.socket.drop(1006);
  server.logs.delete(ROOM);
  await clock.advance(1_000);
  assert.deepEqual(gone, [ROOM]);
  assert.equal(chat.rooms.get(ROOM), null);
});

test('more than 1000 rooms are resumed in several frames, all but the last with more', async () => {
  const { clock, server } = await connected({ open: false });
  for (let i = 0; i < 2_100; i += 1) server.append(`room-${i}`, 'message.posted', { body: 'x' });
  server.socket.drop(1006);
  await clock.advance(1_000);
  server.socket.drop(1006);
  await clock.advance(5_000);
  const last = sent(server, 'resume').slice(-3);
  assert.deepEqual(last.map((frame) => [Object.keys(frame.rooms).length, frame.more]), [[1000, true], [1000, true], [101, false]]);
});

test('the wait grows with jitter, honours the server, and starts over after a stable connection', async () => {
  const backoff = new Backoff({ random: () => 0 }, { baseMs: 500, maxMs: 30_000 });
  assert.deepEqual([backoff.next(), backoff.next(), backoff.next()], [250, 500, 1_000]);
  assert.equal(backoff.next(60_000), 60_000);
  for (let i = 0; i < 10; i += 1) backoff.next();
  assert.equal(backoff.next(), 15_000);

  const { clock, server, chat } = await connected();
  server.socket.deliver({ type: 'bye', code: 'restart', reconnect: true, retry_after_ms: 7_000 });
  server.socket.drop(1012);
  assert.equal(chat.connection.reason, 'restart');
  await clock.advance(6_900);
  assert.equal(server.sockets.length, 1);
  await clock.advance(200);
  assert.equal(server.sockets.length, 2);
});

test('nudge ends the wait at once', async () => {
  const { clock, server, chat } = await connected();
  server.faults.socketDown = true;
  server.socket.drop(1006);
  await clock.advance(60_000);
  server.faults.socketDown = false;
  chat.socket.nudge();
  await clock.advance(0);
  assert.equal(chat.connection.phase, 'online');
});

test('a silent connection is pinged, and given up when nothing answers', async () => {
  const { clock, server, chat } = await connected();
  await clock.advance(31_000);
  assert.equal(sent(server, 'ping').length, 1);
  assert.equal(server.sockets.length, 1, 'an answered ping is life');
  server.faults.swallow = (frame) => frame.type === 'ping';
  await clock.advance(60_000);
  assert.ok(server.sockets.length > 1);
  assert.equal(chat.connection.phase, 'online');
});

test('a fresh token goes out 30 s before the old one expires', async () => {
  const { clock, server } = await connected();
  await clock.advance(869_000);
  assert.equal(sent(server, 'auth').length, 0);
  await clock.advance(2_000);
  assert.deepEqual(sent(server, 'auth').map((frame) => frame.token), ['access-2']);
  assert.equal(server.sockets.length, 1);
});

test('4401 is answered with a fresh token, and with the end of the session where that is refused', async () => {
  const { clock, server, chat } = await connected();
  server.socket.deliver({ type: 'bye', code: 'expired', reconnect: true });
  server.socket.drop(4401);
  await clock.advance(1_000);
  assert.deepEqual(server.socket.protocols, ['chatcore.v1', 'bearer.access-2']);
  const ended = [];
  chat.session.on('ended', ({ reason }) => ended.push(reason));
  server.overrides.set('POST /auth/refresh', () => ({ status: 401, body: { code: 'unauthenticated', status: 401 } }));
  server.socket.deliver({ type: 'bye', code: 'revoked', reconnect: false });
  server.socket.drop(4401);
  await clock.advance(60_000);
  assert.deepEqual(ended, ['expired']);
  assert.equal(chat.connection.phase, 'offline');
});

// --- sending ----------------------------------------------------------------------------------------------------------

test('a send whose ack was lost is repeated with its client_id and stored once', async () => {
  const { clock, server, chat, room } = await connected();
  server.faults.loseAck = true;
  chat.outbox.send(ROOM, 'once');
  await clock.advance(5_000);
  assert.equal(server.logs.get(ROOM).filter((event) => event.data.message.body === 'once').length, 1);
  assert.deepEqual(bodies(room).filter((body) => body === 'once').length, 1);
  assert.deepEqual(chat.outbox.of(ROOM), []);
});

test('a frame that never arrived is sent again after the reconnect', async () => {
  const { clock, server, chat, room } = await connected();
  server.faults.swallow = (frame) => frame.type === 'message.send';
  chat.outbox.send(ROOM, 'one');
  chat.outbox.send(ROOM, 'two');
  await clock.advance(100);
  assert.deepEqual(chat.outbox.of(ROOM).map((draft) => draft.state), ['sending', 'queued']);
  server.faults.swallow = undefined;
  server.socket.drop(1006);
  await clock.advance(5_000);
  assert.deepEqual(sent(server, 'message.send').map((frame) => frame.client_id), ['id-1', 'id-1', 'id-2']);
  assert.deepEqual(bodies(room).slice(3), ['one', 'two']);
});

test('written while offline, sent in order once online', async () => {
  const { clock, server, chat, room } = await connected();
  server.faults.socketDown = true;
  server.socket.drop(1006);
  chat.outbox.send(ROOM, 'one');
  chat.outbox.send(ROOM, 'two');
  await clock.advance(20_000);
  assert.deepEqual(chat.outbox.of(ROOM).map((draft) => draft.state), ['queued', 'queued']);
  server.faults.socketDown = false;
  await clock.advance(60_000);
  assert.deepEqual(bodies(room).slice(3), ['one', 'two']);
  assert.deepEqual(chat.outbox.of(ROOM), []);
});

test('asked to wait, the outbox waits and keeps the order; refused, it tells why', async () => {
  const { clock, server, chat, room } = await connected();
  const answer = (error) => {
    server.faults.swallow = (frame) => {
      if (frame.type !== 'message.send') return false;
      server.socket.deliver({ type: 'error', id: frame.id, ...error });
      return true;
    };
  };
  answer({ code: 'rate_limited', detail: 'slow down', retry_after_ms: 3_000 });
  chat.outbox.send(ROOM, 'one');
  chat.outbox.send(ROOM, 'two');
  await clock.advance(2_000);
  assert.equal(sent(server, 'message.send').length, 1);
  server.faults.swallow = undefined;
  await clock.advance(2_000);
  assert.deepEqual(bodies(room).slice(3), ['one', 'two']);

  answer({ code: 'forbidden', detail: 'You are blocked' });
  const draft = chat.outbox.send(ROOM, 'three');
  await clock.advance(0);
  assert.equal(draft.state, 'failed');
  assert.equal(draft.error, 'You are blocked');
  server.faults.swallow = undefined;
  chat.outbox.retry(draft.client_id);
  await clock.advance(0);
  assert.deepEqual(bodies(room).at(-1), 'three');
});

test('read markers are gathered: one frame for the furthest', async () => {
  const { clock, server, chat, room } = await connected();
  assert.equal(room.summary.unread, 3);
  for (const seq of [1, 2, 3]) chat.marks.read(ROOM, seq);
  await clock.advance(1_000);
  assert.deepEqual(sent(server, 'read').map((frame) => frame.seq), [3]);
  assert.equal(room.summary.unread, 0);
});

test('typing goes out every 3 s at most, and lapses after 6 s', async () => {
  const { clock, server, chat } = await connected();
  for (let i = 0; i < 8; i += 1) {
    chat.typing.pressed(ROOM);
    await clock.advance(500);
  }
  assert.equal(sent(server, 'typing').length, 2);
  const signal = (on) => server.socket.deliver({ type: 'signal', signal: 'typing', room: ROOM, user: ADA, data: { on } });
  signal(true);
  await clock.advance(5_900);
  assert.deepEqual(chat.typing.in(ROOM), [ADA]);
  await clock.advance(200);
  assert.deepEqual(chat.typing.in(ROOM), []);
  signal(true);
  server.post(ROOM, 'done');
  assert.deepEqual(chat.typing.in(ROOM), [], 'a message ends it');
});

// --- tokens and HTTP --------------------------------------------------------------------------------------------------

test('many calls with an expired token make one refresh', async () => {
  const { clock, server, chat } = await connected();
  chat.stop();
  await clock.advance(880_000);
  const before = server.refreshes;
  await Promise.all([chat.api.me(), chat.api.me(), chat.api.friends()]);
  assert.equal(server.refreshes - before, 1);
});

test('two tabs share one refresh through the lock and the store', async () => {
  const clock = new FakeClock();
  const server = new FakeServer(clock);
  const store = memoryTokens();
  const locks = new FakeLocks();
  const exchange = async () => {
    server.refreshes += 1;
    await settle();
    return server.tokens();
  };
  const tab = () => new Session({ store, clock, locks, exchange });
  tab().begin(server.tokens());
  const [one, two] = [tab(), tab()];
  await clock.advance(890_000);
  const tokens = await Promise.all([one.accessToken(), two.accessToken(), one.accessToken()]);
  assert.equal(server.refreshes, 1);
  assert.deepEqual(new Set(tokens).size, 1);
});

test('a refresh whose answer was lost is asked for again with the same token', async () => {
  const clock = new FakeClock();
  const server = new FakeServer(clock);
  const used = [];
  const session = new Session({
    store: memoryTokens(),
    clock,
    exchange: async (token) => {
      used.push(token);
      if (used.length < 3) throw new OfflineError();
      return server.tokens();
    },
  });
  session.begin(server.tokens());
  await clock.advance(900_000);
  const token = session.accessToken();
  await clock.advance(10_000);
  assert.equal(await token, 'access-2');
  assert.deepEqual(used, ['refresh-1', 'refresh-1', 'refresh-1']);
});

test('a 401 is answered with one refresh and one repeat', async () => {
  const { server, chat } = await connected();
  const seen = [];
  server.overrides.set('POST /friends/request', ({ headers }) => {
    seen.push(headers.authorization);
    return seen.length === 1 ? { status: 401, body: { code: 'unauthenticated' } } : { status: 201, body: { id: 'f' } };
  });
  assert.deepEqual(await chat.api.askFriend({ username: 'ada' }), { id: 'f' });
  assert.deepEqual(seen, ['Bearer access-1', 'Bearer access-2']);
});

test('problem documents become typed errors with their fields', async () => {
  const { server, chat } = await connected();
  server.overrides.set('POST /auth/register', () => ({
    status: 409,
    body: { status: 409, code: 'conflict', detail: 'taken', errors: [{ field: 'username', code: 'taken', message: 'is taken' }] },
  }));
  const error = await chat.api.register({ username: 'ada' }).catch((thrown) => thrown);
  assert.ok(error instanceof ApiError);
  assert.equal(error.code, 'conflict');
  assert.equal(error.field('username'), 'is taken');
  assert.equal(error.field('email'), null);
});

test('reads are repeated after 503 and Retry-After, what is not idempotent is not', async () => {
  const { clock, server, chat } = await connected();
  const away = () => ({ status: 503, body: { code: 'unavailable', status: 503 }, retryAfter: 1 });
  server.overrides.set('GET /auth/me', away);
  const me = chat.api.me();
  await clock.advance(500);
  server.overrides.delete('GET /auth/me');
  await clock.advance(1_000);
  assert.equal((await me).id, ME);
  server.overrides.set('PATCH /auth/me', away);
  const error = await chat.api.changeMe({ display_name: 'x' }).catch((thrown) => thrown);
  assert.equal(error.retryAfterMs, 1_000);
  assert.equal(asked(server, 'PATCH /auth/me'), 1);
});

test('Retry-After is seconds or a date', () => {
  assert.equal(retryAfter('3'), 3_000);
  assert.equal(retryAfter('Thu, 01 Jan 2026 00:00:10 GMT', Date.parse('2026-01-01T00:00:00Z')), 10_000);
  assert.equal(retryAfter('soon'), 0);
  assert.equal(retryAfter(null), 0);
});

test('logging out stops everything and forgets everything', async () => {
  const { clock, server, chat } = await connected();
  await chat.logout();
  await clock.advance(60_000);
  assert.equal(chat.me, null);
  assert.deepEqual(chat.rooms.list(), []);
  assert.equal(server.sockets.length, 1);
  assert.equal(asked(server, 'POST /auth/logout'), 1);
});
