import { h } from './dom.js';
import { openDialog } from './dialog.js';
import { act, errorPlace, field, form } from './forms.js';
import { errorText, fullTime, since } from './format.js';

/** Profile, password, sessions. @param {import('../chatcore-client.js').ChatClient} chat */
export function settingsDialog(chat) {
  const { me } = chat;
  const profile = form({
    fields: [
      field({ name: 'display_name', label: 'Display name', value: me.display_name, autocomplete: 'name', autocapitalize: 'words' }),
      field({ name: 'email', label: 'E-mail', type: 'email', value: me.email ?? '', autocomplete: 'email' }),
    ],
    button: 'Save',
    done: 'Saved.',
    submit: async ({ display_name, email }) => {
      const change = { display_name };
      // Where the address could not be loaded the field is empty, and stays as it is.
      if (email !== (chat.me.email ?? '')) change.email = email.trim();
      const user = await chat.api.changeMe(change);
      chat.session.setUser(user);
      chat.people.absorb(user);
    },
  });

  const current = field({ name: 'current_password', label: 'Current password', type: 'password', autocomplete: 'current-password' });
  const fresh = field({ name: 'new_password', label: 'New password', type: 'password', autocomplete: 'new-password', hint: 'At least 8 characters. Every other session ends.' });
  const password = form({
    fields: [current, fresh],
    button: 'Change password',
    done: 'Changed.',
    submit: async ({ current_password, new_password }) => {
      await chat.api.changePassword(current_password, new_password);
      current.input.value = fresh.input.value = '';
      loadSessions();
    },
  });

  const sessions = h('ul', { class: 'session-list' });
  const sessionError = errorPlace();
  const leaveError = errorPlace();
  const leave = h('button', { type: 'button', class: 'button danger-text' }, 'Sign out');
  leave.addEventListener('click', () => act(leave, leaveError, () => chat.logout()));

  const dialog = openDialog(
    { title: 'Settings', className: 'wide' },
    h('section', {}, h('h3', {}, 'Profile'), h('p', { class: 'hint' }, `Your username is @${me.username}.`), profile.element),
    h('section', {}, h('h3', {}, 'Password'), password.element),
    h('section', {}, h('h3', {}, 'Sessions'), sessions, sessionError),
    h('section', { class: 'leave' }, leave, leaveError),
  );
  loadSessions();

  async function loadSessions() {
    try {
      const list = await chat.api.sessions();
      list.sort((a, b) => Number(b.current) - Number(a.current) || (a.last_used_at < b.last_used_at ? 1 : -1));
      sessions.replaceChildren(...list.map(sessionRow));
    } catch (error) {
      sessionError.hidden = false;
      sessionError.textContent = errorText(error);
    }
  }

  function sessionRow(session) {
    const name = session.device || 'Unknown device';
    const row = h(
      'li',
      { class: 'session' },
      h(
        'span',
        { class: 'session-text' },
        h('strong', {}, name),
        h('span', { class: 'handle', title: fullTime(session.created_at) }, session.current ? 'This session' : `Used ${since(session.last_used_at)}`),
      ),
    );
    if (!session.current) {
      const end = h('button', { type: 'button', class: 'button small', 'aria-label': `End the session ${name}` }, 'End');
      end.addEventListener('click', () =>
        act(end, sessionError, async () => {
          await chat.api.endSession(session.id);
          row.remove();
        }),
      );
      row.append(end);
    }
    return row;
  }
  return dialog;
}
