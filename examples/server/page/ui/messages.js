import { announce, drawSoon, h, iconButton, listen, reconcile } from './dom.js';
import { dayKey, dayName, errorText, nameOf } from './format.js';
import { draftRow, messageRow } from './message.js';

/** Messages of one author within this time form a run. */
const RUN_MS = 5 * 60_000;
/** So near to the end counts as the end. */
const NEAR_PX = 60;
/** So near to an edge of the window the next page is fetched. */
const FETCH_PX = 500;

/**
 * The messages of a room, with everything that scrolling means: older pages at the top, staying where one is while
 * things change above, following the end while one is there, and the read marker.
 * @param {import('../chatcore-client.js').ChatClient} chat
 * @param {import('../chatcore-client.js').Room} room
 * @param {{reply: Function, edit: Function, write: () => void, app: object}} actions
 */
export function messageList(chat, room, actions) {
  const held = new Map();
  const rows = h('ol', { class: 'rows', 'aria-label': 'Messages', on: { keydown: move } });
  const top = h('div', { class: 'edge' });
  const problem = h('p', { class: 'list-error', role: 'alert', hidden: true });
  const scroller = h('div', { class: 'scroller', tabindex: '-1', on: { scroll: scrolled } }, top, rows);
  const down = iconButton('down', 'Jump to the newest message', toBottom, { class: 'jump', hidden: true });
  const element = h('div', { class: 'list' }, scroller, down, problem);
  let following = true;
  let unreadFrom = null;
  let flash = null;
  let closed = false;
  let opened = false;
  const rowActions = { ...actions, jump };

  // --- loading ----------------------------------------------------------------------------------------------------

  async function open() {
    const { read, unread } = room.summary;
    following = false;
    draw();
    room.loadMembers().catch(() => {});
    if (!room.timeline.loaded || room.timeline.hasAfter) await attempt(() => room.loadNewest());
    if (closed) return;
    const { first: oldest, hasBefore } = room.timeline;
    // Where the first unread message is further back than the window, there is no place for the line that says "New".
    if (unread > 0 && (!hasBefore || oldest?.seq <= read)) {
      const first = room.timeline.items.find((message) => message.seq > read && message.sender && message.sender !== chat.me?.id && !message.deleted);
      unreadFrom = first?.seq ?? null;
    }
    draw();
    const divider = held.get('unread')?.node;
    if (divider) scroller.scrollTop = divider.offsetTop - 80;
    else scroller.scrollTop = scroller.scrollHeight;
    opened = true;
    scrolled();
  }

  async function attempt(load) {
    try {
      await load();
      problem.hidden = true;
    } catch (error) {
      if (closed) return;
      problem.hidden = false;
      problem.replaceChildren(`${errorText(error)} `, h('button', { type: 'button', class: 'link-button', on: { click: () => attempt(load) } }, 'Try again'));
    }
  }

  function fetchMore() {
    const { timeline } = room;
    if (!timeline.loaded || problem.hidden === false) return;
    if (timeline.hasBefore && !room.isLoading('before') && scroller.scrollTop < FETCH_PX) attempt(() => room.loadBefore());
    const below = scroller.scrollHeight - scroller.clientHeight - scroller.scrollTop;
    if (timeline.hasAfter && !room.isLoading('after') && below < FETCH_PX) attempt(() => room.loadAfter());
  }

  /** Shows one message, wherever it is in the log. */
  async function jump(seq) {
    following = false;
    if (!room.timeline.items.some((message) => message.seq === seq)) await attempt(() => room.loadAround(seq));
    flash = seq;
    draw();
    const row = rows.querySelector(`[data-seq="${seq}"]`);
    if (!row) return;
    row.scrollIntoView({ block: 'center' });
    row.classList.add('flash');
    setTimeout(() => row.classList.remove('flash'), 1_600);
    flash = null;
    focusRow(row);
  }

  async function toBottom() {
    unreadFrom = null;
    if (room.timeline.hasAfter) await attempt(() => room.loadNewest());
    following = true;
    draw();
  }

  // --- drawing ----------------------------------------------------------------------------------------------------

  function draw() {
    if (closed) return;
    const anchor = following ? null : anchorRow();
    reconcile(rows, held, describe());
    top.replaceChildren(...edge());
    if (following && !room.timeline.hasAfter) scroller.scrollTop = scroller.scrollHeight;
    else if (anchor) {
      const node = held.get(anchor.key)?.node;
      if (node) scroller.scrollTop += node.offsetTop - anchor.at;
    }
    rove();
    afterScroll();
  }

  /** The first row in sight, and where it stands: what must not move while things change around it. */
  function anchorRow() {
    for (const node of rows.children) {
      // Separators come and go with a page; messages stay.
      if (!node.dataset.seq || node.offsetTop + node.offsetHeight <= scroller.scrollTop) continue;
      return { key: node.dataset.key, at: node.offsetTop };
    }
    return null;
  }

  function edge() {
    const { timeline } = room;
    if (!timeline.loaded || timeline.hasBefore) return problem.hidden ? [h('span', { class: 'spinner', role: 'status', 'aria-label': 'Loading messages' })] : [];
    if (timeline.items.length === 0 && chat.outbox.of(room.id).length === 0) return [h('p', { class: 'beginning' }, 'No messages yet. Be the first.')];
    return [h('p', { class: 'beginning' }, 'The beginning of this conversation')];
  }

  function describe() {
    const me = chat.me?.id;
    const { items } = room.timeline;
    const arrived = new Set(items.filter((message) => message.sender === me).map((message) => message.client_id));
    const drafts = room.timeline.hasAfter ? [] : chat.outbox.of(room.id).filter((draft) => !arrived.has(draft.client_id));
    const all = [
      ...items.map((message) => ({ message, sender: message.sender, at: message.created_at, system: message.type === 'system' })),
      ...drafts.map((draft) => ({ draft, sender: me, at: draft.created_at, system: false })),
    ];
    const seen = seenText(items, me);
    const list = [];
    const days = new Set();
    all.forEach((one, at) => {
      const before = all[at - 1];
      const after = all[at + 1];
      // A clock that is wrong may date a draft before the last message: one heading a day all the same.
      const newDay = !days.has(dayKey(one.at));
      days.add(dayKey(one.at));
      const divider = one.message && one.message.seq === unreadFrom;
      if (newDay) list.push(separator(`day:${dayKey(one.at)}`, dayName(one.at), 'day'));
      if (divider) list.push(separator('unread', 'New', 'unread'));
      const context = {
        first: newDay || divider || !sameRun(before, one),
        last: !after || !sameRun(one, after) || dayKey(after.at) !== dayKey(one.at) || (after.message?.seq ?? 0) === unreadFrom,
        mine: one.sender === me && !one.system,
        group: room.summary.kind === 'group',
        moderator: room.summary.kind === 'group' && room.summary.role !== 'member',
        quote: quoteText(one.message?.reply_to ?? one.draft?.reply_to ?? null),
        seen: one.message && seen && seen.seq === one.message.seq ? seen.text : '',
        author: one.system ? '' : nameOf(chat.people.get(one.sender)),
      };
      list.push(one.message ? messageOf(one.message, context, me) : draftOf(one.draft, context));
    });
    return list;
  }

  function messageOf(message, context, me) {
    // The draft that became this message keeps its row, so that nothing blinks.
    const key = message.sender === me && message.client_id ? `own:${message.client_id}` : `seq:${message.seq}`;
    return {
      key,
      mark: JSON.stringify([message.rev, context, message.seq === flash]),
      make: () => messageRow(chat, message, context, rowActions),
    };
  }

  function draftOf(draft, context) {
    return { key: `own:${draft.client_id}`, mark: JSON.stringify(['draft', draft.state, draft.error, context]), make: () => draftRow(chat, draft, context, rowActions) };
  }

  function quoteText(seq) {
    if (seq === null) return null;
    const message = room.timeline.get(seq);
    if (!message) {
      room.loadReplied(seq).catch(() => {});
      return null;
    }
    return { author: message.sender === chat.me?.id ? 'You' : nameOf(chat.people.get(message.sender)), text: message.deleted ? 'Message deleted' : message.body };
  }

  function seenText(items, me) {
    const mine = items.findLast((message) => message.sender === me && !message.deleted);
    if (!mine) return null;
    const readers = [...room.members.values()].filter((member) => member.user.id !== me && member.read >= mine.seq).length;
    if (readers === 0) return null;
    return { seq: mine.seq, text: room.summary.kind === 'direct' ? 'Seen' : readers >= room.summary.member_count - 1 ? 'Seen by everybody' : `Seen by ${readers}` };
  }

  // --- scrolling and reading --------------------------------------------------------------------------------------

  function scrolled() {
    following = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_PX;
    afterScroll();
  }

  function afterScroll() {
    // Before the list stands where it opens, nothing in it has been seen.
    if (!opened) return;
    down.hidden = following && !room.timeline.hasAfter;
    fetchMore();
    markRead();
  }

  /** Read is what was at the end of the list, in front of somebody. */
  function markRead() {
    const { timeline } = room;
    if (!following || !timeline.loaded || timeline.hasAfter || !timeline.last) return;
    if (document.hidden || !document.hasFocus()) return;
    chat.marks.read(room.id, timeline.last.seq);
  }

  // --- keyboard ---------------------------------------------------------------------------------------------------

  const messageRows = () => [...rows.children].filter((row) => row.hasAttribute('tabindex'));

  /** One row at a time is in the tab order; the arrows move it. */
  function rove() {
    const list = messageRows();
    if (list.length === 0 || list.some((row) => row.tabIndex === 0)) return;
    list[list.length - 1].tabIndex = 0;
  }

  function focusRow(row) {
    messageRows().forEach((one) => (one.tabIndex = one === row ? 0 : -1));
    row.focus();
  }

  function move(event) {
    if (event.key === 'Escape') {
      actions.write();
      return;
    }
    const list = messageRows();
    const at = list.findIndex((row) => row.contains(document.activeElement));
    const next = { ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: list.length - 1 }[event.key];
    if (next === undefined || event.target.closest('input')) return;
    event.preventDefault();
    if (next >= list.length) actions.write();
    else if (list[next]) focusRow(list[next]);
  }

  // --- changes ----------------------------------------------------------------------------------------------------

  const soon = drawSoon(draw);
  const here = (changed) => (changed === room || changed?.room === room.id) && soon();
  const stops = [
    chat.rooms.on('timeline', here),
    chat.rooms.on('room', here),
    chat.outbox.on('outbox', here),
    chat.people.on('people', soon),
    chat.rooms.on('applied', ({ room: changed, event }) => {
      if (changed !== room || event.event !== 'message.posted' || event.actor === chat.me?.id) return;
      announce(`${nameOf(chat.people.get(event.actor))}: ${event.data.message.body ?? ''}`);
    }),
    // The failed page is asked for again as soon as there is a connection.
    chat.on('connection', ({ phase }) => {
      if (phase !== 'online' || problem.hidden) return;
      problem.hidden = true;
      if (room.timeline.loaded) fetchMore();
      else attempt(() => room.loadNewest());
    }),
    listen(window, 'focus', markRead),
    listen(document, 'visibilitychange', markRead),
  ];
  rows.addEventListener('problem', ({ detail }) => {
    problem.hidden = false;
    problem.textContent = errorText(detail);
    setTimeout(() => (problem.hidden = true), 5_000);
  });
  // A keyboard that opens, a composer that grows: the end stays in sight.
  const watch = new ResizeObserver(() => following && (scroller.scrollTop = scroller.scrollHeight));
  watch.observe(scroller);

  return {
    element,
    open,
    toBottom,
    focus: () => messageRows().at(-1)?.focus(),
    lastOwn: () => room.timeline.items.findLast((message) => message.sender === chat.me?.id && message.type === 'text' && !message.deleted) ?? null,
    close() {
      closed = true;
      watch.disconnect();
      stops.forEach((stop) => stop());
    },
  };
}

function sameRun(a, b) {
  return Boolean(a && b) && !a.system && !b.system && a.sender === b.sender && Date.parse(b.at) - Date.parse(a.at) < RUN_MS;
}

function separator(key, text, kind) {
  return { key, mark: text, make: () => h('li', { class: `separator ${kind}`, role: 'separator', 'aria-label': text }, h('span', {}, text)) };
}
