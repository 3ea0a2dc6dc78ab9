// Texts for people, in the reader's own manner of writing numbers. A price is never a number here: its digits are rounded and
// grouped as text.

import { fractionDigits, round, roundSignificant } from './decimal.js';

/** @param {string} locale */
export function numbersOf(locale) {
  const parts = new Intl.NumberFormat(locale, { useGrouping: true }).formatToParts(1234567.5);
  const find = (/** @type {string} */ type) => parts.find((part) => part.type === type)?.value ?? '';
  return new Numbers(locale, find('group'), find('decimal'));
}

export class Numbers {
  #compact;

  /**
   * @param {string} locale
   * @param {string} group
   * @param {string} point
   */
  constructor(locale, group, point) {
    this.group = group;
    this.point = point;
    this.#compact = new Intl.NumberFormat(locale, { notation: 'compact', minimumFractionDigits: 2, maximumFractionDigits: 2 });
  }

  /**
   * Every digit, grouped: `1234567.8901` as `1,234,567.8901` or `1.234.567,8901`.
   * @param {string} value
   */
  exact(value) {
    const [whole = '', fraction] = value.split('.');
    const grouped = whole.replace(/\B(?=(\d{3})+$)/g, this.group);
    return fraction === undefined ? grouped : `${grouped}${this.point}${fraction}`;
  }

  /**
   * Every digit, and zeros up to the smallest step: a text that changes keeps its width.
   * @param {string} value
   * @param {string | null} step
   */
  padded(value, step) {
    const digits = value.split('.')[1]?.length ?? 0;
    const wanted = step === null ? 0 : fractionDigits(step);
    return this.exact(digits >= wanted ? value : round(value, wanted));
  }

  /**
   * With the digits that mean something: those of the smallest step.
   * @param {string} value
   * @param {string | null} step
   */
  price(value, step) {
    return this.exact(step === null ? value : round(value, fractionDigits(step)));
  }

  /**
   * `31.26B`, `31,26 bi`, `0.000412`: for sizes, with the exact digits to be shown on hover.
   * @param {string} value
   */
  compact(value) {
    if (Math.abs(Number(value)) < 1) return this.exact(roundSignificant(value, 3));
    return this.#compact.format(Number(value));
  }

  /**
   * `+1.25%`, with two digits or as many as show something.
   * @param {string} pct
   */
  percent(pct) {
    const size = Math.abs(Number(pct));
    const digits = size >= 0.005 || size === 0 ? 2 : 4;
    const sign = { up: '+', down: '−', flat: '', none: '' }[direction(pct)];
    return `${sign}${this.exact(round(pct.replace('-', ''), digits))}%`;
  }
}

/**
 * Which way a percentage points. Its sign is read from the text.
 * @param {string | null} pct
 * @returns {'up' | 'down' | 'flat' | 'none'}
 */
export function direction(pct) {
  if (pct === null) return 'none';
  if (/^-?[0.]*$/.test(pct)) return 'flat';
  return pct.startsWith('-') ? 'down' : 'up';
}

export const ARROWS = { up: '▲', down: '▼', flat: '■', none: '' };

/**
 * `4s`, `2m 05s`, `3h 07m`, `2d 04h`.
 * @param {number} seconds
 */
export function formatAge(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (/** @type {number} */ n) => String(n).padStart(2, '0');
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${two(whole % 60)}s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}h ${two(Math.floor(whole / 60) % 60)}m`;
  return `${Math.floor(whole / 86400)}d ${two(Math.floor(whole / 3600) % 24)}h`;
}

/**
 * A short time: `0.4 ms`, `12 ms`, `1.24 s`.
 * @param {number} us
 * @param {string} point
 */
export function formatLatency(us, point = '.') {
  const size = Math.max(0, us);
  const shown = size < 10_000 ? `${(size / 1e3).toFixed(1)} ms`
    : size < 1_000_000 ? `${Math.round(size / 1e3)} ms`
    : size < 60_000_000 ? `${(size / 1e6).toFixed(2)} s`
    : formatAge(size / 1e6);
  return shown.replace('.', point);
}

/**
 * `14:03:10`, UTC; with the day where it is not the day of `nowUs`.
 * @param {number} us
 * @param {number} [nowUs]
 */
export function formatTime(us, nowUs = us) {
  const iso = new Date(us / 1000).toISOString();
  const sameDay = new Date(nowUs / 1000).toISOString().slice(0, 10) === iso.slice(0, 10);
  return sameDay ? iso.slice(11, 19) : `${iso.slice(0, 10)} ${iso.slice(11, 19)}`;
}

/**
 * How many digits after the point a chart's axis needs for prices of this size: about six that count.
 * @param {number} price
 */
export function axisDigits(price) {
  if (!Number.isFinite(price) || price === 0) return 2;
  return Math.min(12, Math.max(2, 5 - Math.floor(Math.log10(Math.abs(price)))));
}
