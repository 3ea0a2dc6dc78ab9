// The same events by asking again and again: where neither a WebSocket nor a stream comes through.

/** @import {Latest, ServerMessage} from '../protocol.js' */
/** @import {LinkEvents} from './connection.js' */

const EVERY_MS = 2000;

export class PollingLink {
  #events;
  #url;
  #last;
  #etag = '';
  #timer = 0;
  #seq = 0;
  #closed = false;

  /**
   * @param {string} url
   * @param {string} last where to go on, or nothing
   * @param {LinkEvents} events
   */
  constructor(url, last, events) {
    this.#url = url;
    this.#last = last;
    this.#events = events;
    this.#ask();
  }

  watch() {}

  send() {}

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async #ask() {
    try {
      const url = this.#last === '' ? this.#url : `${this.#url}?cursor=${encodeURIComponent(this.#last)}`;
      const sentUs = Date.now() * 1000;
      /** @type {Record<string, string>} */
      const headers = this.#etag === '' ? {} : { 'if-none-match': this.#etag };
      const answer = await fetch(url, { headers, cache: 'no-store' });
      if (this.#closed) return;
      if (!answer.ok && answer.status !== 304) throw new Error(`the server answered ${answer.status}`);
      if (answer.status === 304) this.#events.alive();
      else {
        this.#etag = answer.headers.get('etag') ?? '';
        this.#take(await answer.json(), sentUs);
      }
      if (!this.#closed) this.#timer = setTimeout(() => this.#ask(), EVERY_MS);
    } catch (error) {
      if (!this.#closed) this.#events.lost(String(error));
    }
  }

  /**
   * @param {Latest} latest
   * @param {number} sentUs
   */
  #take(latest, sentUs) {
    // A cursor that cannot be gone on from is answered with everything.
    const { full } = latest;
    this.#last = latest.cursor;
    this.#events.cursor(latest.cursor);
    const common = { type: /** @type {const} */ ('snapshot'), reason: /** @type {const} */ ('subscribed'), full, cursor: '' };
    this.#say({ type: 'pong', id: null, sent_us: sentUs, now_us: latest.now_us });
    if (full) this.#say({ ...common, channel: 'ticks', ticks: latest.ticks });
    else if (latest.ticks.length > 0) this.#say({ type: 'update', channel: 'ticks', cursor: '', ticks: latest.ticks });
    if (latest.gaps) this.#say({ ...common, channel: 'gaps', gaps: latest.gaps });
    if (latest.alerts && (full || latest.alerts.length > 0)) this.#say({ ...common, channel: 'alerts', alerts: latest.alerts });
    if (latest.sources) this.#say({ ...common, full: true, channel: 'health', sources: latest.sources });
    this.#say({ type: 'heartbeat', now_us: latest.now_us, feed: latest.feed });
  }

  /** @param {Record<string, unknown>} message */
  #say(message) {
    this.#seq += 1;
    this.#events.message(/** @type {ServerMessage} */ (/** @type {unknown} */ ({ seq: this.#seq, ...message })));
  }
}
