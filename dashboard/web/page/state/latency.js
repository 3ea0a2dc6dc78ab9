// What was measured in the last minute, and its median and 99th percentile. Where much is measured every n-th counts, so that it is the
// whole minute that is told of.

const WINDOW_MS = 60_000;
const LARGEST = 1024;
const A_SECOND = 16;

export class Latency {
  /** @type {Float64Array} */
  #values = new Float64Array(LARGEST);
  /** @type {Float64Array} */
  #times = new Float64Array(LARGEST);
  #next = 0;
  #count = 0;
  #second = 0;
  #inSecond = 0;
  #every = 1;

  /**
   * @param {number} us
   * @param {number} nowMs
   */
  add(us, nowMs) {
    const second = Math.floor(nowMs / 1000);
    if (second !== this.#second) {
      // As many as came in the second before are expected.
      this.#every = second === this.#second + 1 ? Math.max(1, Math.ceil(this.#inSecond / A_SECOND)) : 1;
      this.#second = second;
      this.#inSecond = 0;
    }
    this.#inSecond += 1;
    if (this.#inSecond % this.#every !== 0) return;
    this.#values[this.#next] = Math.max(0, us);
    this.#times[this.#next] = nowMs;
    this.#next = (this.#next + 1) % LARGEST;
    this.#count = Math.min(LARGEST, this.#count + 1);
  }

  /**
   * @param {number} nowMs
   * @returns {import('../protocol.js').Hop}
   */
  hop(nowMs) {
    const recent = this.#values.filter((_, i) => i < this.#count && nowMs - (this.#times[i] ?? 0) <= WINDOW_MS).sort();
    if (recent.length === 0) return null;
    const at = (/** @type {number} */ share) => recent[Math.min(recent.length - 1, Math.floor(recent.length * share))] ?? 0;
    return { p50_us: at(0.5), p99_us: at(0.99), count: recent.length };
  }
}
