// Texts for people. A price is never a number here: its digits are shown as they came, only grouped.

/**
 * `1234567.8901` as `1,234,567.8901`.
 * @param {string} price
 */
export function groupDigits(price) {
  const [whole = '', fraction] = price.split('.');
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ',');
  return fraction === undefined ? grouped : `${grouped}.${fraction}`;
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

const ARROWS = { up: '▲', down: '▼', flat: '■', none: '' };

/**
 * `▲ 1.25 %`, with two digits or as many as show something.
 * @param {string | null} pct
 */
export function formatChange(pct) {
  if (pct === null) return '–';
  const size = Math.abs(Number(pct));
  const digits = size >= 0.005 || size === 0 ? 2 : 4;
  return `${ARROWS[direction(pct)]} ${size.toFixed(digits)} %`;
}

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
 * How many digits after the point a chart's axis needs for prices of this size: about six that count.
 * @param {number} price
 */
export function axisDigits(price) {
  if (!Number.isFinite(price) || price === 0) return 2;
  return Math.min(12, Math.max(2, 5 - Math.floor(Math.log10(Math.abs(price)))));
}
