import { h } from './dom.js';

/** A connection that comes up quickly is not worth a word. */
const PATIENCE_MS = 800;
const GOOD_NEWS_MS = 2_500;

/**
 * One line that says how the connection is, when there is something to say. The countdown is for the eyes only: read
 * aloud every second it would be a nuisance.
 * @param {import('../chatcore-client.js').ChatClient} chat
 */
export function stateBar(chat) {
  const text = h('span', { role: 'status', class: 'state-text' });
  const countdown = h('span', { class: 'state-countdown', 'aria-hidden': 'true' });
  const now = h('button', { type: 'button', class: 'link-button', hidden: true, on: { click: retry } }, 'Try now');
  const element = h('div', { class: 'state-bar', data: { state: 'hidden' } }, h('span', { class: 'state-dot' }), text, countdown, now);
  let timer;
  let ticking;
  let troubled = false;

  function retry() {
    if (chat.connection.phase === 'offline') chat.start();
    else chat.socket.nudge();
  }

  function show(state, message, { button = false } = {}) {
    clearTimeout(timer);
    clearInterval(ticking);
    element.dataset.state = state;
    if (text.textContent !== message) text.textContent = message;
    countdown.textContent = '';
    now.hidden = !button;
  }

  function draw() {
    const { phase, retryAt, again } = chat.connection;
    switch (phase) {
      case 'online':
        if (troubled) {
          show('good', 'Connected again');
          timer = setTimeout(() => show('hidden', ''), GOOD_NEWS_MS);
        } else {
          show('hidden', '');
        }
        troubled = false;
        return;
      case 'waiting':
        troubled = true;
        show('bad', navigator.onLine === false ? 'You are offline. Reconnecting…' : 'Connection lost. Reconnecting…', { button: true });
        tick(retryAt);
        ticking = setInterval(() => tick(retryAt), 1_000);
        return;
      case 'offline':
        troubled = true;
        show('bad', 'Disconnected', { button: true });
        return;
      default:
        if (troubled || again) {
          troubled = true;
          show('bad', 'Reconnecting…');
        } else {
          clearTimeout(timer);
          timer = setTimeout(() => show('busy', 'Connecting…'), PATIENCE_MS);
        }
    }
  }

  function tick(retryAt) {
    const seconds = Math.ceil((retryAt - Date.now()) / 1000);
    countdown.textContent = seconds > 1 ? `in ${seconds} s` : '';
  }

  const stop = chat.on('connection', draw);
  return {
    element,
    /** Says something else for a while. */
    say(message) {
      show('note', message);
      timer = setTimeout(() => (chat.connection.phase === 'online' ? show('hidden', '') : draw()), 5_000);
    },
    close() {
      stop();
      clearTimeout(timer);
      clearInterval(ticking);
    },
  };
}
