// Several users in one browser: what one of them wrote, and has not sent yet, is never another one's to see or to send.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ChatClient, Session, SignedOutError, memoryTokens, webOutbox } from '../../server/page/chatcore-client.js';
import { BOB, FakeClock, FakeServer, ME, ROOM, settle } from './fake.mjs';

/** Storage of the browser, with its events; each tab has a view of its own, which is told of what the others write. */
class FakeStorage {
  #items = new Map();
  #tabs = new Set();

  getItem = (key) => this.#items.get(key) ?? null;
  setItem = (key, value) => void this.#items.set(key, value);

  /** A store of tokens for one tab. `deaf`: its events are still on their way. */
  tab({ deaf = false } = {}) {
    const tab = { changed: () => {}, deaf };
    this.#tabs.add(tab);
    return {
      tab,
      load: () => JSON.parse(this.getItem('tokens')),
      save: (tokens) => {
        this.setItem('tokens', JSON.stringify(tokens));
        for (const other of this.#tabs) if (other !== tab && !other.deaf) other.changed();
      },
      watch: (changed) => (tab.changed = changed),
    };
  }
}

function world() {
  const clock = new FakeClock();
  const server = new FakeServer(clock);
  server.append(ROOM, 'message.posted', { body: 'old' });
  const local = new FakeStorage();
  let ids = 0;
  const open = ({ tokens = local.tab(), session = new FakeStorage(), fetch = server.fetch } = {}) =>
    new ChatClient({
      base: 'http://test/',
      fetch,
      WebSocket: server.WebSocket,
      locks: null,
      clock,
      tokens,
      drafts: webOutbox(session),
      newId: () => `id-${(ids += 1)}`,
    });
  const signIn = async (chat, who) => {
    server.who = who;
    await chat.login({ login: who, password: 'password' });
    await clock.advance(0);
  };
  /** Signed in, and with a message that the server does not get. */
  const withUnsent = async (chat, body = 'for your eyes only') => {
    await signIn(chat, ME);
    server.faults.swallow = (frame) => frame.type === 'message.send';
    chat.outbox.send(ROOM, body);
    await clock.advance(0);
    server.faults.swallow = undefined;
  };
  return { clock, server, local, open, signIn, withUnsent };
}

const posted = (server) => server.logs.get(ROOM).slice(1).map((event) => [event.actor, event.data.message.body]);

// --- what has not been sent -------------------------------------------------------------------------------------------

test('a session that ends by itself keeps what it has not sent, for its user alone', async () => {
  const { clock, server, open, signIn, withUnsent } = world();
  const chat = open();
  await withUnsent(chat);
  chat.session.end('expired');
  await signIn(chat, BOB);
  await clock.advance(60_000);
  assert.equal(chat.me.id, BOB);
  assert.deepEqual(chat.outbox.of(ROOM), [], 'nothing of it is shown');
  assert.deepEqual(posted(server), [], 'nor sent');
  chat.outbox.send(ROOM, 'of Bob');
  await clock.advance(0);
  assert.deepEqual(posted(server), [[BOB, 'of Bob']]);
  await chat.logout();
  await signIn(chat, ME);
  await clock.advance(60_000);
  assert.deepEqual(posted(server), [[BOB, 'of Bob'], [ME, 'for your eyes only']], 'it goes out once its writer is back');
  assert.deepEqual(chat.outbox.of(ROOM), []);
});

test('who signs out drops what they have not sent', async () => {
  const { clock, server, open, signIn, withUnsent } = world();
  const session = new FakeStorage();
  const chat = open({ session });
  await withUnsent(chat);
  await chat.logout();
  assert.deepEqual(webOutbox(session).load(), [], 'and nothing of it stays in the browser');
  await signIn(chat, ME);
  await clock.advance(60_000);
  assert.deepEqual(posted(server), []);
});

test('a page that is loaded again after another tab signed in somebody else sends nothing as theirs', async () => {
  const { clock, server, local, open, signIn, withUnsent } = world();
  const session = new FakeStorage();
  const before = open({ session });
  await withUnsent(before);
  before.stop();
  await signIn(open(), BOB); // another tab
  const after = open({ session });
  assert.equal(after.me.id, BOB);
  after.start();
  await clock.advance(60_000);
  assert.deepEqual(after.outbox.of(ROOM), []);
  assert.deepEqual(posted(server), []);
  // Theirs is kept beside what others write meanwhile.
  after.outbox.send(ROOM, 'of Bob');
  await clock.advance(0);
  after.stop();
  server.who = ME;
  local.tab().save(null);
  const back = open({ session });
  await signIn(back, ME);
  await clock.advance(60_000);
  assert.deepEqual(posted(server), [[BOB, 'of Bob'], [ME, 'for your eyes only']]);
});

test('what does not say whose it is was kept by an older page, and is nobody\'s', async () => {
  const { clock, server, open, signIn } = world();
  const session = new FakeStorage();
  const old = { client_id: 'old', room: ROOM, body: 'whose?', reply_to: null, created_at: '', state: 'queued', seq: null, error: null };
  webOutbox(session).save([old]);
  const chat = open({ session });
  await signIn(chat, BOB);
  await clock.advance(60_000);
  assert.deepEqual(posted(server), []);
});

test('what was refused can be tried again or discarded by its writer alone', async () => {
  const { clock, server, open, signIn } = world();
  const chat = open();
  await signIn(chat, ME);
  server.faults.swallow = (frame) => {
    if (frame.type === 'message.send') server.socket.deliver({ type: 'error', id: frame.id, code: 'forbidden' });
    return frame.type === 'message.send';
  };
  const { client_id } = chat.outbox.send(ROOM, 'refused');
  await clock.advance(0);
  server.faults.swallow = undefined;
  chat.session.end('expired');
  await signIn(chat, BOB);
  chat.outbox.retry(client_id);
  assert.equal(chat.outbox.discard(client_id), null);
  await clock.advance(60_000);
  assert.deepEqual(posted(server), []);
  chat.session.end('expired');
  await signIn(chat, ME);
  assert.deepEqual(chat.outbox.of(ROOM).map((draft) => draft.state), ['failed']);
});

test('what was being written is kept by user, and gone with their signing out', async () => {
  const { open, signIn } = world();
  const chat = open();
  await signIn(chat, ME);
  chat.unfinished.set(ME, ROOM, { text: 'half a' });
  chat.session.end('expired');
  await signIn(chat, BOB);
  assert.equal(chat.unfinished.get(chat.me.id, ROOM), null);
  chat.unfinished.set(BOB, ROOM, { text: 'of Bob' });
  await chat.logout();
  assert.equal(chat.unfinished.get(BOB, ROOM), null);
  await signIn(chat, ME);
  assert.deepEqual(chat.unfinished.get(chat.me.id, ROOM), { text: 'half a' });
});

// --- whose session it is ----------------------------------------------------------------------------------------------

test('a tab does not become somebody else by a refresh', async () => {
  const { clock, server, local, open, signIn, withUnsent } = world();
  const mine = local.tab({ deaf: true }); // what the other tab stores has not been told yet
  const chat = open({ tokens: mine });
  await withUnsent(chat);
  server.faults.socketDown = true;
  server.socket.drop(1006);
  await signIn(open(), BOB);
  const ended = [];
  chat.session.on('ended', ({ reason }) => ended.push(reason));
  await clock.advance(860_000);
  server.faults.socketDown = false;
  server.tokenLife = 9_000;
  await signIn(open(), BOB);
  await clock.advance(20_000); // the token needs a refresh, and the store has a good one: of Bob
  await assert.rejects(chat.api.friends(), SignedOutError);
  assert.equal(chat.me, null);
  assert.deepEqual(ended, ['elsewhere']);
  assert.equal(mine.load().user.id, BOB, 'whose tokens stay');
  await clock.advance(60_000);
  assert.deepEqual(posted(server).filter(([actor]) => actor !== ME), [], 'nothing was sent as Bob');
});

test('a refresh under way does not undo what happened in another tab', async () => {
  for (const [name, after, left] of [
    ['signed out', null, null],
    ['somebody else', { user: { id: BOB }, refresh_token: 'refresh-b', access_token: 'access-b', expires_at: 0 }, BOB],
  ]) {
    const { clock, server, local } = world();
    const store = local.tab({ deaf: true });
    const exchange = async () => {
      local.tab().save(after);
      return server.tokens(ME);
    };
    const session = new Session({ store, clock, exchange });
    session.begin(server.tokens(ME));
    await clock.advance(900_000);
    await assert.rejects(session.accessToken(), SignedOutError, name);
    assert.equal(session.signedIn, false, name);
    assert.equal(store.load()?.user.id ?? null, left, name);
  }
});

test('the end of a session forgets no tokens of somebody else', async () => {
  const { clock, server, local } = world();
  const store = local.tab({ deaf: true });
  const session = new Session({ store, clock, exchange: () => {} });
  session.begin(server.tokens(ME));
  const other = local.tab();
  other.save({ ...store.load(), user: { id: BOB } });
  session.setUser({ id: ME, display_name: 'Me' });
  assert.equal(store.load().user.id, BOB, 'nor does a change of the profile replace them');
  session.end('expired');
  assert.equal(store.load().user.id, BOB);
});

test('a login that is answered after another tab signed in somebody else begins anew', async () => {
  const { server, clock } = world();
  const session = new Session({ store: memoryTokens(), clock, exchange: () => {} });
  const told = [];
  session.on('begun', ({ user }) => told.push(user.id));
  session.on('ended', ({ reason, user }) => told.push(`${reason} ${user.id}`));
  session.begin(server.tokens(ME));
  session.begin(server.tokens(BOB));
  assert.deepEqual(told, [ME, `elsewhere ${ME}`, BOB]);
});

// --- what is under way ------------------------------------------------------------------------------------------------

/** A fetch whose answers to `path` are read now and delivered when they are let go. */
function held(server, path) {
  let release;
  const gate = new Promise((resolve) => (release = resolve));
  const fetch = async (url, options) => {
    const answer = await server.fetch(url, options);
    if (new URL(url).pathname === path) await gate;
    return answer;
  };
  return { fetch, release: () => release() };
}

test('an answer to one user is not taken in once another is signed in', async () => {
  const { clock, server, open, signIn } = world();
  const { fetch, release } = held(server, '/chat-rooms');
  const chat = open({ fetch });
  await signIn(chat, ME); // the list of rooms is under way
  chat.session.end('expired');
  server.logs.clear(); // Bob has no rooms
  await signIn(chat, BOB);
  release();
  await clock.advance(0);
  assert.deepEqual(chat.rooms.list(), [], 'rooms of one are not listed for the other');
});

test('a call of one user is not repeated with the token of another', async () => {
  const { clock, server, open, signIn } = world();
  const chat = open();
  await signIn(chat, ME);
  const by = [];
  const path = `/messages/${ROOM}/1`;
  server.overrides.set(`PATCH ${path}`, ({ headers }) => {
    by.push(server.owner(headers.authorization.replace('Bearer ', '')));
    return { status: 503, body: { code: 'unavailable', status: 503 } };
  });
  const edit = assert.rejects(chat.api.editMessage(ROOM, 1, 'changed'), SignedOutError);
  await settle();
  chat.session.end('expired');
  await signIn(chat, BOB);
  await clock.advance(60_000);
  await edit;
  assert.deepEqual(by, [ME]);
});

test('who is signed out while another signs in does not end their session', async () => {
  const { clock, server, local, open, signIn } = world();
  let release;
  server.overrides.set('POST /auth/logout', () => ({ status: 204 }));
  const gate = new Promise((resolve) => (release = resolve));
  const fetch = async (url, options) => {
    if (new URL(url).pathname === '/auth/logout') await gate;
    return server.fetch(url, options);
  };
  const chat = open({ fetch });
  await signIn(chat, ME);
  const out = chat.logout();
  await settle();
  const other = open();
  await signIn(other, BOB); // and so this tab ends, …
  local.tab().save(local.tab().load()); // … and begins as Bob
  release();
  await out;
  await clock.advance(0);
  assert.equal(chat.me.id, BOB);
  assert.equal(local.tab().load().user.id, BOB);
});
