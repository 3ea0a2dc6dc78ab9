// How far what the page shows can be believed, always in sight: live, by which way, reconnecting, replaying, stale, SIMULATED.

/** @import {Feed, Replay} from '../protocol.js' */
/** @import {LinkState} from '../link/connection.js' */

import { element, html, setText, setTitle } from '../dom.js';
import { formatTime } from '../format.js';
import { named, t } from '../words/words.js';

const LOST = new Set(['no_answer', 'stream_ended', 'message_missing']);

/**
 * @typedef {object} Situation
 * @property {LinkState} link
 * @property {Feed} feed
 * @property {Replay | null} replay
 * @property {number | null} asOfUs how new the prices are
 * @property {boolean} isSimulated
 * @property {string | null} refused why a replay does not start
 */

/**
 * The badge's state, its word and what follows it.
 * @param {Situation} now
 * @param {number} nowMs
 */
export function badge({ link, feed, replay }, nowMs) {
  if (link.state === 'waiting') {
    const seconds = Math.max(0, Math.ceil((link.retryAtMs - nowMs) / 1000));
    return { state: 'waiting', word: t('reconnecting'), detail: t('in_seconds', { n: seconds }) };
  }
  if (link.state === 'connecting') return { state: 'connecting', word: t('connecting'), detail: '' };
  if (feed.state === 'outage') {
    return { state: 'stale', word: t('stale'), detail: t('since', { time: feed.since_us == null ? '?' : formatTime(feed.since_us, nowMs * 1000) }) };
  }
  if (replay !== null) {
    const word = { playing: t('replaying'), paused: t('paused'), ended: t('ended') }[replay.state];
    return { state: 'replay', word, detail: replay.state === 'playing' ? ` ×${replay.speed}` : '' };
  }
  if (feed.state === 'catching_up') return { state: 'connecting', word: t('catching_up'), detail: '' };
  const word = { socket: t('live'), stream: t('live_stream'), polling: t('polling') }[link.way];
  return { state: link.way === 'polling' ? 'polling' : 'live', word, detail: '' };
}

export class Status {
  #badge = html('connection');
  #word = html('connection-word');
  #detail = html('connection-detail');
  #simulated = html('simulated');
  #banner = html('feed');
  #logIn = element('log-in', HTMLAnchorElement);

  /**
   * @param {Situation} now
   * @param {number} nowMs
   */
  show(now, nowMs) {
    const { state, word, detail } = badge(now, nowMs);
    if (this.#badge.dataset['state'] !== state) this.#badge.dataset['state'] = state;
    setText(this.#word, word);
    setText(this.#detail, detail);
    setTitle(this.#badge, LOST.has(now.link.why) ? named('lost', now.link.why) : now.link.why);
    this.#simulated.hidden = !now.isSimulated;
    const problem = now.link.isLoggedOut ? t('logged_out') : this.#problem(now, nowMs);
    this.#banner.hidden = problem === null;
    this.#logIn.hidden = now.link.isLoggedOut !== true;
    if (!this.#logIn.hidden) this.#logIn.href = location.href;
    if (problem !== null) setText(this.#banner, problem);
  }

  /**
   * @param {Situation} now
   * @param {number} nowMs
   */
  #problem({ link, feed, asOfUs, refused }, nowMs) {
    if (refused !== null) return t('replay_refused', { reason: refused });
    const time = asOfUs === null ? '?' : formatTime(asOfUs, nowMs * 1000);
    if (link.state === 'open') return feed.state === 'outage' ? t('feed_outage', { reason: feed.reason ?? '', time }) : null;
    return asOfUs === null ? null : t('feed_lost', { time });
  }
}
