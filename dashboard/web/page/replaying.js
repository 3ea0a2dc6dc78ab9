// A replay on this page: its state, the time that it has, and why it does not start.

/** @import {Connection} from './link/connection.js' */
/** @import {Replay} from './protocol.js' */
/** @import {Clock} from './state/clock.js' */

import { ReplayBar } from './parts/replay.js';
import { isoMinute } from './state/view.js';

export class Replaying {
  bar;
  /** @type {Replay | null} */
  state = null;
  /** Why it does not start, in the server's own words. @type {string | null} */
  refused = null;
  #connection;
  #pausesAgain = false;

  /** @param {Connection} connection */
  constructor(connection) {
    this.#connection = connection;
    this.bar = new ReplayBar(location.search, (message) => connection.send(message));
  }

  /** Where it is; a fast one may be told to be ahead of the log for a moment. */
  get #atUs() {
    return this.state === null ? null : Math.round(Math.min(this.state.at_us, this.state.live_us));
  }

  /** Where the server gives it: from where it is, so that a loss does not begin it anew. */
  get address() {
    const query = new URLSearchParams(location.search);
    const from = this.#atUs === null ? query.get('from') : String(this.#atUs);
    const asked = new URLSearchParams({ from: from ?? '', speed: String(this.state?.speed ?? query.get('speed') ?? '1') });
    return `ws/replay?${asked.toString().replaceAll('%3A', ':')}`;
  }

  /** This page, at the time that it shows. */
  get link() {
    const link = new URL(location.href);
    if (this.state !== null) {
      link.searchParams.set('from', isoMinute(this.#atUs ?? 0));
      link.searchParams.set('speed', String(this.state.speed));
    }
    return link.href.replaceAll('%3A', ':');
  }

  /** Another connection: a replay begins by playing. */
  goOn() {
    this.#pausesAgain = this.state?.state === 'paused';
  }

  /**
   * @param {Replay} replay
   * @param {Clock} clock
   */
  take(replay, clock) {
    if (this.#pausesAgain && replay.state === 'playing') this.#connection.send({ type: 'replay', action: 'pause' });
    this.#pausesAgain = false;
    this.state = replay;
    const speed = replay.speed === 'max' ? 0 : Number(replay.speed);
    clock.follow(replay.at_us, replay.state === 'playing' ? speed : 0);
    this.bar.show(replay);
  }

  /** A browser does not say why an upgrade was refused; the same address without one does. */
  async askWhyRefused() {
    const answer = await fetch(this.address).catch(() => null);
    const body = await answer?.json().catch(() => null);
    if (body?.error !== undefined && answer?.status !== 426) this.refused = String(body.error);
  }
}
