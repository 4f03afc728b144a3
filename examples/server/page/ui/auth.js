import { h } from './dom.js';
import { field, form } from './forms.js';

/**
 * The way in: sign in, or create an account.
 * @param {import('../chatcore-client.js').ChatClient} chat
 * @param {string} [notice] why the person sees this page, e.g. that the session has ended
 * @returns {HTMLElement}
 */
export function authView(chat, notice) {
  const panel = h('div', { class: 'auth-panel' });
  const tabs = {
    'sign-in': tab('sign-in', 'Sign in'),
    register: tab('register', 'Create account'),
  };
  const view = h(
    'main',
    { class: 'auth' },
    h(
      'div',
      { class: 'auth-card' },
      h('h1', { class: 'brand' }, h('span', { class: 'brand-mark', 'aria-hidden': 'true' }), 'chatcore'),
      notice ? h('p', { class: 'notice', role: 'status' }, notice) : null,
      h('div', { class: 'segments', role: 'tablist', 'aria-label': 'Sign in or create an account' }, Object.values(tabs)),
      panel,
    ),
  );
  show('sign-in');
  return view;

  function tab(name, label) {
    return h(
      'button',
      { type: 'button', role: 'tab', class: 'segment', id: `tab-${name}`, on: { click: () => show(name), keydown: arrows } },
      label,
    );
  }

  function arrows(event) {
    if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
    const other = event.currentTarget === tabs.register ? 'sign-in' : 'register';
    show(other, false);
    tabs[other].focus();
  }

  function show(name, focus = true) {
    for (const [key, button] of Object.entries(tabs)) {
      button.setAttribute('aria-selected', String(key === name));
      button.tabIndex = key === name ? 0 : -1;
    }
    const { element } = name === 'register' ? registerForm(chat) : signInForm(chat);
    element.setAttribute('role', 'tabpanel');
    element.setAttribute('aria-labelledby', `tab-${name}`);
    panel.replaceChildren(element);
    if (focus) queueMicrotask(() => element.querySelector('input').focus());
  }
}

function signInForm(chat) {
  return form({
    fields: [
      field({ name: 'login', label: 'Username or e-mail', autocomplete: 'username', required: true }),
      field({ name: 'password', label: 'Password', type: 'password', autocomplete: 'current-password', required: true }),
    ],
    button: 'Sign in',
    submit: ({ login, password }) => chat.login({ login: login.trim(), password, device: deviceName() }),
  });
}

function registerForm(chat) {
  return form({
    fields: [
      field({ name: 'username', label: 'Username', autocomplete: 'username', required: true, hint: '3 to 32 of a–z, 0–9, “_” and “.”, beginning with a letter' }),
      field({ name: 'display_name', label: 'Display name (optional)', autocomplete: 'name', autocapitalize: 'words' }),
      field({ name: 'email', label: 'E-mail', type: 'email', autocomplete: 'email', required: true }),
      field({ name: 'password', label: 'Password', type: 'password', autocomplete: 'new-password', required: true, hint: 'At least 8 characters' }),
    ],
    button: 'Create account',
    submit: ({ username, display_name, email, password }) => {
      const account = { username: username.trim(), email: email.trim(), password };
      if (display_name.trim()) account.display_name = display_name.trim();
      return chat.register(account, deviceName());
    },
  });
}

/** What the list of sessions will call this one. */
function deviceName() {
  const agent = navigator.userAgent;
  const browser = [['Edg/', 'Edge'], ['Firefox/', 'Firefox'], ['Chrome/', 'Chrome'], ['Safari/', 'Safari']].find(([mark]) => agent.includes(mark));
  const system = [['Android', 'Android'], ['iPhone', 'iPhone'], ['iPad', 'iPad'], ['Windows', 'Windows'], ['Mac OS', 'macOS'], ['Linux', 'Linux']].find(
    ([mark]) => agent.includes(mark),
  );
  return [browser?.[1] ?? 'Browser', system?.[1]].filter(Boolean).join(' on ');
}
