// The live data over a WebSocket. Each message is numbered, so a loss is never silent: it ends the connection.

/** @import {ServerMessage, Timeframe} from '../protocol.js' */
/** @import {Cursor} from './cursor.js' */
/** @import {LinkEvents} from './connection.js' */

const CHANNELS = ['ticks', 'gaps', 'alerts', 'health'];
const PING_MS = 10_000;
/** At the start the clocks' difference is asked for a few times: the quickest answer counts. */
const FIRST_PINGS_MS = [0, 300, 1000, 2500];

export class SocketLink {
  /** @type {WebSocket} */
  #socket;
  #events;
  #seq = 0;
  #id = 0;
  #open = false;
  /** @type {ReturnType<typeof setTimeout>[]} */
  #timers = [];
  /** @type {{symbol: string, tf: Timeframe} | null} */
  #candles = null;

  /**
   * @param {string} url
   * @param {Record<string, Cursor>} cursors where to go on, a channel
   * @param {LinkEvents} events
   */
  constructor(url, cursors, events) {
    this.#events = events;
    this.cursors = cursors;
    this.#socket = new WebSocket(url);
    this.#socket.onopen = () => this.#begin();
    this.#socket.onmessage = (event) => this.#receive(event.data);
    this.#socket.onclose = (event) => this.#events.lost(event.reason);
  }

  /**
   * The one symbol whose candles are wanted.
   * @param {{symbol: string, tf: Timeframe} | null} wanted
   */
  watch(wanted) {
    const before = this.#candles;
    if (before?.symbol === wanted?.symbol && before?.tf === wanted?.tf) return;
    this.#candles = wanted;
    if (!this.#open) return;
    if (before !== null) this.send({ type: 'unsubscribe', channel: 'candles', symbols: [before.symbol], tf: before.tf });
    this.#askCandles();
  }

  /** @param {object} message */
  send(message) {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    this.#id += 1;
    this.#socket.send(JSON.stringify({ id: this.#id, ...message }));
  }

  close() {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }

  #begin() {
    this.#open = true;
    for (const channel of CHANNELS) this.send({ type: 'subscribe', channel, cursor: this.cursors[channel]?.toText() });
    this.#askCandles();
    this.#timers = FIRST_PINGS_MS.map((after) => setTimeout(() => this.#ping(), after));
    this.#timers.push(setInterval(() => this.#ping(), PING_MS));
  }

  #askCandles() {
    if (this.#candles === null) return;
    this.send({ type: 'subscribe', channel: 'candles', symbols: [this.#candles.symbol], tf: this.#candles.tf });
  }

  #ping() {
    this.send({ type: 'ping', sent_us: Date.now() * 1000 });
  }

  /** @param {string} text */
  #receive(text) {
    /** @type {ServerMessage} */
    const message = JSON.parse(text);
    if (message.seq !== this.#seq + 1) {
      this.#events.lost('message_missing');
      return;
    }
    this.#seq = message.seq;
    this.#events.message(message);
  }
}
