/** What several views need to know of rooms. */

import { nameOf } from './format.js';

/** A direct room is called after the other one. */
export function roomName(chat, room) {
  const { kind, name, peer } = room.summary;
  if (kind === 'group') return name ?? 'Group';
  return nameOf(peer ? (chat.people.get(peer.id) ?? peer) : null);
}

/** Opens the direct room with somebody, making it where there is none. */
export async function openDirect(chat, app, user) {
  const room = chat.rooms.add(await chat.api.directRoom(user));
  app.openRoom(room.id);
}
