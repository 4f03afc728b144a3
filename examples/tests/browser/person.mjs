// What a person does in a window, in the words of the page: roles, labels and texts, as they are seen.
import path from 'node:path';

export const PASSWORD = 'correct horse';

export class Person {
  constructor(name, page, url) {
    this.name = name;
    this.page = page;
    this.url = url;
  }

  static async arrive(browser, url, name, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: 'en-GB', ...options });
    const page = await context.newPage();
    const person = new Person(name, page, url);
    person.context = context;
    /** Defects of the page itself. A server that is away makes failed requests, and these are not meant. */
    person.defects = [];
    page.on('pageerror', (error) => person.defects.push(String(error?.stack ?? error)));
    page.on('console', (message) => {
      if (message.type() === 'error' && /content security policy|refused to/i.test(message.text())) person.defects.push(message.text());
    });
    await page.goto(url);
    return person;
  }

  // --- the way in ---

  async fillRegistration(username, displayName, email = `${username}@example.com`) {
    const { page } = this;
    await page.getByRole('tab', { name: 'Create account' }).click();
    const form = page.getByRole('tabpanel');
    await form.getByLabel('Username').fill(username);
    await form.getByLabel('Display name').fill(displayName);
    await form.getByLabel('E-mail').fill(email);
    await form.getByLabel('Password').fill(PASSWORD);
  }

  async register(username) {
    await this.fillRegistration(username, this.name);
    await this.page.getByRole('button', { name: 'Create account' }).click();
    await this.atHome();
  }

  async signIn(login, password = PASSWORD) {
    await this.page.getByLabel('Username or e-mail').fill(login);
    await this.page.getByLabel('Password').fill(password);
    await this.page.getByRole('button', { name: 'Sign in' }).click();
  }

  /** The lists are there, and the connection is. */
  async atHome() {
    await this.page.getByRole('button', { name: `${this.name}, settings` }).waitFor();
    await this.page.locator('.me .presence.online').waitFor({ state: 'attached' });
  }

  // --- people ---

  async tab(name) {
    await this.page.getByRole('tab', { name }).click();
  }

  async find(username) {
    await this.tab('People');
    await this.page.getByRole('searchbox', { name: 'Find people' }).fill(username);
    await this.section('Found').locator('.person').first().waitFor();
  }

  section(title) {
    return this.page.getByRole('region', { name: title, exact: true });
  }

  // --- rooms and messages ---

  roomRow(name) {
    return this.page.locator('.room-row', { has: this.page.locator('.room-name', { hasText: name }) });
  }

  async openRoom(name) {
    await this.tab('Chats');
    await this.roomRow(name).click();
    await this.page.locator('.room-title', { hasText: name }).waitFor();
  }

  get composer() {
    return this.page.getByRole('textbox', { name: 'Message', exact: true });
  }

  async send(text) {
    await this.composer.fill(text);
    await this.composer.press('Enter');
  }

  row(text) {
    return this.page.locator('.row:not(.pending)', { has: this.page.locator('.bubble > .text', { hasText: text }) });
  }

  async sees(text) {
    await this.row(text).first().waitFor();
  }

  /** Sends, and waits until the log has it. */
  async says(text) {
    await this.send(text);
    await this.sees(text);
  }

  async tool(text, name) {
    await this.row(text).locator('.bubble').hover();
    await this.row(text).getByRole('toolbar').getByRole('button', { name }).click();
  }

  async dialog(name) {
    const dialog = this.page.getByRole('dialog', { name, exact: true });
    await dialog.waitFor();
    return dialog;
  }

  async closeDialog() {
    await this.page.keyboard.press('Escape');
    await this.page.locator('dialog[open]').waitFor({ state: 'detached' });
  }

  // --- looks ---

  async shot(folder, name) {
    // Half-way through a fade everything is grey.
    await this.page.evaluate(() => Promise.allSettled(document.getAnimations().filter((one) => one.effect.getTiming().iterations !== Infinity).map((one) => one.finished)));
    await this.page.screenshot({ path: path.join(folder, `${name}.png`) });
  }
}
