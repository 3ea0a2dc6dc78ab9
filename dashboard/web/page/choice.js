// What the reader looks at, and how: kept in the address, so that a link opens the same view.

/** @import {Market} from './state/market.js' */
/** @import {View} from './state/view.js' */

import { keyOf } from './state/market.js';
import { oddTime, readView, writeView } from './state/view.js';

/** What is shown to a reader who has chosen nothing, where there is such a thing. */
const USUAL = 'BTC-USD';
const STEP_MS = 1000;
const LATER_MS = 300;

export class Choice {
  #market;
  #isReplay;
  #later = 0;
  #steppedMs = Number.NEGATIVE_INFINITY;
  /** @type {View} */
  #view;
  /** What the address asked for as a time and is none, until it is said. @type {string | null} */
  odd = null;

  /**
   * @param {Market} market
   * @param {boolean} isReplay
   */
  constructor(market, isReplay) {
    this.#market = market;
    this.#isReplay = isReplay;
    this.#view = readView(location.search, isReplay);
    if (!isReplay) this.odd = oddTime(location.search);
  }

  get view() {
    return this.#view;
  }

  /** The row that is looked at: of another source while there is none of the one that is wished for. */
  get row() {
    const { symbol, source } = this.#view;
    if (symbol === null || source === null) return undefined;
    return this.#market.rows.get(keyOf({ symbol, source }))
      ?? this.#market.rows.get(keyOf({ symbol, source: this.#market.sourcesOf(symbol)[0] ?? '' }));
  }

  /**
   * @param {Partial<View>} changes
   * @param {boolean} isStep whether the browser's Back leads to what was before
   */
  set(changes, isStep) {
    // Through many symbols by a key is one step.
    const isNew = isStep && performance.now() - this.#steppedMs > STEP_MS;
    if (isStep) this.#steppedMs = performance.now();
    if (isNew && this.#later !== 0) this.#write('replaceState');
    this.#view = { ...this.#view, ...changes };
    clearTimeout(this.#later);
    // A chart that is dragged changes it with each frame, which browsers refuse.
    if (isNew) this.#write('pushState');
    else this.#later = setTimeout(() => this.#write('replaceState'), LATER_MS);
  }

  /** @param {'pushState' | 'replaceState'} how */
  #write(how) {
    this.#later = 0;
    const address = `${location.pathname}${writeView(this.#view, location.search, this.#isReplay)}`;
    if (address !== location.pathname + location.search) history[how](null, '', address);
  }

  /** The address was changed by the browser. */
  follow() {
    clearTimeout(this.#later);
    this.#view = readView(location.search, this.#isReplay);
  }

  /**
   * Looks at this row; false where it is looked at already.
   * @param {string} key
   */
  take(key) {
    const row = this.#market.rows.get(key);
    if (row === undefined) return false;
    const { symbol, source, compare } = this.#view;
    if (row.symbol === symbol && row.source === source) return false;
    const kept = row.symbol === symbol && compare !== row.source ? compare : null;
    this.set({ symbol: row.symbol, source: row.source, compare: kept, fromUs: null }, true);
    return true;
  }

  /**
   * Finds something to look at while there is nothing.
   * @param {() => string | null} firstListed
   */
  settle(firstListed) {
    const { symbol } = this.#view;
    if (this.row !== undefined) return;
    if (symbol === null) {
      const found = this.#usual ?? this.#market.rows.get(firstListed() ?? '');
      if (found !== undefined) this.set({ symbol: found.symbol, source: found.source }, false);
      return;
    }
    // A link may name what is not there yet: it keeps the place until something comes.
    const source = this.#market.sourcesOf(symbol)[0];
    if (source !== undefined) this.set({ source }, false);
  }

  get #usual() {
    return [...this.#market.rows.values()].filter((row) => row.symbol === USUAL).sort((a, b) => (a.source < b.source ? -1 : 1))[0];
  }
}
