// The real server as a child process: started on a port, killed, started again on the same port.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

const READY = /http:\/\/127\.0\.0\.1:(\d+)/;
const READY_WITHIN_MS = 30_000;

export class Server {
  #child = null;
  #dir = mkdtempSync(path.join(tmpdir(), 'chatcore-browser-'));
  #log = [];
  port = 0;

  constructor(binary) {
    this.binary = binary;
    // Also where the test run itself dies, nothing is left behind.
    process.on('exit', () => this.#end());
  }

  get url() {
    return `http://127.0.0.1:${this.port}/`;
  }

  async start() {
    const store = `sqlite:${path.join(this.#dir, 'chat.db')}`;
    const child = spawn(this.binary, ['--listen', `127.0.0.1:${this.port}`, '--store', store], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    this.port = await new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`not ready in time\n${this.log}`)), READY_WITHIN_MS);
      const failed = (why) => {
        clearTimeout(late);
        reject(new Error(`${why}\n${this.log}`));
      };
      let text = '';
      child.stdout.on('data', (chunk) => {
        this.#log.push(String(chunk));
        text += chunk;
        const ready = READY.exec(text);
        if (!ready) return;
        clearTimeout(late);
        resolve(Number(ready[1]));
      });
      child.stderr.on('data', (chunk) => this.#log.push(String(chunk)));
      child.once('error', (error) => failed(`cannot be started: ${error.message}`));
      child.once('exit', (code, signal) => failed(`ended with ${code ?? signal} before it was ready`));
    });
  }

  /** As a power cut would: no goodbye to anybody. */
  async kill() {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    process.kill(child.pid, 'SIGKILL');
    await ended;
  }

  /** The last of what it printed, for a failed run. */
  get log() {
    return this.#log.join('').split('\n').slice(-60).join('\n');
  }

  async stop() {
    await this.kill();
    this.#end();
  }

  #end() {
    const child = this.#child;
    if (child && child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

/** The REST side of somebody who has no window: fills rooms, and posts while the windows are away. */
export class Account {
  #url;
  #token = null;

  constructor(url) {
    this.#url = url;
  }

  async login(login, password) {
    const tokens = await this.call('POST', 'auth/login', { login, password, device: 'A script' });
    this.#token = tokens.access_token;
    this.user = tokens.user;
    return this;
  }

  async call(method, route, body) {
    for (;;) {
      const response = await fetch(new URL(route, this.#url), {
        method,
        headers: { 'content-type': 'application/json', ...(this.#token ? { authorization: `Bearer ${this.#token}` } : {}) },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
      if (response.status === 429) {
        // The server says how long: this is its own pace, not a guess of ours.
        await new Promise((resolve) => setTimeout(resolve, 1000 * Number(response.headers.get('retry-after') ?? 1)));
        continue;
      }
      const text = await response.text();
      if (!response.ok) throw new Error(`${method} ${route}: ${response.status} ${text}`);
      return text ? JSON.parse(text) : null;
    }
  }
}
