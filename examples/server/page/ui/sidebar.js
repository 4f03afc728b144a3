import { drawSoon, h, iconButton, reconcile } from './dom.js';
import { avatar, fullTime, nameOf, presenceText, shortTime } from './format.js';
import { newGroupDialog } from './group-dialog.js';
import { peoplePanel } from './people.js';
import { roomName } from './rooms.js';
import { settingsDialog } from './settings.js';

/**
 * Who I am, my rooms, and the people.
 * @param {import('../chatcore-client.js').ChatClient} chat
 * @param {{openRoom: (id: string) => void, current: () => string|null}} app
 */
export function sidebar(chat, app) {
  const held = new Map();
  const list = h('ul', { class: 'room-list' });
  const none = h('p', { class: 'hint', hidden: true });
  const filter = h('input', { class: 'input', type: 'search', placeholder: 'Filter conversations', 'aria-label': 'Filter conversations', on: { input: () => draw() } });
  const me = h('button', { type: 'button', class: 'me', on: { click: () => settingsDialog(chat) } });
  const people = peoplePanel(chat, app);
  const badge = h('span', { class: 'badge', hidden: true });
  const panels = {
    chats: h('div', { class: 'side-panel', role: 'tabpanel', id: 'panel-chats', 'aria-labelledby': 'tab-chats' }, h('div', { class: 'side-search' }, filter), none, list),
    people: people.element,
  };
  const tabs = { chats: tab('chats', 'Chats'), people: tab('people', 'People', badge) };
  const element = h(
    'nav',
    { class: 'sidebar', 'aria-label': 'Conversations and people' },
    h(
      'header',
      { class: 'side-head' },
      me,
      iconButton('group', 'New group', () => newGroupDialog(chat, app)),
      iconButton('settings', 'Settings', () => settingsDialog(chat)),
    ),
    h('div', { class: 'segments', role: 'tablist', 'aria-label': 'Lists' }, Object.values(tabs)),
    Object.values(panels),
  );
  select('chats');

  function tab(name, label, extra) {
    return h(
      'button',
      {
        type: 'button', role: 'tab', class: 'segment', id: `tab-${name}`, 'aria-controls': `panel-${name}`,
        on: {
          click: () => select(name),
          keydown: (event) => {
            if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
            const other = name === 'chats' ? 'people' : 'chats';
            select(other);
            tabs[other].focus();
          },
        },
      },
      label,
      extra,
    );
  }

  function select(name) {
    for (const [key, button] of Object.entries(tabs)) {
      button.setAttribute('aria-selected', String(key === name));
      button.tabIndex = key === name ? 0 : -1;
      panels[key].hidden = key !== name;
    }
  }

  function draw() {
    drawMe();
    const waiting = chat.people.incoming.size;
    badge.hidden = waiting === 0;
    badge.textContent = String(waiting);
    badge.setAttribute('aria-label', `${waiting} waiting`);
    const wanted = filter.value.trim().toLowerCase();
    const rooms = chat.rooms.list().filter((room) => !wanted || roomName(chat, room).toLowerCase().includes(wanted));
    none.hidden = rooms.length > 0 || !chat.rooms.loaded;
    none.textContent = wanted ? 'Nothing found.' : 'No conversations yet. Find somebody under “People”, or create a group with “+”.';
    reconcile(list, held, rooms.map(roomRow));
  }

  function drawMe() {
    const user = chat.me;
    if (!user) return;
    const status = chat.connection.phase === 'online' ? 'online' : 'offline';
    const mark = JSON.stringify([user.display_name, user.username, status]);
    if (me.dataset.mark === mark) return;
    me.dataset.mark = mark;
    me.setAttribute('aria-label', `${nameOf(user)}, settings`);
    me.replaceChildren(
      avatar({ id: user.id, name: nameOf(user), status }),
      h('span', { class: 'me-name' }, h('strong', {}, nameOf(user)), h('span', { class: 'handle' }, `@${user.username}`)),
    );
  }

  function roomRow(room) {
    const { id, summary } = room;
    const name = roomName(chat, room);
    const current = app.current() === id;
    const typing = chat.typing.in(id);
    const status = summary.kind === 'direct' ? chat.people.status(summary.peer?.id) : null;
    const preview = typing.length > 0 ? 'typing…' : previewText(chat, summary);
    const { unread } = summary;
    const at = shortTime(summary.updated_at);
    return {
      key: id,
      mark: JSON.stringify([name, current, preview, typing.length, status, unread, at]),
      make: () =>
        h(
          'li',
          {},
          h(
            'a',
            { class: 'room-row', href: `#/room/${id}`, 'aria-current': current ? 'page' : null, data: { focus: 'room', room: id } },
            avatar({ id: summary.peer?.id ?? id, name, status }),
            h(
              'span',
              { class: 'room-text' },
              h('span', { class: 'room-name' }, name, status ? h('span', { class: 'visually-hidden' }, `, ${presenceText({ status })}`) : null),
              h('span', { class: typing.length > 0 ? 'room-preview is-typing' : 'room-preview' }, preview),
            ),
            h(
              'span',
              { class: 'room-side' },
              h('time', { datetime: summary.updated_at, title: fullTime(summary.updated_at) }, at),
              unread > 0 ? h('span', { class: 'badge', 'aria-label': `${unread} unread` }, unread > 99 ? '99+' : String(unread)) : null,
            ),
          ),
        ),
    };
  }

  const soon = drawSoon(draw);
  const stops = [
    chat.rooms.on('rooms', soon),
    chat.people.on('people', soon),
    chat.typing.on('typing', soon),
    chat.session.on('user', soon),
    chat.on('connection', soon),
  ];
  // "5 minutes ago" and "Today" grow old by themselves.
  const minute = setInterval(soon, 60_000);
  draw();

  return {
    element,
    draw: soon,
    focus: () => list.querySelector('a')?.focus(),
    close() {
      stops.forEach((stop) => stop());
      clearInterval(minute);
      people.close();
    },
  };
}

function previewText(chat, { kind, last_message: message }) {
  if (!message) return kind === 'group' ? 'New group' : 'Say hello';
  const text = message.deleted ? 'Message deleted' : message.body;
  if (message.type === 'system') return text;
  if (message.sender === chat.me?.id) return `You: ${text}`;
  return kind === 'group' ? `${nameOf(chat.people.get(message.sender))}: ${text}` : text;
}
