// The page in a real browser against the real server: two people, two windows.
//
//   CHATCORE_SERVER_BIN=…/server node --test browser.test.mjs
//
// CHROMIUM names the browser (default /usr/bin/chromium), ARTIFACTS the folder of the screenshots.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

import { PASSWORD, Person } from './person.mjs';
import { Account, Server } from './server.mjs';

const binary = process.env.CHATCORE_SERVER_BIN;
const folder = process.env.ARTIFACTS ?? path.join(path.dirname(fileURLToPath(import.meta.url)), 'artifacts');
const TIMEOUT_MS = 15_000;

let server;
let browser;
let ada;
let bob;
let script;

before(async () => {
  assert.ok(binary, 'CHATCORE_SERVER_BIN names the server to test');
  mkdirSync(folder, { recursive: true });
  server = new Server(binary);
  await server.start();
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'],
  });
  ada = await Person.arrive(browser, server.url, 'Ada Lovelace');
  bob = await Person.arrive(browser, server.url, 'Bob Noyce');
  for (const { page } of [ada, bob]) page.setDefaultTimeout(TIMEOUT_MS);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** A step that fails leaves a picture of both windows and the server's last words. */
function step(name, run) {
  return test(name, { timeout: 120_000 }, async (t) => {
    try {
      await run(t);
    } catch (error) {
      const file = name.replace(/[^a-z0-9]+/gi, '-').slice(0, 60);
      await ada?.shot(folder, `failed-${file}-ada`).catch(() => {});
      await bob?.shot(folder, `failed-${file}-bob`).catch(() => {});
      t.diagnostic(server?.log ?? '');
      // What one step left open must not fail all that follow.
      for (const person of [ada, bob]) await person?.page.evaluate(() => document.querySelectorAll('dialog[open]').forEach((one) => one.close()));
      throw error;
    }
  });
}

const count = (person, text) => person.row(text).count();

// --- the way in -------------------------------------------------------------------------------------------------------

step('both register and are signed in', async () => {
  await ada.shot(folder, 'sign-in-light');
  await ada.register('ada');
  await bob.register('bob');
});

step('a taken username is said beside its field, and a bad login in the form', async () => {
  const guest = await Person.arrive(browser, server.url, 'Guest');
  await guest.fillRegistration('ada', 'Another Ada', 'another@example.com');
  await guest.page.getByRole('button', { name: 'Create account' }).click();
  const username = guest.page.getByLabel('Username');
  await guest.page.locator('.field', { has: username }).locator('.field-error').waitFor();
  assert.equal(await username.getAttribute('aria-invalid'), 'true');
  assert.ok(await username.evaluate((input) => input === document.activeElement), 'the field has the focus');
  await guest.page.getByLabel('Password').fill('short');
  await username.fill('fine.name');
  await guest.page.getByRole('button', { name: 'Create account' }).click();
  await guest.page.locator('.field', { has: guest.page.getByLabel('Password') }).locator('.field-error').waitFor();
  await guest.shot(folder, 'register-errors-light');

  await guest.page.getByRole('tab', { name: 'Sign in' }).click();
  await guest.signIn('ada', 'not the password');
  await guest.page.getByRole('alert').filter({ hasText: /\S/ }).waitFor();
  await guest.context.close();
});

// --- people -----------------------------------------------------------------------------------------------------------

step('a request arrives live, can be taken back, refused, asked again and accepted', async () => {
  await ada.find('bob');
  await ada.section('Found').getByRole('button', { name: /^Add friend/ }).click();
  await bob.tab('People');
  await bob.section('Requests').getByRole('button', { name: /^Refuse/ }).waitFor();
  await ada.section('Asked').getByRole('button', { name: /^Take back/ }).click();
  await bob.section('Requests').waitFor({ state: 'hidden' });

  await ada.section('Found').getByRole('button', { name: /^Add friend/ }).click();
  await bob.section('Requests').getByRole('button', { name: /^Refuse/ }).click();
  await ada.section('Found').getByRole('button', { name: /^Add friend/ }).click();
  await bob.section('Requests').getByRole('button', { name: /^Accept/ }).click();
  await ada.section('Friends').locator('.person', { hasText: 'Bob Noyce' }).waitFor();
  await ada.section('Friends').locator('.presence.online').waitFor();
  await ada.shot(folder, 'people-light');
});

// --- a direct room ----------------------------------------------------------------------------------------------------

step('a direct room opens on both sides, and they talk live', async () => {
  await ada.section('Friends').getByRole('button', { name: /^Message/ }).click();
  await ada.says('Hello Bob, this is the first message.');
  await bob.tab('Chats');
  await bob.roomRow('Ada Lovelace').locator('.badge', { hasText: '1' }).waitFor();
  await bob.page.waitForFunction(() => document.title.startsWith('(1)'));
  await bob.openRoom('Ada Lovelace');
  await bob.sees('this is the first message');
  await bob.roomRow('Ada Lovelace').locator('.badge').waitFor({ state: 'detached' });
  await ada.page.locator('.seen', { hasText: 'Seen' }).waitFor();
  await bob.says('Hi Ada. Loud and clear.');
  await ada.sees('Loud and clear');
});

step('typing is shown, and ends with the message', async () => {
  await bob.composer.pressSequentially('I am thinking');
  await ada.page.locator('.typing-line', { hasText: 'Bob Noyce is typing' }).waitFor();
  await bob.composer.press('Enter');
  await ada.sees('I am thinking');
  await ada.page.locator('.typing-line', { hasText: 'typing' }).waitFor({ state: 'hidden' }).catch(() => {});
  assert.equal(await ada.page.locator('.typing-line').textContent(), '');
});

step('edit with the arrow up, seen by both', async () => {
  await ada.says('This has a tpyo');
  await ada.composer.press('ArrowUp');
  assert.equal(await ada.composer.inputValue(), 'This has a tpyo');
  await ada.composer.fill('This has no typo');
  await ada.composer.press('Enter');
  for (const person of [ada, bob]) await person.row('This has no typo').locator('.meta', { hasText: 'edited' }).waitFor();
  assert.equal(await count(ada, 'tpyo'), 0);
  assert.equal(await ada.composer.inputValue(), '');
});

step('reactions count, and are taken back', async () => {
  await bob.tool('This has no typo', 'React');
  await bob.page.getByRole('button', { name: '🎉', exact: true }).click();
  const chip = ada.row('This has no typo').locator('.chip[data-emoji="🎉"]');
  await chip.waitFor();
  await chip.click();
  await bob.row('This has no typo').locator('.chip[data-emoji="🎉"]', { hasText: '2' }).waitFor();
  await ada.row('This has no typo').locator('.chip[aria-pressed="true"]').click();
  await bob.row('This has no typo').locator('.chip[data-emoji="🎉"]', { hasText: '1' }).waitFor();
});

step('a reply quotes, and its quote leads back', async () => {
  await bob.tool('This has no typo', 'Reply');
  await bob.says('So it seems');
  const quote = ada.row('So it seems').locator('.quote');
  await quote.filter({ hasText: 'This has no typo' }).waitFor();
  await quote.click();
  await ada.page.waitForFunction(() => document.activeElement?.matches('.row') && document.activeElement.textContent.includes('This has no typo'));
});

step('a deletion leaves a tombstone on both sides', async () => {
  await ada.says('Regrettable');
  await bob.sees('Regrettable');
  await ada.tool('Regrettable', 'Delete');
  await (await ada.dialog(/Delete this message/)).getByRole('button', { name: 'Delete' }).click();
  await bob.page.locator('.tombstone').waitFor();
  await ada.page.locator('.tombstone').waitFor();
  assert.equal(await count(bob, 'Regrettable'), 0);
});

step('text is only ever text', async () => {
  await ada.says('<img src=x onerror="document.title=1"> & <b>bold</b>');
  await bob.sees('<b>bold</b>');
  assert.equal(await bob.page.locator('.text b, .text img').count(), 0);
  await bob.row('This has no typo').locator('.bubble').hover();
  await bob.shot(folder, 'conversation-rich-light');
});

// --- groups -----------------------------------------------------------------------------------------------------------

step('a group is made, renamed, its roles changed; one is removed, added, and leaves', async () => {
  await ada.page.getByRole('button', { name: 'New group' }).click();
  const create = await ada.dialog('New group');
  await create.getByRole('button', { name: 'Create group' }).click();
  await create.locator('.field-error').waitFor();
  await create.getByLabel('Name of the group').fill('Engines');
  await create.getByRole('checkbox', { name: /Bob Noyce/ }).check();
  await create.getByRole('button', { name: 'Create group' }).click();
  await ada.page.locator('.room-title', { hasText: 'Engines' }).waitFor();
  await bob.openRoom('Engines');
  await ada.says('Welcome to the engine room');
  await bob.sees('Welcome to the engine room');

  await ada.page.getByRole('button', { name: 'About this conversation' }).click();
  let about = await ada.dialog(/engines$/i);
  await about.getByLabel('Name', { exact: true }).fill('Analytical engines');
  await about.getByRole('button', { name: 'Rename' }).click();
  await bob.page.locator('.room-title', { hasText: 'Analytical engines' }).waitFor();
  await about.getByLabel('Role of Bob Noyce').selectOption('admin');
  await about.getByLabel('Role of Bob Noyce').and(ada.page.locator(':enabled')).waitFor();
  await about.getByLabel('Role of Ada Lovelace').selectOption('member');
  await about.getByRole('alert').filter({ hasText: /owner/ }).waitFor();
  await ada.shot(folder, 'group-dialog-light');

  await about.getByRole('button', { name: 'Remove Bob Noyce' }).click();
  await bob.page.locator('.state-text', { hasText: 'no longer in' }).waitFor();
  await bob.roomRow('Analytical engines').waitFor({ state: 'detached' });
  await about.getByRole('checkbox', { name: /Bob Noyce/ }).check();
  await about.getByRole('button', { name: 'Add to the group' }).click();
  await bob.openRoom('Analytical engines');
  await bob.sees('Welcome to the engine room');
  await ada.closeDialog();

  await bob.page.getByRole('button', { name: 'About this conversation' }).click();
  about = await bob.dialog('Analytical engines');
  await about.getByRole('button', { name: 'Leave the group' }).click();
  await (await bob.dialog(/^Leave/)).getByRole('button', { name: 'Leave', exact: true }).click();
  await bob.roomRow('Analytical engines').waitFor({ state: 'detached' });
});

// --- history ----------------------------------------------------------------------------------------------------------

step('scrolling back loads page after page and stays where one is', async () => {
  script = await new Account(server.url).login('bob', PASSWORD);
  const { items } = await script.call('GET', 'chat-rooms');
  script.room = items.find((room) => room.kind === 'direct').id;
  for (let i = 1; i <= 140; i += 1) await script.call('POST', `messages/${script.room}`, { body: `Story line ${i}.`, client_id: `story-${i}` });
  await ada.openRoom('Bob Noyce');
  await ada.page.reload();
  await ada.atHome();
  await ada.sees('Story line 140.');
  assert.equal(await count(ada, 'Story line 5.'), 0, 'one page at first');

  const scroller = ada.page.locator('.scroller');
  const loaded = () => ada.page.locator('.row').count();
  let rows = await loaded();
  const drifts = [];
  while ((await count(ada, 'Hello Bob, this is the first message.')) === 0) {
    // Half-way up the fetching begins; what is in sight must stay there when the page arrives.
    await scroller.evaluate((element) => (element.scrollTop = 120));
    const before = await scroller.evaluate(topRow);
    await ada.page.waitForFunction((had) => document.querySelectorAll('.row').length > had, rows);
    rows = await loaded();
    drifts.push(Math.abs((await scroller.evaluate(placeOf, before.key)) - before.at));
  }
  assert.ok(drifts.length >= 2, `several pages: ${drifts.length}`);
  assert.ok(Math.max(...drifts) <= 2, `what was in sight moved by ${drifts} px`);
  await ada.page.locator('.beginning', { hasText: 'beginning' }).waitFor();

  await ada.page.getByRole('button', { name: 'Jump to the newest message' }).click();
  await ada.page.waitForFunction(() => {
    const list = document.querySelector('.scroller');
    return list.scrollHeight - list.scrollTop - list.clientHeight < 4;
  });
});

// Runs in the page: the first row in sight and how far below the top of the list it stands.
function topRow(element) {
  const top = element.getBoundingClientRect().top;
  for (const row of element.querySelectorAll('.row')) {
    const { bottom, top: at } = row.getBoundingClientRect();
    if (bottom > top) return { key: row.dataset.key, at: at - top };
  }
  return null;
}

// Runs in the page: where that row stands now.
function placeOf(element, key) {
  const row = element.querySelector(`[data-key="${CSS.escape(key)}"]`);
  return row.getBoundingClientRect().top - element.getBoundingClientRect().top;
}

step('a reload stays signed in and in the room', async () => {
  await bob.openRoom('Ada Lovelace');
  await bob.page.reload();
  await bob.atHome();
  await bob.sees('Story line 140.');
  assert.match(bob.page.url(), /#\/room\//);
});

// --- the server goes away ---------------------------------------------------------------------------------------------

step('killed and started again: the page says so, resumes, and shows everything once', async () => {
  await server.kill();
  for (const { page } of [ada, bob]) await page.locator('.state-bar[data-state="bad"]', { hasText: 'Reconnecting' }).waitFor();
  await ada.shot(folder, 'reconnecting-light');
  await ada.send('Written while the server was away');
  await ada.page.locator('.pending', { hasText: 'Written while the server was away' }).waitFor();
  await server.start();
  for (let i = 1; i <= 3; i += 1) await script.call('POST', `messages/${script.room}`, { body: `Meanwhile ${i}.`, client_id: `meanwhile-${i}` });
  for (const person of [ada, bob]) {
    await person.page.locator('.state-bar[data-state="good"], .state-bar[data-state="hidden"]').waitFor({ state: 'attached' });
    for (const text of ['Meanwhile 1.', 'Meanwhile 2.', 'Meanwhile 3.', 'Written while the server was away']) await person.sees(text);
  }
  await ada.says('Back again');
  await bob.sees('Back again');
  for (const person of [ada, bob]) {
    for (const text of ['Meanwhile 1.', 'Meanwhile 2.', 'Meanwhile 3.', 'Written while the server was away', 'Back again']) {
      assert.equal(await count(person, text), 1, `${person.name}: ${text}`);
    }
  }
  assert.equal(await ada.page.locator('.pending').count(), 0);
});

// --- settings, blocks -------------------------------------------------------------------------------------------------

step('the profile changes live, a wrong password is said beside its field, a session can be ended', async () => {
  const second = await Person.arrive(browser, server.url, 'Bob Noyce');
  await second.signIn('bob');
  await second.atHome();

  await bob.page.getByRole('button', { name: 'Settings', exact: true }).click();
  const settings = await bob.dialog('Settings');
  await settings.getByLabel('Display name').fill('Robert Noyce');
  await settings.getByRole('button', { name: 'Save' }).click();
  bob.name = 'Robert Noyce';
  await ada.page.locator('.room-title', { hasText: 'Robert Noyce' }).waitFor();

  await settings.getByLabel('Current password').fill('wrong password');
  await settings.getByLabel('New password').fill('another horse');
  await settings.getByRole('button', { name: 'Change password' }).click();
  await settings.locator('.field', { has: bob.page.getByLabel('Current password') }).locator('.field-error').waitFor();
  await bob.shot(folder, 'settings-light');

  const others = settings.locator('.session').filter({ has: bob.page.getByRole('button', { name: /^End the session Chrome/ }) });
  while ((await others.count()) > 0) {
    const left = await others.count();
    await others.first().getByRole('button').click();
    await bob.page.waitForFunction((had) => document.querySelectorAll('.session button[aria-label*="Chrome"]').length < had, left);
  }
  await second.page.getByText('Your session has ended').waitFor();
  await second.context.close();
  await bob.closeDialog();
});

step('a block stops the direct room, and is undone', async () => {
  await ada.page.locator('.room-title').click();
  await (await ada.dialog('Robert Noyce')).getByRole('button', { name: 'Block' }).click();
  await (await ada.dialog(/^Block/)).getByRole('button', { name: 'Block' }).click();
  await (await ada.dialog('Robert Noyce')).getByRole('button', { name: 'Unblock' }).waitFor();
  await ada.closeDialog();
  await ada.page.locator('.blocked-note').waitFor();
  await bob.send('Do you hear me?');
  await bob.page.locator('.row.failed', { hasText: 'Not sent' }).waitFor();
  await ada.page.locator('.blocked-note').getByRole('button', { name: 'Unblock' }).click();
  await ada.page.locator('.blocked-note').waitFor({ state: 'hidden' });
  await bob.page.locator('.row.failed').getByRole('button', { name: 'Try again' }).click();
  await ada.sees('Do you hear me?');
});

// --- keyboard, looks --------------------------------------------------------------------------------------------------

step('sign in, open a room and send, with the keyboard alone', async () => {
  const guest = await Person.arrive(browser, server.url, 'Ada Lovelace');
  const { page } = guest;
  const { keyboard } = page;
  await page.waitForFunction(() => document.activeElement?.name === 'login');
  await keyboard.type('ada');
  await keyboard.press('Tab');
  await keyboard.type(PASSWORD);
  await keyboard.press('Enter');
  await guest.atHome();
  await guest.roomRow('Robert Noyce').waitFor();
  for (let i = 0; i < 20; i += 1) {
    await keyboard.press('Tab');
    if (await page.evaluate(() => document.activeElement?.matches('.room-row') && document.activeElement.textContent.includes('Robert Noyce'))) break;
  }
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.notEqual(outline, 'none', 'where the focus is can be seen');
  await keyboard.press('Enter');
  await page.waitForFunction(() => document.activeElement?.matches('textarea'));
  await keyboard.type('No mouse');
  await keyboard.press('Shift+Enter');
  await keyboard.type('was touched');
  await keyboard.press('Enter');
  await bob.sees('No mouse');
  const text = await bob.row('No mouse').locator('.text').textContent();
  assert.equal(text, 'No mouse\nwas touched');
  await guest.context.close();
});

for (const [size, viewport] of [['wide', { width: 1280, height: 800 }], ['narrow', { width: 390, height: 844 }]]) {
  for (const colorScheme of ['light', 'dark']) {
    step(`looks: ${size}, ${colorScheme}`, async () => {
      const touch = size === 'narrow' ? { hasTouch: true, isMobile: true } : {};
      const guest = await Person.arrive(browser, server.url, 'Ada Lovelace', { viewport, colorScheme, ...touch });
      const { page } = guest;
      const name = (what) => `${what}-${size}-${colorScheme}`;
      await guest.shot(folder, name('sign-in'));
      await guest.signIn('ada');
      await guest.atHome();
      await guest.roomRow('Robert Noyce').waitFor();
      await guest.shot(folder, name('rooms'));
      await guest.openRoom('Robert Noyce');
      await guest.sees('No mouse');
      await guest.shot(folder, name('conversation'));
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(overflow, 0, 'nothing sticks out to the side');
      if (size === 'narrow') {
        assert.equal(await page.locator('.sidebar').isVisible(), false, 'one pane at a time');
        await page.getByRole('button', { name: 'Back to the list' }).click();
        await page.locator('.sidebar').waitFor();
        assert.equal(await page.locator('.pane').isVisible(), false);
      }
      await page.getByRole('button', { name: 'Settings', exact: true }).click();
      await guest.dialog('Settings');
      await page.locator('.session').first().waitFor();
      await guest.shot(folder, name('settings'));
      await guest.closeDialog();
      await guest.tab('People');
      await guest.shot(folder, name('people'));
      assert.deepEqual(guest.defects, []);
      await guest.context.close();
    });
  }
}

step('the documentation renders, filters and follows its links', async () => {
  const reader = await Person.arrive(browser, new URL('docs', server.url).href, 'Reader');
  const { page } = reader;
  await page.locator('.operation').first().waitFor();
  await page.getByRole('searchbox').fill('/auth/login');
  await page.waitForFunction(() => [...document.querySelectorAll('.operation')].filter((one) => one.offsetParent).length === 1);
  await page.locator('.operation:visible summary').click();
  await page.locator('.operation:visible').getByText('password').first().waitFor();
  await reader.shot(folder, 'docs-light');
  await page.emulateMedia({ colorScheme: 'dark' });
  await page.getByRole('searchbox').fill('');
  await reader.shot(folder, 'docs-dark');
  assert.deepEqual(reader.defects, []);
  await reader.context.close();
});

step('what somebody has not sent is not there for the next who signs in on the same page', async () => {
  const window = await Person.arrive(browser, server.url, 'Ada Lovelace');
  const signedIn = async (login, name, peer) => {
    window.name = name;
    await window.signIn(login);
    await window.atHome();
    await window.openRoom(peer);
    return window.composer.inputValue();
  };
  const signOut = async () => {
    await window.page.getByRole('button', { name: 'Settings', exact: true }).click();
    await (await window.dialog('Settings')).getByRole('button', { name: 'Sign out' }).click();
    await window.page.getByRole('button', { name: 'Sign in' }).waitFor();
  };
  await signedIn('ada', 'Ada Lovelace', 'Robert Noyce');
  await window.composer.fill('Not meant for Bob yet');

  // Her session is ended from elsewhere; the newest but the one that ends it.
  const elsewhere = await new Account(server.url).login('ada', PASSWORD);
  const { items } = await elsewhere.call('GET', 'auth/sessions');
  await elsewhere.call('DELETE', `auth/sessions/${items.find((session) => !session.current).id}`);
  await window.page.getByText('Your session has ended').waitFor();

  assert.equal(await signedIn('bob', 'Robert Noyce', 'Ada Lovelace'), '', 'not for Bob');
  await signOut();
  assert.equal(await signedIn('ada', 'Ada Lovelace', 'Robert Noyce'), 'Not meant for Bob yet', 'still there for her');
  await signOut();
  assert.equal(await signedIn('ada', 'Ada Lovelace', 'Robert Noyce'), '', 'and gone once she has signed out');
  assert.deepEqual(window.defects, []);
  await window.context.close();
});

step('signing out leads back to the start, in every tab', async () => {
  const tab = await ada.context.newPage();
  await tab.goto(server.url);
  await tab.getByRole('button', { name: 'Ada Lovelace, settings' }).waitFor();
  await ada.page.getByRole('button', { name: 'Settings', exact: true }).click();
  await (await ada.dialog('Settings')).getByRole('button', { name: 'Sign out' }).click();
  await ada.page.getByRole('button', { name: 'Sign in' }).waitFor();
  await tab.getByRole('button', { name: 'Sign in' }).waitFor();
  assert.deepEqual([...ada.defects, ...bob.defects], []);
});
