import { debounce, drawSoon, h, reconcile } from './dom.js';
import { act, errorPlace } from './forms.js';
import { avatar, errorText, nameOf, presenceText } from './format.js';
import { personDialog } from './person-dialog.js';
import { openDirect } from './rooms.js';

/**
 * Finding people, requests, friends, and who is blocked.
 * @param {import('../chatcore-client.js').ChatClient} chat
 * @param {{openRoom: (id: string) => void}} app
 */
export function peoplePanel(chat, app) {
  const search = h('input', { class: 'input', type: 'search', placeholder: 'Find people by name', 'aria-label': 'Find people', autocapitalize: 'none', spellcheck: 'false' });
  const searchNote = h('p', { class: 'hint', role: 'status' });
  const sections = {
    found: section('Found'),
    incoming: section('Requests'),
    friends: section('Friends'),
    outgoing: section('Asked'),
    blocked: section('Blocked'),
  };
  const none = h('p', { class: 'hint' }, 'No friends yet. Look for somebody by username or display name.');
  const element = h(
    'div',
    { class: 'side-panel', role: 'tabpanel', id: 'panel-people', 'aria-labelledby': 'tab-people' },
    h('div', { class: 'side-search' }, search),
    searchNote,
    none,
    Object.values(sections).map((one) => one.element),
  );
  let found = [];
  let question = 0;

  const find = debounce(async () => {
    const q = search.value.trim();
    const mine = (question += 1);
    found = [];
    searchNote.textContent = '';
    if ([...q].length >= 2) {
      try {
        const users = await chat.people.find(q);
        if (mine !== question) return; // overtaken by the next letter
        found = users.filter((user) => user.id !== chat.me?.id);
        if (found.length === 0) searchNote.textContent = 'Nobody found.';
      } catch (error) {
        if (mine === question) searchNote.textContent = errorText(error);
      }
    } else if (q) {
      searchNote.textContent = 'Two letters at least.';
    }
    draw();
  }, 200);
  search.addEventListener('input', find);

  function draw() {
    const { people } = chat;
    const friendsOf = (map) => [...map.values()].map((friendship) => friendship.friend);
    sections.found.draw(found);
    sections.incoming.draw(friendsOf(people.incoming));
    sections.friends.draw(friendsOf(people.friends));
    sections.outgoing.draw(friendsOf(people.outgoing));
    sections.blocked.draw([...people.blocked.values()]);
    none.hidden = people.friends.size + people.incoming.size + people.outgoing.size + found.length > 0;
  }

  function section(title) {
    const held = new Map();
    const list = h('ul', { class: 'people-list' });
    const heading = h('h3', { class: 'section-title' }, title);
    const box = h('section', { 'aria-label': title, hidden: true }, heading, list);
    return {
      element: box,
      draw(users) {
        box.hidden = users.length === 0;
        reconcile(list, held, users.map((user) => personRow(chat, app, chat.people.get(user.id) ?? user)));
      },
    };
  }

  const soon = drawSoon(draw);
  const stop = chat.people.on('people', soon);
  draw();
  return { element, close: stop };
}

function personRow(chat, app, user) {
  const { is, friendship, blocked } = chat.people.relation(user.id);
  const { id, display_name, username, presence } = user;
  return {
    key: id,
    mark: JSON.stringify([display_name, username, presence?.status, is, friendship?.id, blocked]),
    make() {
      const place = errorPlace();
      const name = nameOf(user);
      const action = (label, what, run, kind = '') => {
        const button = h('button', { type: 'button', class: `button small ${kind}`, 'aria-label': `${label}: ${name}`, data: { focus: what } }, label);
        button.addEventListener('click', () => act(button, place, run));
        return button;
      };
      const actions = {
        friend: () => [action('Message', 'message', () => openDirect(chat, app, id), 'primary')],
        incoming: () => [
          action('Accept', 'accept', () => chat.people.answer(friendship.id, 'accepted'), 'primary'),
          action('Refuse', 'refuse', () => chat.people.answer(friendship.id, 'rejected')),
        ],
        outgoing: () => [action('Take back', 'take-back', () => chat.people.remove(friendship.id))],
        none: () => [action('Add friend', 'ask', () => chat.people.ask(id), 'primary')],
        me: () => [],
      };
      const buttons = blocked ? [action('Unblock', 'unblock', () => chat.people.block(id, false))] : actions[is]();
      return h(
        'li',
        { class: 'person', data: { user: id } },
        h(
          'button',
          { type: 'button', class: 'person-who', data: { focus: 'who' }, 'aria-haspopup': 'dialog', on: { click: () => personDialog(chat, app, id) } },
          avatar({ id, name, status: is === 'friend' ? (presence?.status ?? 'offline') : null }),
          h(
            'span',
            { class: 'person-name' },
            h('strong', {}, name),
            h('span', { class: 'handle' }, `@${username}`),
            is === 'friend' ? h('span', { class: 'visually-hidden' }, presenceText(presence)) : null,
          ),
        ),
        h('span', { class: 'person-actions' }, buttons),
        place,
      );
    },
  };
}
