// What the reader looks at, and how: kept in the address, so that a link opens the same view.

/** @import {Market} from './state/market.js' */
/** @import {View} from './state/view.js' */

import { keyOf } from './state/market.js';
import { readView, writeView } from './state/view.js';

/** What is shown to a reader who has chosen nothing, where there is such a thing. */
const USUAL = 'BTC-USD';

export class Choice {
  #market;
  #isReplay;
  /** @type {View} */
  #view;

  /**
   * @param {Market} market
   * @param {boolean} isReplay
   */
  constructor(market, isReplay) {
    this.#market = market;
    this.#isReplay = isReplay;
    this.#view = readView(location.search, isReplay);
  }

  get view() {
    return this.#view;
  }

  /** The row that is looked at. */
  get row() {
    const { symbol, source } = this.#view;
    return symbol === null || source === null ? undefined : this.#market.rows.get(keyOf({ symbol, source }));
  }

  /**
   * @param {Partial<View>} changes
   * @param {boolean} isStep whether the browser's Back leads to what was before
   */
  set(changes, isStep) {
    this.#view = { ...this.#view, ...changes };
    const address = `${location.pathname}${writeView(this.#view, location.search, this.#isReplay)}`;
    if (address === location.pathname + location.search) return;
    if (isStep) history.pushState(null, '', address);
    else history.replaceState(null, '', address);
  }

  /** The address was changed by the browser. */
  follow() {
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
