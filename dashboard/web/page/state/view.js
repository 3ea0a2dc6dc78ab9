// What the reader looks at, as the address holds it: a link opens the same view.

/** @import {Timeframe} from '../protocol.js' */

/** @type {Timeframe[]} */
export const TIMEFRAMES = ['1s', '1m', '5m', '1h', '1d'];
export const SECONDS = { '1s': 1, '1m': 60, '5m': 300, '1h': 3600, '1d': 86400 };
const LONGEST_NAME = 64;
/** As many candles as can be had at once, and as few as still make a chart. */
const BARS = { least: 10, most: 4900 };

/**
 * @typedef {object} View
 * @property {string | null} symbol
 * @property {string | null} source
 * @property {Timeframe} tf
 * @property {number | null} fromUs where the chart begins; null: it follows the present
 * @property {number | null} toUs where it ends, if it does not follow the present
 * @property {number | null} bars how many candles are in sight where it follows the present, if not as many as usual
 * @property {string | null} compare another source of the symbol
 * @property {string | null} currency in which prices are also shown
 * @property {'candles' | 'line'} style
 */

/** @type {View} */
const NOTHING = { symbol: null, source: null, tf: '1m', fromUs: null, toUs: null, bars: null, compare: null, currency: null, style: 'candles' };

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
  const time = (/** @type {string} */ key) => (replaying ? null : readTime(query.get(key) ?? ''));
  return {
    symbol: name('symbol'),
    source: name('source'),
    tf,
    fromUs: time('from'),
    toUs: time('to'),
    bars: readBars(query.get('bars')),
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
  if (!replaying) {
    set('from', view.fromUs === null ? null : isoMinute(view.fromUs));
    set('to', view.fromUs === null || view.toUs === null ? null : isoMinute(view.toUs));
  }
  set('bars', view.fromUs !== null || view.bars === null ? null : String(view.bars));
  set('compare', view.compare);
  set('currency', view.currency);
  set('style', view.style === NOTHING.style ? null : view.style);
  const text = query.toString().replaceAll('%3A', ':');
  return text === '' ? '' : `?${text}`;
}

/** @param {string | null} text */
function readBars(text) {
  const bars = /^\d{1,5}$/.test(text ?? '') ? Number(text) : 0;
  return bars < BARS.least ? null : Math.min(bars, BARS.most);
}

/**
 * What an address asks for as a time and is none; null where it is all right.
 * @param {string} search
 */
export function oddTime(search) {
  const query = new URLSearchParams(search);
  const asked = ['from', 'to'].flatMap((key) => query.get(key) ?? []);
  return asked.find((text) => text !== '' && readTime(text) === null)?.slice(0, LONGEST_NAME) ?? null;
}

const UNITS = { s: 1, m: 60, h: 3600, d: 86400, w: 604_800 };
/** A plus sign that was not escaped arrives as a space. */
const TIME = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?)(Z|[+ -]\d\d:\d\d)?)?$/;

/**
 * A time as the server takes it, in microseconds: UTC unless it says otherwise, a number since 1970, or `-24h`. Null: it is none.
 * @param {string} text
 * @param {number} [nowUs]
 */
export function readTime(text, nowUs = Date.now() * 1000) {
  const number = /^\d{1,16}$/.test(text) ? Number(text) : null;
  if (number !== null) return number < 1e11 ? number * 1e6 : number < 1e14 ? number * 1e3 : number;
  const back = /^-(\d{1,6})([smhdw])$/.exec(text);
  if (back !== null) return nowUs - Number(back[1]) * UNITS[/** @type {keyof typeof UNITS} */ (back[2])] * 1e6;
  const [, day, time = '00:00', zone = 'Z'] = TIME.exec(text) ?? [];
  const ms = day === undefined ? Number.NaN : Date.parse(`${day}T${time}${zone.replace(' ', '+')}`);
  return Number.isNaN(ms) ? null : ms * 1000;
}

/** `2026-11-21T14:00:00Z`. @param {number} us */
export function isoMinute(us) {
  return `${new Date(us / 1000).toISOString().slice(0, 19)}Z`;
}
