// What the reader looks at, as the address holds it: a link opens the same view.

/** @import {Timeframe} from '../protocol.js' */

/** @type {Timeframe[]} */
export const TIMEFRAMES = ['1s', '1m', '5m', '1h', '1d'];
export const SECONDS = { '1s': 1, '1m': 60, '5m': 300, '1h': 3600, '1d': 86400 };
const LONGEST_NAME = 64;

/**
 * @typedef {object} View
 * @property {string | null} symbol
 * @property {string | null} source
 * @property {Timeframe} tf
 * @property {number | null} fromUs where the chart begins; null: it follows the present
 * @property {string | null} compare another source of the symbol
 * @property {string | null} currency in which prices are also shown
 * @property {'candles' | 'line'} style
 */

/** @type {View} */
const NOTHING = { symbol: null, source: null, tf: '1m', fromUs: null, compare: null, currency: null, style: 'candles' };

/**
 * @param {string} search
 * @param {boolean} replaying then `from` is the replay's
 * @returns {View}
 */
export function readView(search, replaying = false) {
  const query = new URLSearchParams(search);
  const name = (/** @type {string} */ key) => {
    const value = query.get(key);
    return value === null || value === '' || value.length > LONGEST_NAME ? null : value;
  };
  const tf = TIMEFRAMES.find((each) => each === query.get('tf')) ?? NOTHING.tf;
  const from = replaying ? null : query.get('from');
  const fromMs = from === null ? Number.NaN : Date.parse(from);
  return {
    symbol: name('symbol'),
    source: name('source'),
    tf,
    fromUs: Number.isNaN(fromMs) ? null : fromMs * 1000,
    compare: name('compare'),
    currency: name('currency')?.toUpperCase() ?? null,
    style: query.get('style') === 'line' ? 'line' : 'candles',
  };
}

/**
 * The address' query for a view; what it does not speak of (lang, a replay's from and speed) stays as it is.
 * @param {View} view
 * @param {string} search
 * @param {boolean} replaying
 */
export function writeView(view, search, replaying = false) {
  const query = new URLSearchParams(search);
  const set = (/** @type {string} */ key, /** @type {string | null} */ value) => {
    if (value === null) query.delete(key);
    else query.set(key, value);
  };
  set('symbol', view.symbol);
  set('source', view.source);
  set('tf', view.tf === NOTHING.tf ? null : view.tf);
  if (!replaying) set('from', view.fromUs === null ? null : isoMinute(view.fromUs));
  set('compare', view.compare);
  set('currency', view.currency);
  set('style', view.style === NOTHING.style ? null : view.style);
  const text = query.toString().replaceAll('%3A', ':');
  return text === '' ? '' : `?${text}`;
}

/** `2026-11-21T14:00:00Z`. @param {number} us */
export function isoMinute(us) {
  return `${new Date(us / 1000).toISOString().slice(0, 19)}Z`;
}
