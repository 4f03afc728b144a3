import { drawSoon, h, listen } from './dom.js';
import { conversationView } from './conversation.js';
import { sidebar } from './sidebar.js';
import { stateBar } from './state-bar.js';

/** Whoever neither types nor moves for so long is shown as away. */
const IDLE_MS = 5 * 60_000;

/**
 * What somebody who is signed in sees: the lists, and one conversation. Which one stands in the address
 * (`#/room/<id>`), so that Back works on a phone and a reload opens the same room.
 * @param {import('../chatcore-client.js').ChatClient} chat
 * @returns {{element: HTMLElement, close: () => void}}
 */
export function openShell(chat) {
  const stops = [];
  const bar = stateBar(chat);
  const side = sidebar(chat, { openRoom, current: () => open?.room.id ?? null });
  const pane = h('main', { class: 'pane', 'aria-label': 'Conversation' });
  const element = h('div', { class: 'shell', data: { pane: 'list' } }, bar.element, side.element, pane);
  let open = null;
  let shown = null;

  function openRoom(id) {
    location.hash = `#/room/${id}`;
  }

  function route() {
    const id = /^#\/room\/([0-9a-f-]+)$/.exec(location.hash)?.[1];
    const room = id ? chat.rooms.get(id) : null;
    const wanted = room ?? (id && !chat.rooms.loaded ? 'loading' : 'nothing');
    if (wanted === shown) return;
    shown = wanted;
    open?.close();
    open = null;
    // On a narrow screen there is one pane at a time.
    element.dataset.pane = wanted === 'nothing' ? 'list' : 'room';
    if (room) {
      open = conversationView(chat, room, { back, openRoom });
      pane.replaceChildren(open.element);
      open.shown();
    } else if (wanted === 'loading') {
      pane.replaceChildren(h('div', { class: 'empty' }, h('span', { class: 'spinner', role: 'status', 'aria-label': 'Loading' })));
    } else {
      if (id) history.replaceState(null, '', '#/');
      pane.replaceChildren(emptyPane());
    }
    side.draw();
  }

  function back() {
    location.hash = '#/';
    side.focus();
  }

  const drawTitle = drawSoon(() => {
    const unread = chat.rooms.list().reduce((sum, room) => sum + room.summary.unread, 0);
    document.title = unread > 0 ? `(${unread > 99 ? '99+' : unread}) chatcore` : 'chatcore';
  });

  stops.push(
    listen(window, 'hashchange', route),
    chat.rooms.on('rooms', drawTitle),
    chat.rooms.on('rooms', drawSoon(route)),
    chat.rooms.on('gone', ({ room }) => {
      if (open?.room === room) bar.say(`You are no longer in “${room.summary.name ?? 'this conversation'}”.`);
    }),
    watchIdle(chat),
  );
  route();

  return {
    element,
    close() {
      open?.close();
      open = null;
      stops.forEach((stop) => stop());
      bar.close();
      side.close();
    },
  };
}

function emptyPane() {
  return h(
    'div',
    { class: 'empty' },
    h('p', { class: 'empty-title' }, 'No conversation open'),
    h('p', {}, 'Choose one from the list, or find somebody under “People”.'),
  );
}

function watchIdle(chat) {
  let timer;
  const alive = () => {
    clearTimeout(timer);
    if (document.hidden) return;
    chat.setPresence('online');
    timer = setTimeout(away, IDLE_MS);
  };
  const away = () => chat.setPresence('away');
  const visibility = () => {
    if (!document.hidden) return alive();
    clearTimeout(timer);
    timer = setTimeout(away, IDLE_MS);
    return undefined;
  };
  const stops = [
    ...['pointerdown', 'pointermove', 'keydown'].map((type) => listen(document, type, alive, { passive: true })),
    listen(document, 'visibilitychange', visibility),
    () => clearTimeout(timer),
  ];
  alive();
  return () => stops.forEach((stop) => stop());
}
