import { h } from './dom.js';
import { confirmDialog, openDialog } from './dialog.js';
import { act, errorPlace } from './forms.js';
import { avatar, nameOf, presenceText } from './format.js';
import { openDirect } from './rooms.js';

/**
 * One person, and everything that can be done about them.
 * @param {import('../chatcore-client.js').ChatClient} chat
 * @param {{openRoom: (id: string) => void}} app
 * @param {string} id
 */
export function personDialog(chat, app, id) {
  const place = errorPlace();
  const head = h('div', { class: 'profile' });
  const actions = h('div', { class: 'profile-actions' });
  const stop = chat.people.on('people', draw);
  const dialog = openDialog({ title: 'Person', className: 'small', closed: stop }, head, actions, place);
  draw();
  // The lists may not hold this person's presence yet.
  chat.api.user(id).then(
    ({ friendship, blocked, ...user }) => {
      chat.people.absorb(user);
      draw();
    },
    () => {},
  );

  function draw() {
    const user = chat.people.get(id);
    const { is, friendship, blocked } = chat.people.relation(id);
    const name = nameOf(user);
    dialog.setTitle(name);
    head.replaceChildren(
      avatar({ id, name, size: 'large', status: is === 'me' ? null : user?.presence?.status }),
      h('div', {}, h('p', { class: 'handle' }, `@${user?.username ?? ''}`), h('p', { class: 'profile-presence' }, is === 'me' ? 'That is you' : presenceText(user?.presence))),
    );
    const focused = actions.contains(document.activeElement);
    actions.replaceChildren(...(is === 'me' ? [] : buttons(is, friendship, blocked, name)));
    if (focused) actions.querySelector('button')?.focus();
  }

  function buttons(is, friendship, blocked, name) {
    const { people } = chat;
    const list = [];
    if (!blocked) {
      list.push(button('Message', 'primary', async () => {
        await openDirect(chat, app, id);
        dialog.close();
      }));
      if (is === 'none') list.push(button('Add friend', '', () => people.ask(id)));
      if (is === 'outgoing') list.push(button('Take request back', '', () => people.remove(friendship.id)));
      if (is === 'incoming') {
        list.push(button('Accept request', '', () => people.answer(friendship.id, 'accepted')));
        list.push(button('Refuse', '', () => people.answer(friendship.id, 'rejected')));
      }
      if (is === 'friend') list.push(button('Unfriend', '', () => people.remove(friendship.id)));
      list.push(
        h('button', {
          type: 'button', class: 'button danger-text',
          on: {
            click: () =>
              confirmDialog({
                title: `Block ${name}?`,
                text: 'You will not get requests or direct messages from each other, and they will not see when you are online. A friendship ends.',
                button: 'Block',
                action: () => people.block(id, true),
              }),
          },
        }, 'Block'),
      );
    } else {
      list.push(button('Unblock', '', () => people.block(id, false)));
    }
    return list;
  }

  function button(label, kind, run) {
    const one = h('button', { type: 'button', class: `button ${kind}` }, label);
    one.addEventListener('click', () => act(one, place, run));
    return one;
  }
}
