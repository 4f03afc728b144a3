import { ChatClient, webOutbox, webTokens } from './chatcore-client.js';
import { authView } from './ui/auth.js';
import { openShell } from './ui/shell.js';

/** Everything stands under the page's own folder, so that it works below any prefix. */
const base = new URL('.', document.baseURI).href;
const prefix = new URL(base).pathname;

const chat = new ChatClient({
  base,
  // Keys carry the prefix: two servers behind one host must not share tokens.
  tokens: webTokens(localStorage, `chatcore.tokens ${prefix}`),
  drafts: webOutbox(sessionStorage, `chatcore.outbox ${prefix}`),
});

const root = document.getElementById('app');
let shell = null;

function showAuth(notice) {
  shell?.close();
  shell = null;
  document.querySelectorAll('dialog[open]').forEach((dialog) => dialog.close());
  document.title = 'chatcore';
  root.replaceChildren(authView(chat, notice));
}

function showShell() {
  shell?.close();
  shell = openShell(chat);
  root.replaceChildren(shell.element);
  chat.start();
}

const NOTICES = {
  logout: undefined,
  expired: 'Your session has ended. Please sign in again.',
  elsewhere: 'You signed out in another tab.',
};

chat.session.on('begun', showShell);
chat.session.on('ended', ({ reason }) => {
  history.replaceState(null, '', '#/');
  showAuth(NOTICES[reason]);
});

// A sleeping laptop or a changed network: do not wait for the next attempt, or for the silence to be noticed.
addEventListener('online', () => chat.socket.nudge());
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) chat.socket.nudge();
});

if (chat.session.signedIn) showShell();
else showAuth();
