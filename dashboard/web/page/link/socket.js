// The live data over a WebSocket. Each message is numbered, so a loss is never silent: it ends the connection.

/** @import {ServerMessage, Timeframe} from '../protocol.js' */
/** @import {Cursor} from './cursor.js' */
/** @import {LinkEvents} from './connection.js' */

const CHANNELS = ['ticks', 'gaps', 'alerts', 'health'];
const PING_MS = 10_000;
/** At the start the clocks' difference is asked for a few times: the quickest answer counts. */
const FIRST_PINGS_MS = [0, 300, 1000, 2500];

/** @typedef {{socket: WebSocket, heard: string[]}} Early */

/** The socket that early.js has opened, once. @param {string} url @returns {Early | null} */
function takeEarly(url) {
  /** @type {Early | undefined} */
  const early = Reflect.get(globalThis, 'earlySocket');
  Reflect.deleteProperty(globalThis, 'earlySocket');
  return early?.socket.url === url ? early : null;
}

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
    const early = takeEarly(url);
    this.#socket = early?.socket ?? new WebSocket(url);
    if (early === null) this.#listen();
    // Whoever made this link knows of it first.
    else this.#timers.push(setTimeout(() => this.#goOn(early)));
  }

  #listen(isSubscribed = false) {
    this.#socket.onopen = () => this.#begin(isSubscribed);
    this.#socket.onmessage = (event) => this.#receive(event.data);
    this.#socket.onclose = (event) => this.#events.lost(event.reason);
  }

  /** With a socket that was opened before: what it has said comes first. @param {Early} early */
  #goOn({ socket, heard }) {
    if (socket.readyState === WebSocket.CONNECTING) {
      const subscribe = socket.onopen;
      this.#listen(true);
      socket.addEventListener('open', (event) => subscribe?.call(socket, event), { once: true });
      return;
    }
    this.#listen();
    if (socket.readyState === WebSocket.OPEN) {
      this.#begin(true);
      for (const text of heard) if (this.#open) this.#receive(text);
    } else this.#events.lost('');
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
    this.#open = false;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }

  /** @param {boolean} isSubscribed */
  #begin(isSubscribed) {
    this.#open = true;
    if (!isSubscribed) for (const channel of CHANNELS) this.send({ type: 'subscribe', channel, cursor: this.cursors[channel]?.toText() });
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
