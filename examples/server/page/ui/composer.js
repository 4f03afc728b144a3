import { h, icon, iconButton } from './dom.js';
import { errorText, nameOf } from './format.js';

const MAX_CHARACTERS = 4_000;
const SHOW_COUNT_FROM = 3_500;
const MAX_HEIGHT_PX = 220;

/**
 * Where a message is written, answered or changed. Enter sends, Shift+Enter begins a line, the arrow up in an empty field
 * changes my last message, Escape ends an answer or a change.
 * @param {import('../chatcore-client.js').ChatClient} chat
 * @param {import('../chatcore-client.js').Room} room
 * @param {{lastOwn: () => object|null, sent: () => void, leave: () => void}} around
 */
export function composer(chat, room, around) {
  const input = h('textarea', {
    class: 'write', rows: '1', placeholder: 'Write a message', 'aria-label': 'Message', enterkeyhint: 'send', autocomplete: 'off',
    on: { input: typed, keydown: key, blur: () => chat.typing.stopped() },
  });
  const send = iconButton('send', 'Send', submit, { class: 'send-button' });
  const error = h('p', { class: 'compose-error', role: 'alert', hidden: true });
  const count = h('span', { class: 'compose-count', 'aria-live': 'polite' });
  const mode = h('div', { class: 'compose-mode', hidden: true });
  const element = h('div', { class: 'composer' }, mode, error, h('div', { class: 'compose-line' }, input, count, send));
  // When this is closed the session may have ended: what is kept then is still theirs who wrote it.
  const me = chat.me.id;
  let replyTo = null;
  let editing = null;

  const kept = chat.unfinished.get(me, room.id);
  if (kept) {
    input.value = kept.text;
    if (kept.replyTo) reply(kept.replyTo);
  }
  queueMicrotask(fit);

  function typed() {
    fit();
    fail(null);
    if (editing) return;
    if (input.value.trim()) chat.typing.pressed(room.id);
    else chat.typing.stopped();
  }

  function fit() {
    input.style.height = 'auto';
    input.style.height = `${Math.min(input.scrollHeight, MAX_HEIGHT_PX)}px`;
    const length = [...input.value].length;
    count.textContent = length >= SHOW_COUNT_FROM ? `${MAX_CHARACTERS - length}` : '';
    count.classList.toggle('over', length > MAX_CHARACTERS);
    send.disabled = bodyOf(input.value) === '' || length > MAX_CHARACTERS;
  }

  function key(event) {
    // While an input method composes, Enter belongs to it.
    if (event.isComposing) return;
    if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      submit();
    } else if (event.key === 'ArrowUp' && input.value === '') {
      const last = around.lastOwn();
      if (!last) return;
      event.preventDefault();
      edit(last);
    } else if (event.key === 'Escape') {
      if (editing || replyTo) cancel();
      else around.leave();
    }
  }

  async function submit() {
    const body = bodyOf(input.value);
    if (body === '') return undefined;
    if ([...body].length > MAX_CHARACTERS) return fail(`A message has at most ${MAX_CHARACTERS} characters.`);
    if (editing) return change(body);
    chat.outbox.send(room.id, body, replyTo?.seq ?? null);
    chat.typing.stopped({ tell: false });
    replyTo = null;
    reset();
    around.sent();
    return undefined;
  }

  async function change(body) {
    const message = editing;
    if (body === message.body) return cancel();
    send.disabled = true;
    try {
      room.timeline.refresh(await chat.api.editMessage(room.id, message.seq, body));
      if (editing === message) cancel();
    } catch (problem) {
      fail(problem.field?.('body') ?? errorText(problem));
    } finally {
      fit();
    }
    return undefined;
  }

  function fail(text) {
    error.hidden = !text;
    error.textContent = text ?? '';
  }

  function reset(text = '') {
    editing = null;
    input.value = text;
    fail(null);
    drawMode();
    fit();
    input.focus();
  }

  /** Ends an answer or a change; what was written before the change is back. */
  function cancel() {
    const before = editing ? (chat.unfinished.get(me, room.id)?.text ?? '') : input.value;
    if (!editing) replyTo = null;
    reset(before);
  }

  function reply(message) {
    if (editing) cancel();
    replyTo = message;
    drawMode();
    input.focus();
  }

  function edit(message) {
    keep();
    editing = message;
    input.value = message.body;
    drawMode();
    fit();
    input.focus();
    input.setSelectionRange(input.value.length, input.value.length);
  }

  function drawMode() {
    const message = editing ?? replyTo;
    mode.hidden = !message;
    if (!message) return mode.replaceChildren();
    const author = message.sender === chat.me?.id ? 'yourself' : nameOf(chat.people.get(message.sender));
    return mode.replaceChildren(
      icon(editing ? 'edit' : 'reply'),
      h('span', { class: 'mode-text' }, h('strong', {}, editing ? 'Edit message' : `Reply to ${author}`), h('span', {}, message.body ?? 'Message deleted')),
      iconButton('close', editing ? 'Stop editing' : 'Do not reply', cancel),
    );
  }

  function keep() {
    if (editing) return;
    chat.unfinished.set(me, room.id, input.value || replyTo ? { text: input.value, replyTo } : null);
  }

  return {
    element,
    reply,
    edit,
    focus: () => input.focus(),
    close() {
      keep();
      chat.typing.stopped();
    },
  };
}

/** The protocol trims line ends; a body of nothing but white space is nobody's wish either. */
function bodyOf(text) {
  const body = text.replace(/^[\r\n]+|[\r\n]+$/g, '');
  return body.trim() === '' ? '' : body;
}
