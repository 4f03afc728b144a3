/** How names, times and texts look. */

import { h } from './dom.js';

const time = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: 'long' });
const weekdayShort = new Intl.DateTimeFormat(undefined, { weekday: 'short' });
const dayThisYear = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });
const day = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'long', year: 'numeric' });
const short = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'short' });

export const clockTime = (iso) => time.format(new Date(iso));
export const fullTime = (iso) => full.format(new Date(iso));

/** The local day as a key: messages of one day stand under one heading. */
export function dayKey(iso) {
  const date = new Date(iso);
  return `${date.getFullYear()}-${date.getMonth() + 1}-${date.getDate()}`;
}

function daysAgo(date) {
  const midnight = (of) => new Date(of.getFullYear(), of.getMonth(), of.getDate()).getTime();
  return Math.round((midnight(new Date()) - midnight(date)) / 86_400_000);
}

/** Today, Yesterday, a weekday, a date. */
export function dayName(iso) {
  const date = new Date(iso);
  const ago = daysAgo(date);
  if (ago === 0) return 'Today';
  if (ago === 1) return 'Yesterday';
  if (ago > 1 && ago < 7) return weekday.format(date);
  return (date.getFullYear() === new Date().getFullYear() ? dayThisYear : day).format(date);
}

/** For lists: a time today, a weekday this week, a date before. */
export function shortTime(iso) {
  const date = new Date(iso);
  const ago = daysAgo(date);
  if (ago <= 0) return time.format(date);
  if (ago < 7) return weekdayShort.format(date);
  return short.format(date);
}

/** "5 minutes ago", for when somebody was last seen. */
export function since(iso) {
  const minutes = Math.floor((Date.now() - Date.parse(iso)) / 60_000);
  if (minutes < 1) return 'just now';
  if (minutes < 60) return minutes === 1 ? 'a minute ago' : `${minutes} minutes ago`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return hours === 1 ? 'an hour ago' : `${hours} hours ago`;
  return `on ${short.format(new Date(iso))}`;
}

/** @param {{status: string, last_seen: string|null}|undefined} presence */
export function presenceText(presence) {
  if (presence?.status === 'online') return 'Online';
  if (presence?.status === 'away') return 'Away';
  return presence?.last_seen ? `Last seen ${since(presence.last_seen)}` : 'Offline';
}

export const nameOf = (user) => user?.display_name || user?.username || '…';

export function initials(name) {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : [words[0] ?? '?'];
  const segment = (word) => [...new Intl.Segmenter().segment(word)][0]?.segment ?? '';
  return letters.map(segment).join('').toUpperCase();
}

/** A hue from an id (FNV-1a): the same person has the same colour everywhere. Ids begin with a time, so all of it counts. */
export function hue(id) {
  let hash = 0x811c9dc5;
  for (let i = 0; i < id.length; i += 1) hash = Math.imul(hash ^ id.charCodeAt(i), 0x01000193);
  return (hash >>> 0) % 360;
}

/**
 * @param {{id: string, name: string, status?: string|null, size?: 'small'|'large'|null}} of
 * @returns {HTMLElement}
 */
export function avatar({ id, name, status = null, size = null }) {
  const circle = h('span', { class: `avatar${size ? ` ${size}` : ''}`, 'aria-hidden': 'true' }, initials(name));
  circle.style.setProperty('--hue', String(hue(id)));
  if (status) circle.append(h('span', { class: `presence ${status}` }));
  return circle;
}

const LINK = /https?:\/\/[^\s<>"]+[^\s<>"'.,;:!?)\]}]/g;

/** Text with its web addresses as links. Nothing else in it means anything. @param {string} text @returns {(string|Node)[]} */
export function linked(text) {
  const parts = [];
  let from = 0;
  for (const match of text.matchAll(LINK)) {
    if (match.index > from) parts.push(text.slice(from, match.index));
    parts.push(h('a', { href: match[0], target: '_blank', rel: 'noopener noreferrer nofollow' }, match[0]));
    from = match.index + match[0].length;
  }
  if (from < text.length) parts.push(text.slice(from));
  return parts;
}

/** Up to three emoji and nothing else are shown large. */
export const emojiOnly = (text) => /^(\p{Extended_Pictographic}[\u{1F3FB}-\u{1F3FF}\uFE0F]*(\u200D\p{Extended_Pictographic}\uFE0F?)*\s*){1,3}$/u.test(text);

const RULES = {
  self: 'That is you.',
  own_request: 'You asked yourself: it is for the other to answer.',
  already_friends: 'You are friends already.',
  not_pending: 'This request has been answered already.',
  not_friends: 'You can only do that with friends.',
  last_owner: 'You are the only owner. Make somebody else an owner first.',
  direct_room: 'That is not possible in a direct conversation.',
  full: 'This group is full.',
  deleted: 'This message has been deleted.',
  too_many_reactions: 'There are too many different reactions already.',
};

/** What to tell a person. @param {any} error */
export function errorText(error) {
  if (error?.name === 'ApiError') {
    if (error.rule && RULES[error.rule]) return RULES[error.rule];
    if (error.code === 'rate_limited') {
      const seconds = Math.ceil(error.retryAfterMs / 1000);
      return seconds > 0 ? `Too many tries. Please wait ${seconds} s.` : 'Too many tries. Please wait a little.';
    }
    if (error.code === 'unavailable') return 'The server is busy. Please try again in a moment.';
    if (error.code === 'internal') return 'Something went wrong on the server. Please try again.';
    const fields = error.errors.map(({ field, message }) => `${field} ${message}`);
    return fields.length > 0 ? fields.join(', ') : error.message;
  }
  if (error?.name === 'OfflineError') return 'The server cannot be reached. Please check your connection.';
  return error?.message ?? 'Something went wrong.';
}
