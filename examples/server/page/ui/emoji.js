import { h } from './dom.js';

const COMMON = ['👍', '❤️', '😂', '🎉', '😮', '😢', '🙏', '🔥', '👀', '✅', '❌', '💯', '🤔', '😅', '😍', '😎', '👏', '🙌', '💪', '🚀', '☕', '🍀', '🌞', '👎'];
const COLUMNS = 6;

/**
 * A small palette beside a button. Arrow keys move, Enter takes, Escape closes.
 * @param {HTMLElement} anchor
 * @returns {Promise<string|null>} the emoji, `null` where none was taken
 */
export function pickEmoji(anchor) {
  return new Promise((resolve) => {
    let taken = null;
    const take = (emoji) => {
      taken = emoji;
      element.hidePopover();
    };
    const buttons = COMMON.map((emoji, at) =>
      h('button', { type: 'button', class: 'emoji-button', 'aria-label': emoji, tabindex: at === 0 ? '0' : '-1', on: { click: () => take(emoji) } }, emoji),
    );
    const other = h('input', { class: 'input small', placeholder: 'Another emoji', 'aria-label': 'Another emoji', maxlength: '16', autocomplete: 'off' });
    other.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && other.value.trim()) take(other.value.trim());
      event.stopPropagation();
    });
    const grid = h('div', { class: 'emoji-grid', on: { keydown: move } }, buttons);
    const element = h('div', { class: 'emoji-panel', popover: 'auto', role: 'dialog', 'aria-label': 'React with' }, grid, other);

    function move(event) {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -COLUMNS, ArrowDown: COLUMNS }[event.key];
      const at = buttons.indexOf(document.activeElement);
      const next = buttons[at + step];
      if (!step || !next) return;
      event.preventDefault();
      buttons.forEach((button) => (button.tabIndex = button === next ? 0 : -1));
      next.focus();
    }

    element.addEventListener('toggle', (event) => {
      if (event.newState !== 'closed') return;
      element.remove();
      resolve(taken);
    });
    document.body.append(element);
    element.showPopover();
    place(element, anchor.getBoundingClientRect());
    buttons[0].focus();
  });
}

/** Above the button where there is room, and always inside the window. */
function place(element, beside) {
  const { width, height } = element.getBoundingClientRect();
  const left = Math.max(8, Math.min(beside.left, innerWidth - width - 8));
  const above = beside.top - height - 8;
  element.style.left = `${left}px`;
  element.style.top = `${above >= 8 ? above : Math.min(beside.bottom + 8, innerHeight - height - 8)}px`;
}
