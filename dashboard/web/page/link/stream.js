// The same events as Server-Sent Events, where no WebSocket comes through: read by fetch, so that the last event's id can be sent
// by us whenever we connect again.

/** @import {LinkEvents} from './connection.js' */

import { EventParser } from './events.js';

export class StreamLink {
  #events;
  #stop = new AbortController();

  /**
   * @param {string} url
   * @param {string} last the last event's id, or nothing
   * @param {LinkEvents} events
   */
  constructor(url, last, events) {
    this.#events = events;
    this.#read(url, last).then(
      () => this.#lost('stream_ended'),
      (error) => this.#lost(String(error)),
    );
  }

  watch() {}

  send() {}

  close() {
    this.#stop.abort();
  }

  /** @param {string} why */
  #lost(why) {
    if (!this.#stop.signal.aborted) this.#events.lost(why);
  }

  /**
   * @param {string} url
   * @param {string} last
   */
  async #read(url, last) {
    /** @type {Record<string, string>} */
    const headers = { accept: 'text/event-stream' };
    if (last !== '') headers['last-event-id'] = last;
    const answer = await fetch(url, { headers, cache: 'no-store', signal: this.#stop.signal });
    if (!answer.ok || answer.body === null) throw new Error(`the server answered ${answer.status}`);
    const parser = new EventParser();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || this.#stop.signal.aborted) return;
      for (const event of parser.push(value)) this.#events.message(JSON.parse(event.data));
    }
  }
}
