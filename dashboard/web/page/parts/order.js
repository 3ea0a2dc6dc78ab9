// Orders of the watchlist. Numbers are compared as exact decimals, and what is not known comes last either way.

/** @import {Row} from '../protocol.js' */

import { units } from '../decimal.js';
import { keyOf } from '../state/market.js';

/** @typedef {'symbol' | 'last' | 'change' | 'high' | 'low' | 'volume' | 'age'} Column */

/**
 * @param {Row} row
 * @param {Column} column
 * @returns {bigint | null}
 */
function valueOf(row, column) {
  const value = {
    symbol: null,
    last: row.price,
    change: row.change_pct,
    high: row.high,
    low: row.low,
    volume: row.volume_24h ?? row.quote_volume_24h,
    age: row.event_time_us === null ? null : String(-row.event_time_us),
  }[column];
  return value === null ? null : units(value);
}

/**
 * Keys in order.
 * @param {Iterable<Row>} rows
 * @param {Column} column
 * @param {boolean} descending
 */
export function inOrder(rows, column, descending) {
  const keyed = [...rows].map((row) => ({ key: keyOf(row), value: valueOf(row, column) }));
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
