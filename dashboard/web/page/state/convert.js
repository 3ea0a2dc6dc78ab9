// A price in another currency, by a rate that is live: implied, never quoted, and said so. Exact until it is rounded for show.

/** @import {Row} from '../protocol.js' */

import { compare, divide, multiply, round, roundSignificant } from '../decimal.js';

/** Currencies that are offered wherever a way leads to them. */
const OFFERED = ['USD', 'BRL', 'EUR', 'USDT', 'BTC'];
/** By whose cross rate, where nobody quotes the two currencies to each other. */
const CROSSES = ['BTC', 'ETH', 'USDT', 'USDC'];

/**
 * @typedef {object} Rate
 * @property {string} value units of `to` for one of `from`
 * @property {string} how the symbols that it was made of
 * @property {string} source
 * @property {number} ageSeconds
 * @property {boolean} isKnown false: what it was made of may have moved, and nobody would know
 */

/** @param {string} symbol */
export function quoteOf(symbol) {
  const dash = symbol.lastIndexOf('-');
  return dash < 0 ? null : symbol.slice(dash + 1);
}

export class Rates {
  /** The best row of a symbol: an exchange rate, else the newest. @type {Map<string, Row>} */
  #best = new Map();
  /** @type {Map<string, Rate | null>} */
  #found = new Map();

  #nowUs;
  #isKnown;

  /**
   * @param {Iterable<Row>} rows
   * @param {number} [nowUs]
   * @param {(row: Row) => boolean} [isKnown] false: the price may have moved
   */
  constructor(rows, nowUs = 0, isKnown = () => true) {
    this.#nowUs = nowUs;
    this.#isKnown = isKnown;
    for (const row of rows) {
      if (row.price === null || row.kind === 'FX_IMPLIED') continue;
      const other = this.#best.get(row.symbol);
      if (other === undefined || rank(row) > rank(other)) this.#best.set(row.symbol, row);
    }
  }

  /**
   * @param {string} from
   * @param {string} to
   * @returns {Rate | null}
   */
  between(from, to) {
    const key = `${from}\n${to}`;
    const known = this.#found.get(key);
    if (known !== undefined) return known;
    const found = this.#direct(from, to) ?? this.#inverse(from, to) ?? this.#cross(from, to);
    this.#found.set(key, found);
    return found;
  }

  /** @param {Iterable<string>} quotes currencies that prices are in */
  offered(quotes) {
    const froms = [...new Set(quotes)];
    return OFFERED.filter((to) => froms.some((from) => from !== to && this.between(from, to) !== null));
  }

  /**
   * @param {string} from
   * @param {string} to
   */
  #direct(from, to) {
    const row = this.#best.get(`${from}-${to}`);
    return row?.price == null ? null : this.#rate(row.price, [row]);
  }

  /**
   * @param {string} from
   * @param {string} to
   */
  #inverse(from, to) {
    const row = this.#best.get(`${to}-${from}`);
    const value = row?.price == null ? null : divide('1', row.price);
    return row === undefined || value === null ? null : this.#rate(value, [row]);
  }

  /**
   * @param {string} from
   * @param {string} to
   */
  #cross(from, to) {
    for (const base of CROSSES) {
      const [one, other] = [this.#best.get(`${base}-${to}`), this.#best.get(`${base}-${from}`)];
      if (one?.price == null || other?.price == null) continue;
      const value = divide(one.price, other.price);
      if (value !== null) return this.#rate(value, [one, other]);
    }
    return null;
  }

  /**
   * @param {string} value
   * @param {Row[]} rows
   * @returns {Rate}
   */
  #rate(value, rows) {
    return {
      value,
      how: rows.map((row) => row.symbol).join(' / '),
      source: [...new Set(rows.map((row) => row.source))].join(', '),
      ageSeconds: (this.#nowUs - Math.min(...rows.map((row) => row.event_time_us ?? 0))) / 1e6,
      isKnown: rows.every((row) => this.#isKnown(row)),
    };
  }
}

/**
 * @param {string} price
 * @param {Rate} by
 */
export function implied(price, by) {
  const value = multiply(price, by.value);
  return compare(value, '10000') >= 0 ? round(value, 2) : roundSignificant(value, 6);
}

/** @param {Row} row */
function rank(row) {
  return (row.kind === 'FX' ? 1e17 : 0) + (row.event_time_us ?? 0);
}
