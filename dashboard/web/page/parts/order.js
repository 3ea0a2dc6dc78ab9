// Orders of the watchlist. Numbers are compared as exact decimals, and what is not known comes last either way.

/** @import {Row} from '../protocol.js' */
/** @import {Rates} from '../state/convert.js' */

import { multiply, units } from '../decimal.js';
import { quoteOf } from '../state/convert.js';
import { keyOf } from '../state/market.js';

/** @typedef {'symbol' | 'last' | 'change' | 'high' | 'low' | 'volume' | 'age'} Column */

/**
 * What a row's day of trading was worth, in what its price is in: the source's own word, else its volume by the price now.
 * @param {Row} row
 */
export function turnover(row) {
  if (row.quote_volume_24h !== null) return row.quote_volume_24h;
  return row.volume_24h === null || row.price === null ? null : multiply(row.volume_24h, row.price);
}

/**
 * Turnovers are compared in one currency where a rate is known.
 * @param {Row} row
 * @param {Rates | null} rates
 */
function inDollars(row, rates) {
  const value = turnover(row);
  const rate = value === null ? undefined : rates?.between(quoteOf(row.symbol) ?? '', 'USD');
  return value === null || rate == null ? value : multiply(value, rate.value);
}

/**
 * @param {Row} row
 * @param {Column} column
 * @param {Rates | null} rates
 * @returns {bigint | null}
 */
function valueOf(row, column, rates) {
  const value = {
    symbol: null,
    last: row.price,
    change: row.change_pct,
    high: row.high,
    low: row.low,
    volume: column === 'volume' ? inDollars(row, rates) : null,
    age: row.event_time_us === null ? null : String(-row.event_time_us),
  }[column];
  return value === null ? null : units(value);
}

/**
 * Keys in order.
 * @param {Iterable<Row>} rows
 * @param {Column} column
 * @param {boolean} descending
 * @param {Rates | null} [rates]
 */
export function inOrder(rows, column, descending, rates = null) {
  const keyed = [...rows].map((row) => ({ key: keyOf(row), value: valueOf(row, column, rates) }));
  const byName = (/** @type {{key: string}} */ a, /** @type {{key: string}} */ b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
  keyed.sort((a, b) => {
    if (column === 'symbol') return descending ? byName(b, a) : byName(a, b);
    if (a.value === null || b.value === null) return a.value === b.value ? byName(a, b) : a.value === null ? 1 : -1;
    if (a.value === b.value) return byName(a, b);
    return a.value < b.value === descending ? 1 : -1;
  });
  return keyed.map(({ key }) => key);
}

/**
 * Whether a row is among those looked for: every word is in its symbol or source.
 * @param {{symbol: string, source: string}} row
 * @param {string} filter
 */
export function matches(row, filter) {
  const text = `${row.symbol} ${row.source}`.toLowerCase();
  return filter.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}
