/** Forms with their errors where they belong: beside the field that the server named, or above the button. */

import { h } from './dom.js';
import { errorText } from './format.js';

let nextId = 1;

/**
 * @param {{name: string, label: string, hint?: string} & Record<string, any>} options everything else is an attribute of the
 *   input
 */
export function field({ name, label, hint, ...attributes }) {
  const id = `field-${(nextId += 1)}`;
  const error = h('p', { class: 'field-error', id: `${id}-error`, hidden: true });
  const note = hint ? h('p', { class: 'field-hint', id: `${id}-hint` }, hint) : null;
  const input = h('input', { id, name, class: 'input', autocapitalize: 'none', spellcheck: 'false', ...attributes });
  if (note) input.setAttribute('aria-describedby', note.id);
  input.addEventListener('input', () => show(null));

  function show(message) {
    error.hidden = !message;
    // The server's messages go on after the field's name: "is taken".
    error.textContent = message ? sentence(`${label.replace(/ \(.*\)$/, '')} ${message}`) : '';
    input.toggleAttribute('aria-invalid', Boolean(message));
    if (message) input.setAttribute('aria-invalid', 'true');
    const described = [note?.id, message ? error.id : null].filter(Boolean).join(' ');
    if (described) input.setAttribute('aria-describedby', described);
    else input.removeAttribute('aria-describedby');
  }

  return { name, input, show, node: h('div', { class: 'field' }, h('label', { for: id }, label), input, note, error) };
}

/**
 * A form that is busy while it is being sent.
 * @param {{fields: ReturnType<typeof field>[], button: string, submit: (values: Record<string, string>) => Promise<any>,
 *          done?: string, names?: Record<string, string>, className?: string, danger?: boolean}} options
 *   `done`: said after it worked; `names`: the server's field name -> ours, where they differ
 */
export function form({ fields, button, submit, done, names = {}, className = 'form' }) {
  const alert = h('p', { class: 'form-error', role: 'alert', hidden: true });
  const status = h('p', { class: 'form-done', role: 'status' });
  const go = h('button', { type: 'submit', class: 'button primary' }, button);
  const element = h('form', { class: className, novalidate: true }, fields.map((one) => one.node), alert, h('div', { class: 'form-end' }, go, status));

  element.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (go.disabled) return;
    fields.forEach((one) => one.show(null));
    alert.hidden = true;
    status.textContent = '';
    go.disabled = true;
    element.setAttribute('aria-busy', 'true');
    try {
      await submit(Object.fromEntries(fields.map((one) => [one.name, one.input.value])));
      if (done) status.textContent = done;
    } catch (error) {
      fail(error);
    } finally {
      go.disabled = false;
      element.removeAttribute('aria-busy');
    }
  });

  function fail(error) {
    let placed = null;
    const rest = [];
    for (const problem of error?.errors ?? []) {
      const name = names[problem.field] ?? problem.field;
      const one = fields.find((candidate) => candidate.name === name);
      if (one) {
        one.show(problem.message);
        placed ??= one;
      } else {
        rest.push(`${problem.field} ${problem.message}`);
      }
    }
    placed?.input.focus();
    if (placed && rest.length === 0) return;
    alert.hidden = false;
    alert.textContent = rest.length > 0 ? sentence(rest.join(', ')) : errorText(error);
  }

  return { element, fail };
}

/**
 * Runs what a button stands for: the button is busy meanwhile, and an error is shown in `place`.
 * @param {HTMLButtonElement} button
 * @param {HTMLElement} place
 * @param {() => Promise<any>} action
 */
export async function act(button, place, action) {
  if (button.disabled) return;
  button.disabled = true;
  place.textContent = '';
  place.hidden = true;
  try {
    await action();
  } catch (error) {
    place.textContent = errorText(error);
    place.hidden = false;
  } finally {
    button.disabled = false;
  }
}

/** Where {@link act} shows what went wrong. */
export const errorPlace = () => h('p', { class: 'row-error', role: 'alert', hidden: true });

function sentence(text) {
  const trimmed = text.trim();
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? '' : '.');
}
