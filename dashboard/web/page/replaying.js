// A replay on this page: its state, the time that it has, and why it does not start.

/** @import {Connection} from './link/connection.js' */
/** @import {Replay} from './protocol.js' */
/** @import {Clock} from './state/clock.js' */

import { ReplayBar } from './parts/replay.js';

export class Replaying {
  bar;
  /** @type {Replay | null} */
  state = null;
  /** Why it does not start, in the server's own words. @type {string | null} */
  refused = null;
  #address;

  /**
   * @param {Connection} connection
   * @param {string} address of the replay
   */
  constructor(connection, address) {
    this.bar = new ReplayBar(location.search, (message) => connection.send(message));
    this.#address = address;
  }

  /**
   * @param {Replay} replay
   * @param {Clock} clock
   */
  take(replay, clock) {
    this.state = replay;
    const speed = replay.speed === 'max' ? 0 : Number(replay.speed);
    clock.follow(replay.at_us, replay.state === 'playing' ? speed : 0);
    this.bar.show(replay);
  }

  /** A browser does not say why an upgrade was refused; the same address without one does. */
  async askWhyRefused() {
    const answer = await fetch(this.#address).catch(() => null);
    const body = await answer?.json().catch(() => null);
    if (body?.error !== undefined && answer?.status !== 426) this.refused = String(body.error);
  }
}
