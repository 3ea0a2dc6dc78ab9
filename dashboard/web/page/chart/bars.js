// The candles of one series, by their start: exact as they came, in order, older ones joined on before and newer ones put in place.

/** @import {Candle, Gone} from '../protocol.js' */

const LARGEST = 50_000;

export class Bars {
  /** @type {Map<number, Candle>} */
  #byStart = new Map();
  /** @type {number[]} */
  #starts = [];
  /** Those that look otherwise than when they were drawn; whoever draws clears it. @type {Set<number>} */
  changed = new Set();

  get size() {
    return this.#starts.length;
  }

  get firstUs() {
    return this.#starts[0] ?? null;
  }

  get lastUs() {
    return this.#starts.at(-1) ?? null;
  }

  clear() {
    this.#byStart.clear();
    this.#starts = [];
    this.changed.clear();
  }

  /**
   * Takes candles in; says what a chart has to do: nothing, draw the last ones and those that have changed again, or draw everything,
   * where one came between others.
   * @param {Candle[]} candles
   * @returns {'nothing' | 'last' | 'all'}
   */
  take(candles) {
    const lastBefore = this.lastUs ?? Number.NEGATIVE_INFINITY;
    let all = false;
    let last = false;
    let inOrder = true;
    for (const candle of candles) {
      const before = this.#byStart.get(candle.start_us);
      if (before !== undefined && isSame(before, candle)) continue;
      this.#byStart.set(candle.start_us, candle);
      if (before !== undefined) {
        last = true;
        if (!looksSame(before, candle)) this.changed.add(candle.start_us);
        continue;
      }
      if (candle.start_us > lastBefore) last = true;
      else all = true;
      inOrder &&= candle.start_us > (this.lastUs ?? Number.NEGATIVE_INFINITY);
      this.#starts.push(candle.start_us);
    }
    if (!all && !last) return 'nothing';
    if (!inOrder) this.#starts.sort((a, b) => a - b);
    while (this.#starts.length > LARGEST) this.#byStart.delete(this.#starts.shift() ?? 0);
    return all ? 'all' : 'last';
  }

  /**
   * Says whether it was among them.
   * @param {Gone} gone
   */
  forget({ start_us: startUs, price_basis: basis }) {
    if (this.#byStart.get(startUs)?.price_basis !== basis) return false;
    this.#byStart.delete(startUs);
    this.#starts.splice(firstFrom(this.#starts, startUs), 1);
    return true;
  }

  /** Of all, in order. @returns {readonly number[]} */
  get starts() {
    return this.#starts;
  }

  /** @param {number} startUs */
  at(startUs) {
    return this.#byStart.get(startUs);
  }

  /** All in order. */
  *[Symbol.iterator]() {
    for (const start of this.#starts) {
      const candle = this.#byStart.get(start);
      if (candle !== undefined) yield candle;
    }
  }

  /**
   * Those that start in a time, in order.
   * @param {number} fromUs
   * @param {number} toUs
   */
  between(fromUs, toUs) {
    const first = firstFrom(this.#starts, fromUs);
    const end = firstFrom(this.#starts, toUs + 1);
    return this.#starts.slice(first, end).flatMap((start) => this.#byStart.get(start) ?? []);
  }

  /** The last ones. @param {number} count */
  last(count) {
    return this.#starts.slice(-count).flatMap((start) => this.#byStart.get(start) ?? []);
  }
}

/**
 * Where the first of these, which are in order, is that is not before a time.
 * @param {readonly number[]} starts
 * @param {number} us
 */
export function firstFrom(starts, us) {
  let [low, high] = [0, starts.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((starts[middle] ?? 0) < us) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * @param {Candle} a
 * @param {Candle} b
 */
function isSame(a, b) {
  return looksSame(a, b) && a.complete === b.complete && a.trades === b.trades;
}

/**
 * @param {Candle} a
 * @param {Candle} b
 */
function looksSame(a, b) {
  return a.close === b.close && a.high === b.high && a.low === b.low && a.open === b.open && a.volume === b.volume;
}

/**
 * Candles of one source may stand on several kinds of price; one series draws one: that of the source's prices now, else the kind
 * with the most candles.
 * @param {Candle[]} candles
 * @param {string | null} wanted
 */
export function oneBasis(candles, wanted) {
  if (wanted !== null && candles.some((candle) => candle.price_basis === wanted)) {
    return candles.filter((candle) => candle.price_basis === wanted);
  }
  /** @type {Map<string, Candle[]>} */
  const kinds = new Map();
  for (const candle of candles) {
    const kind = kinds.get(candle.price_basis) ?? [];
    kind.push(candle);
    kinds.set(candle.price_basis, kind);
  }
  return [...kinds.values()].sort((a, b) => b.length - a.length)[0] ?? [];
}

/**
 * The mean of the last `count` closes at each of them, for drawing.
 * @param {number[]} closes
 * @param {number} count
 * @returns {(number | null)[]}
 */
export function movingAverage(closes, count) {
  let sum = 0;
  return closes.map((close, i) => {
    sum += close - (i >= count ? (closes[i - count] ?? 0) : 0);
    return i + 1 >= count ? sum / count : null;
  });
}
