// The delays that only the browser can measure, by the server's clock: half a ping's way, and from each exchange to this screen.

/** @import {Hop, Row} from '../protocol.js' */
/** @import {Clock} from './clock.js' */

import { Latency } from './latency.js';

const MOST_SOURCES = 50;

export class Delays {
  #clock;
  #browser = new Latency();
  /** @type {Map<string, Latency>} */
  #sources = new Map();

  /** @param {Clock} clock */
  constructor(clock) {
    this.#clock = clock;
  }

  /**
   * @param {number} sentUs
   * @param {number} serverUs
   */
  pong(sentUs, serverUs) {
    const tripUs = this.#clock.ping(sentUs, serverUs);
    if (tripUs !== null) this.#browser.add(tripUs / 2, this.#clock.now());
  }

  /** A tick has come. Before the clocks are known to differ by so much, it tells nothing. @param {Row} row */
  tick(row) {
    if (row.event_time_us === null || row.event_time_origin !== 'SOURCE' || this.#clock.offsetUs === null) return;
    let latency = this.#sources.get(row.source);
    if (latency === undefined) {
      if (this.#sources.size >= MOST_SOURCES) return;
      latency = new Latency();
      this.#sources.set(row.source, latency);
    }
    latency.add(this.#clock.nowUs() - row.event_time_us, this.#clock.now());
  }

  /** @returns {{browser: Hop, all: Map<string, Hop>}} */
  hops() {
    const nowMs = this.#clock.now();
    return {
      browser: this.#browser.hop(nowMs),
      all: new Map([...this.#sources].map(([source, latency]) => [source, latency.hop(nowMs)])),
    };
  }
}
