import { h, icon, iconButton } from './dom.js';
import { confirmDialog } from './dialog.js';
import { pickEmoji } from './emoji.js';
import { avatar, clockTime, emojiOnly, fullTime, linked, nameOf } from './format.js';
import { personDialog } from './person-dialog.js';

/**
 * @typedef {object} RowContext
 * @property {boolean} first of a run by one author
 * @property {boolean} last of that run
 * @property {boolean} mine
 * @property {boolean} group whether names are worth showing
 * @property {boolean} moderator whether I may delete what others wrote
 * @property {{author: string, text: string}|null} quote
 * @property {string} seen who has read up to here, as text
 * @property {string} author
 */

/**
 * One message, as a row of the list.
 * @param {import('../chatcore-client.js').ChatClient} chat
 * @param {import('../client/types.js').Message} message
 * @param {RowContext} context
 * @param {{reply: Function, edit: Function, jump: (seq: number) => void, app: object}} actions
 */
export function messageRow(chat, message, context, actions) {
  if (message.type === 'system') {
    return h('li', { class: 'row system', data: { seq: String(message.seq) }, tabindex: '-1' }, h('span', { class: 'system-text' }, message.deleted ? 'Message deleted' : message.body));
  }
  const { first, last, mine, group, author, seen } = context;
  const stack = h(
    'div',
    { class: 'stack' },
    group && first && !mine ? h('span', { class: 'author' }, author) : null,
    h('div', { class: `bubble${message.deleted ? ' tombstone' : ''}${!message.deleted && emojiOnly(message.body ?? '') ? ' jumbo' : ''}` }, quoteOf(message, context, actions), textOf(message), metaOf(message)),
    message.reactions.length > 0 ? reactionsOf(chat, message) : null,
    seen ? h('span', { class: 'seen' }, seen) : null,
  );
  const row = h(
    'li',
    { class: classes(mine, first, last), data: { seq: String(message.seq) }, tabindex: '-1', 'aria-label': `${mine ? 'You' : author}, ${clockTime(message.created_at)}` },
    mine ? null : h('span', { class: 'gutter' }, last ? face(chat, message.sender, author, actions.app) : null),
    stack,
  );
  if (!message.deleted) {
    // Hundreds of rows, and a toolbar that is used on a few: it is made when somebody comes near.
    const ready = () => {
      if (!stack.querySelector('.tools')) stack.querySelector('.bubble').append(toolsOf(chat, message, context, actions, row));
    };
    row.addEventListener('pointerenter', ready);
    row.addEventListener('focusin', ready);
  }
  return row;
}

/**
 * A message that the log has not shown yet.
 * @param {import('../chatcore-client.js').ChatClient} chat
 * @param {import('../client/outbox.js').Draft} draft
 * @param {RowContext} context
 * @param {{refill: (draft: object) => void, jump: (seq: number) => void}} actions
 */
export function draftRow(chat, draft, context, actions) {
  const failed = draft.state === 'failed';
  const button = (label, click) => h('button', { type: 'button', class: 'link-button', data: { focus: label }, on: { click } }, label);
  return h(
    'li',
    { class: `${classes(true, context.first, context.last)} pending${failed ? ' failed' : ''}`, tabindex: '-1', 'aria-label': failed ? 'You, not sent' : 'You, sending' },
    h(
      'div',
      { class: 'stack' },
      h(
        'div',
        { class: 'bubble' },
        quoteOf({ reply_to: draft.reply_to, deleted: false }, context, actions),
        h('div', { class: 'text' }, linked(draft.body)),
        h('span', { class: 'meta' }, h('time', { datetime: draft.created_at }, clockTime(draft.created_at)), icon(failed ? 'warn' : draft.state === 'sent' ? 'check' : 'clock')),
      ),
      failed
        ? h('span', { class: 'send-error', role: 'alert' }, `Not sent: ${draft.error} `, button('Try again', () => chat.outbox.retry(draft.client_id)), ' ', button('Discard', () => chat.outbox.discard(draft.client_id)))
        : null,
    ),
  );
}

const classes = (mine, first, last) => `row${mine ? ' mine' : ''}${first ? ' first' : ''}${last ? ' last' : ''}`;

function face(chat, id, author, app) {
  return h('button', { type: 'button', class: 'face', tabindex: '-1', 'aria-label': `About ${author}`, on: { click: () => personDialog(chat, app, id) } }, avatar({ id, name: author, size: 'small' }));
}

function quoteOf(message, { quote }, { jump }) {
  if (message.reply_to === null || message.deleted) return null;
  return h(
    'button',
    { type: 'button', class: 'quote', data: { focus: 'quote' }, tabindex: '-1', 'aria-label': `Reply to ${quote?.author ?? 'a message'}: show it`, on: { click: () => jump(message.reply_to) } },
    h('strong', {}, quote?.author ?? '…'),
    h('span', {}, quote?.text ?? '…'),
  );
}

function textOf(message) {
  if (message.deleted) return h('div', { class: 'text' }, 'Message deleted');
  return h('div', { class: 'text' }, linked(message.body ?? ''));
}

function metaOf(message) {
  return h(
    'span',
    { class: 'meta' },
    message.edited_at && !message.deleted ? h('span', { title: fullTime(message.edited_at) }, 'edited') : null,
    h('time', { datetime: message.created_at, title: fullTime(message.created_at) }, clockTime(message.created_at)),
  );
}

function reactionsOf(chat, message) {
  return h(
    'div',
    { class: 'reactions', role: 'group', 'aria-label': 'Reactions' },
    message.reactions.map(({ emoji, count, me }) => {
      const chip = h(
        'button',
        { type: 'button', class: 'chip', 'aria-pressed': String(me), 'aria-label': `${emoji} ${count}${me ? ', with yours' : ''}`, data: { focus: `react-${emoji}`, emoji } },
        h('span', { class: 'emoji' }, emoji),
        String(count),
      );
      chip.addEventListener('click', () => react(chat, message, emoji, !me, chip));
      // Who it was is asked for when somebody wants to know.
      chip.addEventListener('pointerenter', () => nameReactors(chat, message, emoji, chip), { once: true });
      return chip;
    }),
  );
}

async function nameReactors(chat, message, emoji, chip) {
  try {
    const users = await chat.api.reactors(message.room, message.seq, emoji);
    users.forEach((user) => chat.people.absorb(user));
    chip.title = users.map((user) => (user.id === chat.me?.id ? 'You' : nameOf(user))).join(', ');
  } catch {
    // only a hint
  }
}

async function react(chat, message, emoji, on, near) {
  try {
    await chat.api.react(message.room, message.seq, emoji, on);
  } catch (error) {
    near.dispatchEvent(new CustomEvent('problem', { detail: error, bubbles: true }));
  }
}

function toolsOf(chat, message, { mine, moderator }, actions, row) {
  const tool = (name, label, click) => iconButton(name, label, click, { class: 'tool', data: { focus: name } });
  return h(
    'div',
    { class: 'tools', role: 'toolbar', 'aria-label': 'Message' },
    tool('smile', 'React', async (event) => {
      row.classList.add('active');
      const emoji = await pickEmoji(event.currentTarget);
      row.classList.remove('active');
      if (emoji) react(chat, message, emoji, true, row);
    }),
    tool('reply', 'Reply', () => actions.reply(message)),
    mine ? tool('edit', 'Edit', () => actions.edit(message)) : null,
    mine || moderator
      ? tool('delete', 'Delete', () =>
          confirmDialog({
            title: 'Delete this message?',
            text: 'Its text is gone for everybody, and cannot be brought back.',
            button: 'Delete',
            action: () => chat.api.deleteMessage(message.room, message.seq),
          }),
        )
      : null,
  );
}
