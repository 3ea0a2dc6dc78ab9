// The server's time, as this browser can know it. A ping says how far the clocks are apart to half its way there and back; the
// quickest of the last ones is believed. What the clocks differ by is never part of a latency.

const KEPT = 12;

export class Clock {
  /** @type {{offsetUs: number, tripUs: number}[]} */
  #pings = [];
  #heartbeatUs = Number.NEGATIVE_INFINITY;
  #isOld = false;
  /** @type {{atUs: number, seenMs: number, rate: number} | null} */
  #replay = null;

  /** @param {() => number} [now] milliseconds of this machine's clock */
  constructor(now = Date.now) {
    this.now = now;
  }

  /**
   * A question sent at `sentUs` by this machine's clock was answered at `serverUs` by the server's.
   * @param {number} sentUs
   * @param {number} serverUs
   */
  ping(sentUs, serverUs) {
    const receivedUs = this.now() * 1000;
    const tripUs = receivedUs - sentUs;
    // A clock that was set meanwhile, or a page that slept, measures nothing.
    if (tripUs < 0 || tripUs > 10e6) return null;
    this.#renew();
    this.#pings.push({ offsetUs: serverUs - (sentUs + receivedUs) / 2, tripUs });
    if (this.#pings.length > KEPT) this.#pings.shift();
    return tripUs;
  }

  /**
   * Where nothing can be asked: a message says a time that is past when it comes, so the largest difference is the nearest.
   * @param {number} serverUs
   */
  heartbeat(serverUs) {
    this.#renew();
    this.#heartbeatUs = Math.max(this.#heartbeatUs, serverUs - this.now() * 1000);
  }

  /** What was measured before may not hold: another server, or this clock was set. Until something is measured it is the best there is. */
  forget() {
    this.#isOld = true;
  }

  #renew() {
    if (!this.#isOld) return;
    this.#isOld = false;
    this.#pings = [];
    this.#heartbeatUs = Number.NEGATIVE_INFINITY;
  }

  /** How far the server's clock is ahead of this one; null where nobody knows. */
  get offsetUs() {
    let best = null;
    for (const ping of this.#pings) if (best === null || ping.tripUs < best.tripUs) best = ping;
    if (best !== null) return best.offsetUs;
    return Number.isFinite(this.#heartbeatUs) ? this.#heartbeatUs : null;
  }

  /**
   * From now on it is the time of a replay.
   * @param {number} atUs
   * @param {number} rate replayed seconds a second; 0 while it stands
   */
  follow(atUs, rate) {
    this.#replay = { atUs, seenMs: this.now(), rate };
  }

  /** The server's time, or the replayed one, in microseconds. */
  nowUs() {
    if (this.#replay !== null) {
      const { atUs, seenMs, rate } = this.#replay;
      return atUs + Math.min(2, (this.now() - seenMs) / 1000) * rate * 1e6;
    }
    return this.now() * 1000 + (this.offsetUs ?? 0);
  }
}
