import { debounce, h, reconcile } from './dom.js';
import { confirmDialog, openDialog } from './dialog.js';
import { act, errorPlace, field, form } from './forms.js';
import { avatar, errorText, nameOf } from './format.js';
import { personDialog } from './person-dialog.js';

/**
 * @param {import('../chatcore-client.js').ChatClient} chat
 * @param {{openRoom: (id: string) => void}} app
 */
export function newGroupDialog(chat, app) {
  const picker = peoplePicker(chat, () => false);
  // One id for the whole dialog: pressing the button again after a lost answer gives the same group.
  const clientId = chat.newId();
  const create = form({
    fields: [field({ name: 'name', label: 'Name of the group', autocapitalize: 'sentences', autocomplete: 'off' })],
    button: 'Create group',
    submit: async ({ name }) => {
      const room = chat.rooms.add(await chat.api.groupRoom(name, picker.chosen(), clientId));
      dialog.close();
      app.openRoom(room.id);
    },
  });
  create.element.insertBefore(picker.element, create.element.lastChild);
  const dialog = openDialog({ title: 'New group' }, create.element);
}

/**
 * Everything about a group: its name, its members and their roles, adding, removing, leaving.
 * @param {import('../chatcore-client.js').ChatClient} chat
 * @param {import('../chatcore-client.js').Room} room
 * @param {{openRoom: (id: string) => void}} app
 */
export function groupDialog(chat, room, app) {
  const place = errorPlace();
  const members = h('ul', { class: 'people-list' });
  const count = h('h3', {});
  const stops = [
    chat.rooms.on('room', (changed) => changed === room && draw()),
    chat.people.on('people', draw),
    chat.rooms.on('gone', (gone) => gone.room === room && dialog.close()),
  ];
  const manager = room.summary.role !== 'member';
  const name = field({ name: 'name', label: 'Name', value: room.summary.name ?? '', autocapitalize: 'sentences', autocomplete: 'off' });
  const rename = form({
    fields: [name],
    button: 'Rename',
    done: 'Renamed.',
    className: 'form inline',
    submit: async (values) => void chat.rooms.add(await chat.api.renameRoom(room.id, values.name)),
  });
  const picker = peoplePicker(chat, (id) => room.members.has(id));
  const addError = errorPlace();
  const add = h('button', { type: 'button', class: 'button' }, 'Add to the group');
  add.addEventListener('click', () =>
    act(add, addError, async () => {
      const ids = picker.chosen();
      if (ids.length === 0) return;
      chat.rooms.add(await chat.api.addMembers(room.id, ids));
      picker.clear();
      await room.loadMembers();
    }),
  );
  const leave = h('button', { type: 'button', class: 'button danger-text', on: { click: askLeave } }, 'Leave the group');
  const dialog = openDialog(
    { title: room.summary.name ?? 'Group', className: 'wide', closed: () => stops.forEach((stop) => stop()) },
    manager ? h('section', {}, rename.element) : null,
    h('section', {}, count, members, place),
    manager ? h('section', {}, h('h3', {}, 'Add people'), picker.element, add, addError) : null,
    h('section', { class: 'leave' }, leave),
  );
  draw();
  room.loadMembers().catch((error) => {
    place.hidden = false;
    place.textContent = errorText(error);
  });

  function draw() {
    dialog.setTitle(room.summary.name ?? 'Group');
    count.textContent = `Members (${room.summary.member_count})`;
    const focused = members.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
    members.replaceChildren(...[...room.members.values()].map(memberRow));
    if (focused) members.querySelector(`[data-focus="${focused}"]`)?.focus();
    picker.draw();
  }

  function memberRow(member) {
    const { role } = room.summary;
    const user = chat.people.get(member.user.id) ?? member.user;
    const mine = user.id === chat.me?.id;
    const shown = nameOf(user);
    return h(
      'li',
      { class: 'person', data: { user: user.id } },
      h(
        'button',
        { type: 'button', class: 'person-who', data: { focus: `who-${user.id}` }, on: { click: () => personDialog(chat, app, user.id) } },
        avatar({ id: user.id, name: shown, status: user.presence?.status ?? null }),
        h('span', { class: 'person-name' }, h('strong', {}, mine ? `${shown} (you)` : shown), h('span', { class: 'handle' }, `@${user.username}`)),
      ),
      h('span', { class: 'person-actions' }, role === 'owner' ? roleSelect(member, shown) : h('span', { class: 'role' }, member.role), removeButton(member, shown, mine)),
    );
  }

  function roleSelect(member, shown) {
    const select = h(
      'select',
      { class: 'input small', 'aria-label': `Role of ${shown}`, data: { focus: `role-${member.user.id}` } },
      ['owner', 'admin', 'member'].map((role) => h('option', { value: role, selected: role === member.role }, role)),
    );
    select.addEventListener('change', async () => {
      place.hidden = true;
      select.disabled = true;
      try {
        chat.rooms.add(await chat.api.setRole(room.id, member.user.id, select.value));
        await room.loadMembers();
      } catch (error) {
        place.hidden = false;
        place.textContent = errorText(error);
        draw();
      }
    });
    return select;
  }

  function removeButton(member, shown, mine) {
    const { role } = room.summary;
    if (mine || !(role === 'owner' || (role === 'admin' && member.role === 'member'))) return null;
    const button = h('button', { type: 'button', class: 'button small', 'aria-label': `Remove ${shown}`, data: { focus: `remove-${member.user.id}` } }, 'Remove');
    button.addEventListener('click', () =>
      act(button, place, async () => {
        await chat.api.removeMember(room.id, member.user.id);
        await room.loadMembers();
      }),
    );
    return button;
  }

  function askLeave() {
    confirmDialog({
      title: `Leave “${room.summary.name}”?`,
      text: 'You will not see its messages any more. Somebody in the group can add you again.',
      button: 'Leave',
      action: () => chat.api.removeMember(room.id, chat.me.id),
    });
  }
}

/** Friends to tick, and others to be found by name. @param {(id: string) => boolean} excluded */
function peoplePicker(chat, excluded) {
  const chosen = new Map();
  const held = new Map();
  const search = h('input', { class: 'input', type: 'search', placeholder: 'Find others by name', 'aria-label': 'Find others by name', autocapitalize: 'none', spellcheck: 'false' });
  const list = h('ul', { class: 'pick-list' });
  const note = h('p', { class: 'hint', role: 'status' });
  const element = h('fieldset', { class: 'picker' }, h('legend', {}, 'People'), search, note, list);
  let found = [];
  let question = 0;
  // Enter in a search field must not send the form around it.
  search.addEventListener('keydown', (event) => event.key === 'Enter' && event.preventDefault());
  search.addEventListener('input', debounce(async () => {
    const q = search.value.trim();
    const mine = (question += 1);
    note.textContent = '';
    try {
      const users = [...q].length >= 2 ? await chat.people.find(q) : [];
      if (mine !== question) return;
      found = users;
      if ([...q].length >= 2 && users.length === 0) note.textContent = 'Nobody found.';
    } catch (error) {
      note.textContent = errorText(error);
    }
    draw();
  }, 200));

  function draw() {
    const q = search.value.trim().toLowerCase();
    const friends = [...chat.people.friends.values()].map((friendship) => chat.people.get(friendship.friend.id) ?? friendship.friend);
    const matching = friends.filter((user) => !q || `${user.username} ${user.display_name}`.toLowerCase().includes(q));
    const users = new Map([...chosen.values(), ...matching, ...found].map((user) => [user.id, user]));
    const rows = [...users.values()].filter((user) => user.id !== chat.me?.id && !excluded(user.id));
    reconcile(list, held, rows.map(row));
    if (rows.length === 0 && !q) note.textContent = 'Find people by username or display name.';
  }

  function row(user) {
    const name = nameOf(user);
    return { key: user.id, mark: JSON.stringify([name, chosen.has(user.id)]), make: () => choice(user, name) };
  }

  function choice(user, name) {
    const box = h('input', { type: 'checkbox', checked: chosen.has(user.id), data: { focus: 'box' } });
    box.addEventListener('change', () => {
      if (box.checked) chosen.set(user.id, user);
      else chosen.delete(user.id);
      draw();
    });
    return h('li', {}, h('label', { class: 'pick' }, box, avatar({ id: user.id, name, size: 'small' }), h('span', {}, name), h('span', { class: 'handle' }, `@${user.username}`)));
  }

  draw();
  return {
    element,
    draw,
    chosen: () => [...chosen.keys()],
    clear() {
      chosen.clear();
      found = [];
      search.value = '';
      draw();
    },
  };
}
