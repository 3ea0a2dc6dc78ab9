// One WebSocket that comes back by itself: exponential back-off with full jitter, a watchdog over the server's heartbeat, and
// the sequence number checked, so that a loss is never silent.

/** @import {ServerMessage} from './protocol.js' */

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 30_000;
/** The server's heartbeat comes every second. */
const SILENCE_MS = 6_000;

export class Connection {
  #url;
  #onMessage;
  #onState;
  /** @type {WebSocket | null} */
  #socket = null;
  #seq = 0;
  #attempts = 0;
  #retryTimer = 0;
  #watchdog = 0;

  /**
   * @param {string} url
   * @param {(message: ServerMessage) => void} onMessage
   * @param {(state: 'connecting' | 'open' | 'waiting', retryMs?: number) => void} onState
   */
  constructor(url, onMessage, onState) {
    this.#url = url;
    this.#onMessage = onMessage;
    this.#onState = onState;
    addEventListener('online', () => {
      if (this.#socket === null) this.connect();
    });
  }

  connect() {
    clearTimeout(this.#retryTimer);
    this.#onState('connecting');
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    this.#seq = 0;
    this.#expectMessage();
    socket.onopen = () => {
      socket.send(JSON.stringify({ type: 'subscribe', id: 1, channel: 'ticks' }));
      socket.send(JSON.stringify({ type: 'subscribe', id: 2, channel: 'gaps' }));
    };
    socket.onmessage = (event) => this.#receive(socket, event.data);
    socket.onclose = () => this.#lost(socket);
  }

  /**
   * @param {WebSocket} socket
   * @param {string} text
   */
  #receive(socket, text) {
    if (socket !== this.#socket) return;
    /** @type {ServerMessage} */
    const message = JSON.parse(text);
    this.#expectMessage();
    if (message.seq !== this.#seq + 1) {
      console.warn(`message ${message.seq} after ${this.#seq}: connecting again`);
      this.#drop();
      return;
    }
    this.#seq = message.seq;
    if (message.type === 'snapshot') {
      this.#attempts = 0;
      this.#onState('open');
    }
    this.#onMessage(message);
  }

  #expectMessage() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#drop(), SILENCE_MS);
  }

  /** Gives a connection up without waiting for the other side. */
  #drop() {
    const socket = this.#socket;
    if (socket === null) return;
    this.#lost(socket);
    socket.close();
  }

  /** @param {WebSocket} socket */
  #lost(socket) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    clearTimeout(this.#watchdog);
    const longest = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** this.#attempts);
    this.#attempts += 1;
    const retryMs = 200 + Math.random() * longest;
    this.#onState('waiting', retryMs);
    this.#retryTimer = setTimeout(() => this.connect(), retryMs);
  }
}
