/** The few helpers that take the place of a framework. Text is only ever put in as text. */

/**
 * Makes an element: `h('button', { class: 'x', on: { click }, 'aria-label': 'Send' }, 'Send')`.
 * @param {string} tag
 * @param {Record<string, any>} [props] attributes; `on` are listeners, `data` is the dataset; `false`, `null` and
 *   `undefined` leave an attribute out
 * @param {...(Node|string|null|false|undefined|any[])} children
 * @returns {HTMLElement}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === false || value === null || value === undefined) continue;
    if (name === 'on') for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener);
    else if (name === 'data') Object.assign(element.dataset, value);
    else if (name === 'value') element.value = value;
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = 'http://www.w3.org/2000/svg';

/** @param {string} name of a symbol in index.html @returns {SVGElement} */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `#i-${name}`);
  svg.append(use);
  return svg;
}

/** A button that shows an icon and says what it does. */
export function iconButton(name, label, click, props = {}) {
  return h('button', { type: 'button', class: 'icon-button', 'aria-label': label, title: label, on: { click }, ...props }, icon(name));
}

/**
 * Draws once for however many changes come together. A hidden page gets no animation frames, but its title should
 * still count what is unread.
 * @param {() => void} draw
 * @returns {() => void} asks for a drawing
 */
export function drawSoon(draw) {
  let planned = false;
  const run = () => {
    planned = false;
    draw();
  };
  return () => {
    if (planned) return;
    planned = true;
    if (document.hidden) setTimeout(run, 0);
    else requestAnimationFrame(run);
  };
}

/**
 * Makes `parent` hold one node per row, keeping the nodes of rows that did not change, so that focus, selection and
 * scroll survive. Where a row that has the focus is made anew, the focus goes to the element with the same `data-focus`.
 * @template T
 * @param {HTMLElement} parent
 * @param {Map<string, {node: HTMLElement, mark: string}>} held the nodes of the last time; owned by the caller
 * @param {{key: string, mark: string, make: () => HTMLElement}[]} rows `mark`: whatever the look depends on
 */
export function reconcile(parent, held, rows) {
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  const keys = new Set(rows.map((row) => row.key));
  for (const [key, { node }] of held) {
    if (keys.has(key)) continue;
    node.remove();
    held.delete(key);
  }
  let previous = null;
  for (const { key, mark, make } of rows) {
    let entry = held.get(key);
    if (!entry || entry.mark !== mark) {
      const node = make();
      node.dataset.key = key;
      const hadFocus = entry && focused && entry.node.contains(focused);
      const focusName = hadFocus ? focused.dataset.focus : null;
      if (entry) {
        if (entry.node.hasAttribute('tabindex')) node.tabIndex = entry.node.tabIndex;
        entry.node.replaceWith(node);
      }
      entry = { node, mark };
      held.set(key, entry);
      if (hadFocus) (node.querySelector(`[data-focus="${CSS.escape(focusName ?? '')}"]`) ?? node).focus?.({ preventScroll: true });
    }
    const expected = previous ? previous.nextSibling : parent.firstChild;
    if (entry.node !== expected) parent.insertBefore(entry.node, expected);
    previous = entry.node;
  }
}

/** Says something to who cannot see it appear. @param {string} text */
export function announce(text) {
  document.getElementById('announcer').textContent = text;
}

/** @returns {() => void} ends it */
export function listen(target, type, listener, options) {
  target.addEventListener(type, listener, options);
  return () => target.removeEventListener(type, listener, options);
}

/** @param {(...args: any[]) => void} run @param {number} ms */
export function debounce(run, ms) {
  let timer;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...args), ms);
  };
}
