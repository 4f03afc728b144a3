import { h, iconButton } from './dom.js';
import { act, errorPlace } from './forms.js';

/**
 * A modal dialog. The browser's own keeps the focus inside, closes on Escape and gives the focus back.
 * @param {{title: string, className?: string, closed?: () => void}} options
 * @param {...any} children
 * @returns {{element: HTMLDialogElement, body: HTMLElement, close: () => void, setTitle: (title: string) => void}}
 */
export function openDialog({ title, className = '', closed }, ...children) {
  const heading = h('h2', { id: `dialog-${Math.random().toString(36).slice(2)}`, tabindex: '-1' }, title);
  const body = h('div', { class: 'dialog-body' }, children);
  const close = () => element.close();
  const element = h(
    'dialog',
    { class: `dialog ${className}`, 'aria-labelledby': heading.id },
    h('header', { class: 'dialog-head' }, heading, iconButton('close', 'Close', close)),
    body,
  );
  // A press that began inside (selecting text) and ended on the backdrop is not meant to close.
  let pressed = null;
  element.addEventListener('pointerdown', (event) => (pressed = event.target));
  element.addEventListener('click', (event) => {
    if (event.target === element && pressed === element) close();
  });
  element.addEventListener('close', () => {
    element.remove();
    closed?.();
  });
  document.body.append(element);
  element.showModal();
  const first = body.querySelector('[autofocus]') ?? body.querySelector('input, select, textarea');
  (first ?? heading).focus();
  return { element, body, close, setTitle: (text) => (heading.textContent = text) };
}

/**
 * Asks before something that cannot be taken back.
 * @param {{title: string, text: string, button: string, action: () => Promise<any>}} question
 */
export function confirmDialog({ title, text, button, action }) {
  const place = errorPlace();
  const go = h('button', { type: 'button', class: 'button danger', autofocus: true }, button);
  const dialog = openDialog(
    { title, className: 'small' },
    h('p', {}, text),
    place,
    h('div', { class: 'form-end' }, go, h('button', { type: 'button', class: 'button', on: { click: () => dialog.close() } }, 'Cancel')),
  );
  go.addEventListener('click', () =>
    act(go, place, async () => {
      await action();
      dialog.close();
    }),
  );
}
