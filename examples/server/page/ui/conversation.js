import { drawSoon, h, icon, iconButton } from './dom.js';
import { composer } from './composer.js';
import { groupDialog } from './group-dialog.js';
import { act, errorPlace } from './forms.js';
import { avatar, nameOf, presenceText } from './format.js';
import { messageList } from './messages.js';
import { personDialog } from './person-dialog.js';
import { roomName } from './rooms.js';

/**
 * One room: who it is with, its messages, and where to write.
 * @param {import('../chatcore-client.js').ChatClient} chat
 * @param {import('../chatcore-client.js').Room} room
 * @param {{back: () => void, openRoom: (id: string) => void}} app
 */
export function conversationView(chat, room, app) {
  const title = h('button', { type: 'button', class: 'room-title', 'aria-haspopup': 'dialog', on: { click: about } });
  const typing = h('p', { class: 'typing-line' });
  const write = composer(chat, room, { lastOwn: () => list.lastOwn(), sent: () => list.toBottom(), leave: () => list.focus() });
  const list = messageList(chat, room, { reply: write.reply, edit: write.edit, write: write.focus, app });
  const blockedNote = h('div', { class: 'blocked-note', hidden: true });
  const element = h(
    'section',
    { class: 'conversation' },
    h('header', { class: 'room-head' }, iconButton('back', 'Back to the list', app.back, { class: 'icon-button back' }), title, iconButton('info', 'About this conversation', about)),
    list.element,
    typing,
    blockedNote,
    write.element,
  );

  function about() {
    if (room.summary.kind === 'group') groupDialog(chat, room, app);
    else if (room.summary.peer) personDialog(chat, app, room.summary.peer.id);
  }

  function draw() {
    drawHead();
    drawTyping();
    drawBlocked();
  }

  function drawHead() {
    const { kind, peer, member_count } = room.summary;
    const name = roomName(chat, room);
    const user = peer ? chat.people.get(peer.id) : null;
    const status = kind === 'direct' ? (user?.presence?.status ?? 'offline') : null;
    const line = kind === 'direct' ? presenceText(user?.presence) : groupLine(member_count);
    const mark = JSON.stringify([name, status, line]);
    if (title.dataset.mark === mark) return;
    title.dataset.mark = mark;
    title.replaceChildren(
      avatar({ id: peer?.id ?? room.id, name, status }),
      h('span', { class: 'room-title-text' }, h('strong', {}, name), h('span', { class: 'room-line' }, line)),
    );
  }

  function groupLine(count) {
    const members = count === 1 ? '1 member' : `${count} members`;
    const online = [...room.members.keys()].filter((id) => id !== chat.me?.id && chat.people.status(id) === 'online').length;
    return online > 0 ? `${members}, ${online} online` : members;
  }

  function drawTyping() {
    const names = chat.typing.in(room.id).map((id) => nameOf(chat.people.get(id)));
    typing.classList.toggle('on', names.length > 0);
    if (names.length === 1) typing.textContent = `${names[0]} is typing…`;
    else if (names.length === 2) typing.textContent = `${names[0]} and ${names[1]} are typing…`;
    else typing.textContent = names.length > 2 ? 'Several people are typing…' : '';
  }

  /** Whom I have blocked I cannot write to: that is said before the text is typed. */
  function drawBlocked() {
    const { kind, peer } = room.summary;
    const blocked = kind === 'direct' && peer !== null && chat.people.blocked.has(peer.id);
    write.element.hidden = blocked;
    if (blockedNote.hidden === !blocked) return;
    blockedNote.hidden = !blocked;
    const place = errorPlace();
    const undo = h('button', { type: 'button', class: 'button small' }, 'Unblock');
    undo.addEventListener('click', () => act(undo, place, () => chat.people.block(peer.id, false)));
    blockedNote.replaceChildren(icon('block'), h('span', {}, `You have blocked ${nameOf(peer)}.`), undo, place);
  }

  const soon = drawSoon(draw);
  const stops = [
    chat.rooms.on('room', (changed) => changed === room && soon()),
    chat.people.on('people', soon),
    chat.typing.on('typing', ({ room: id }) => id === room.id && soon()),
  ];
  const minute = setInterval(soon, 60_000);
  draw();

  return {
    room,
    element,
    /** To be called once the element is in the page: only then there is something to scroll. */
    shown() {
      list.open();
      // On a touch screen the keyboard would cover what the person came to read.
      if (matchMedia('(hover: hover)').matches) write.focus();
    },
    close() {
      stops.forEach((stop) => stop());
      clearInterval(minute);
      list.close();
      write.close();
    },
  };
}
