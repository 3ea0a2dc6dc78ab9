// The live data by whatever way works: a WebSocket, else Server-Sent Events, else polling. It comes back by itself, goes on where it
// was, watches for silence and for a machine that slept, and now and then tries the better way again.

/** @import {ServerMessage, Timeframe} from '../protocol.js' */

import { retryMs } from './backoff.js';
import { Cursor } from './cursor.js';
import { PollingLink } from './polling.js';
import { SocketLink } from './socket.js';
import { StreamLink } from './stream.js';

/**
 * @typedef {object} LinkEvents what a link tells; nothing more after `lost`
 * @property {(message: ServerMessage) => void} message
 * @property {() => void} alive an answer without news
 * @property {(joined: string) => void} cursor where all channels stand
 * @property {(why: string) => void} lost why: a word of ours, or the sentence of whoever ended it
 *
 * @typedef {'socket' | 'stream' | 'polling'} Way
 * @typedef {{state: 'connecting' | 'open' | 'waiting', way: Way, retryAtMs: number, why: string, isLoggedOut?: boolean}} LinkState
 */

/** The server's heartbeat comes every second. */
const SILENCE_MS = 6_000;
/** A way that fails so often, while the server answers otherwise, is left for the next one. */
const TRIES = 2;
const TRY_BETTER_MS = 60_000;
/** @type {Way[]} */
const WAYS = ['socket', 'stream', 'polling'];

export class Connection {
  #addresses;
  #onMessage;
  #onState;
  /** @type {SocketLink | StreamLink | PollingLink | null} */
  #link = null;
  /** @type {SocketLink | null} */
  #better = null;
  #way = 0;
  /** Of a server that answers. */
  #failures = 0;
  #attempts = 0;
  #retryTimer = 0;
  #heardMs = Date.now();
  #betterTriedMs = 0;
  #retryAfterMs = 0;
  /** @type {Record<string, Cursor>} */
  #cursors = {};
  /** @type {{symbol: string, tf: Timeframe} | null} */
  #candles = null;
  /** @type {LinkState} */
  state = { state: 'connecting', way: 'socket', retryAtMs: 0, why: '' };

  #isLoggedOut = false;

  /**
   * @param {{socket: () => string, stream: string | null, polling: string | null, patienceMs?: number}} addresses null: there is no
   *   such way; patience: how long the first word may take
   * @param {(message: ServerMessage) => void} onMessage
   * @param {(state: LinkState) => void} onState
   */
  constructor(addresses, onMessage, onState) {
    this.#addresses = addresses;
    this.#onMessage = onMessage;
    this.#onState = onState;
    setInterval(() => this.#watch(), 1000);
    addEventListener('online', () => this.retryNow());
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'visible') this.#watch();
    });
  }

  connect() {
    clearTimeout(this.#retryTimer);
    this.#closeLink();
    const way = WAYS[this.#way] ?? 'socket';
    this.#heardMs = Date.now();
    this.#tell('connecting');
    this.#link = this.#open(way);
  }

  /** Does not wait any longer. */
  retryNow() {
    if (this.state.state !== 'waiting') return;
    this.#attempts = 0;
    this.connect();
  }

  /** Candles come by the socket only; where it is not the way, they are asked for. */
  get bringsCandles() {
    return this.state.way === 'socket' && this.state.state === 'open';
  }

  /** @param {{symbol: string, tf: Timeframe} | null} wanted */
  watchCandles(wanted) {
    this.#candles = wanted;
    this.#link?.watch(wanted);
  }

  /** @param {object} message */
  send(message) {
    this.#link?.send(message);
  }

  /** @param {Way} way */
  #open(way) {
    const { socket, stream, polling } = this.#addresses;
    /** @type {LinkEvents} */
    const events = {
      message: (message) => this.#receive(message),
      alive: () => this.#heard(),
      cursor: (joined) => Cursor.takeJoined(joined, this.#cursors),
      lost: (why) => this.#lost(why),
    };
    try {
      if (way === 'socket') {
        const link = new SocketLink(socket(), this.#cursors, events);
        link.watch(this.#candles);
        return link;
      }
      if (way === 'stream' && stream !== null) return new StreamLink(stream, Cursor.join(this.#cursors), events);
      if (way === 'polling' && polling !== null) return new PollingLink(polling, Cursor.join(this.#cursors), events);
    } catch (error) {
      setTimeout(() => this.#lost(String(error)));
    }
    return null;
  }

  /** @param {ServerMessage} message */
  #receive(message) {
    if (message.type === 'shutdown') this.#retryAfterMs = message.retry_after_ms;
    if ('cursor' in message && message.cursor !== '') this.#follow(message);
    if (message.type === 'snapshot' || message.type === 'update') this.#heard();
    else this.#heardMs = Date.now();
    this.#onMessage(message);
  }

  /** @param {Extract<ServerMessage, {cursor: string}>} message */
  #follow(message) {
    if (message.channel === 'candles') return;
    const cursor = (this.#cursors[message.channel] ??= new Cursor());
    if (message.type === 'snapshot' && message.full) cursor.clear();
    cursor.take(message.cursor);
  }

  #heard() {
    this.#heardMs = Date.now();
    if (this.state.state === 'open') return;
    this.#attempts = 0;
    this.#failures = 0;
    this.#isLoggedOut = false;
    this.#betterTriedMs = Date.now();
    this.#tell('open');
  }

  /** @param {string} why */
  #lost(why) {
    const wasOpen = this.state.state === 'open';
    this.#closeLink();
    const asked = this.#retryAfterMs;
    this.#retryAfterMs = 0;
    const after = asked > 0 ? asked : retryMs(this.#attempts);
    this.#attempts += 1;
    this.#tell('waiting', Date.now() + after, why);
    this.#retryTimer = setTimeout(() => this.connect(), after);
    if (!wasOpen) this.#askServer();
  }

  /** A way that fails is left where the server answers otherwise; a server that is away is waited for. */
  async #askServer() {
    const answer = await fetch('.', { method: 'HEAD', cache: 'no-store' }).catch(() => null);
    if (this.state.state !== 'waiting') return;
    this.#isLoggedOut = answer?.status === 401;
    if (this.#isLoggedOut) this.#tell('waiting', this.state.retryAtMs, this.state.why);
    this.#failures = answer?.ok === true ? this.#failures + 1 : 0;
    if (this.#failures < TRIES || this.#addresses.stream === null) return;
    this.#failures = 0;
    this.#attempts = 0;
    this.#way = this.#hasNextWay() ? this.#way + 1 : 0;
    this.connect();
  }

  #hasNextWay() {
    const next = WAYS[this.#way + 1];
    return next !== undefined && this.#addresses[next] !== null;
  }

  /** Timers stand still while a machine sleeps: what counts is when something was last heard. */
  #watch() {
    const { state } = this.state;
    const silentMs = Date.now() - this.#heardMs;
    if (state === 'waiting' && Date.now() > this.state.retryAtMs + 1000) this.retryNow();
    else if (state === 'connecting' && silentMs > (this.#addresses.patienceMs ?? SILENCE_MS)) this.#lost('no_answer');
    else if (state === 'open' && silentMs > SILENCE_MS) {
      this.#closeLink();
      this.#attempts = 0;
      // Not a failure of the way: begin again at once, and wait only if that fails too.
      this.connect();
    } else if (state === 'open' && this.#way > 0 && Date.now() - this.#betterTriedMs > TRY_BETTER_MS) this.#tryBetter();
  }

  #tryBetter() {
    this.#betterTriedMs = Date.now();
    this.#better?.close();
    /** @type {Record<string, Cursor>} */
    const cursors = {};
    /** @type {LinkEvents} */
    const events = {
      alive: () => {},
      cursor: () => {},
      lost: () => this.#better?.close(),
      message: () => {
        this.#better?.close();
        this.#better = null;
        this.#way = 0;
        this.connect();
      },
    };
    try {
      this.#better = new SocketLink(this.#addresses.socket(), cursors, events);
    } catch {
      this.#better = null;
    }
  }

  #closeLink() {
    this.#link?.close();
    this.#link = null;
  }

  /**
   * @param {LinkState['state']} state
   * @param {number} [retryAtMs]
   * @param {string} [why]
   */
  #tell(state, retryAtMs = 0, why = '') {
    this.state = { state, way: WAYS[this.#way] ?? 'socket', retryAtMs, why, isLoggedOut: this.#isLoggedOut };
    this.#onState(this.state);
  }
}
