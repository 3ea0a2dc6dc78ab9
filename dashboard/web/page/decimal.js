// Exact arithmetic on decimal texts: whole numbers of 10^-18, which is what the server's decimals have. No float anywhere.

const SCALE = 18;
const ONE = 10n ** BigInt(SCALE);

/**
 * A decimal text as a whole number of 10^-18.
 * @param {string} text
 */
export function units(text) {
  const [whole = '0', fraction = ''] = text.replace('-', '').split('.');
  const size = BigInt((whole === '' ? '0' : whole) + fraction.slice(0, SCALE).padEnd(SCALE, '0'));
  return text.startsWith('-') ? -size : size;
}

/**
 * The text of a whole number of 10^-18, without zeros at its end.
 * @param {bigint} value
 */
export function text(value) {
  const digits = String(value < 0n ? -value : value).padStart(SCALE + 1, '0');
  const fraction = digits.slice(-SCALE).replace(/0+$/, '');
  return (value < 0n ? '-' : '') + digits.slice(0, -SCALE) + (fraction === '' ? '' : `.${fraction}`);
}

/**
 * @param {string} a
 * @param {string} b
 */
export function compare(a, b) {
  const difference = units(a) - units(b);
  return difference > 0n ? 1 : difference < 0n ? -1 : 0;
}

/**
 * @param {string} a
 * @param {string} b
 */
export function subtract(a, b) {
  return text(units(a) - units(b));
}

/**
 * @param {string[]} values
 */
export function sum(values) {
  return text(values.reduce((total, value) => total + units(value), 0n));
}

/**
 * a × b, rounded to 18 digits after the point.
 * @param {string} a
 * @param {string} b
 */
export function multiply(a, b) {
  return text(quotient(units(a) * units(b), ONE));
}

/**
 * a ÷ b, rounded to 18 digits after the point; null where b is zero.
 * @param {string} a
 * @param {string} b
 */
export function divide(a, b) {
  const by = units(b);
  return by === 0n ? null : text(quotient(units(a) * ONE, by));
}

/**
 * Half way between two.
 * @param {string} a
 * @param {string} b
 */
export function middle(a, b) {
  return text((units(a) + units(b)) / 2n);
}

/**
 * Rounded, half away from zero, to exactly so many digits after the point.
 * @param {string} value
 * @param {number} digits
 */
export function round(value, digits) {
  const kept = Math.min(SCALE, Math.max(0, digits));
  const step = 10n ** BigInt(SCALE - kept);
  const rounded = text(quotient(units(value), step) * step);
  if (kept === 0) return rounded;
  const [whole = '0', fraction = ''] = rounded.split('.');
  return `${whole}.${fraction.padEnd(kept, '0')}`;
}

/**
 * Rounded to so many digits that count.
 * @param {string} value
 * @param {number} significant
 */
export function roundSignificant(value, significant) {
  const size = String(units(value)).replace('-', '').length;
  const digits = Math.max(0, SCALE - size + significant);
  return units(value) === 0n ? '0' : text(units(round(value, digits)));
}

/**
 * Digits after the point that a step of this size has.
 * @param {string} step
 */
export function fractionDigits(step) {
  return (text(units(step)).split('.')[1] ?? '').length;
}

/**
 * Whether a price is further from another than noise: at least one step.
 * @param {string} from
 * @param {string} to
 * @param {string | null} step
 */
export function hasMoved(from, to, step) {
  if (from === to) return false;
  const difference = units(to) - units(from);
  const least = step === null ? 1n : units(step);
  return (difference < 0n ? -difference : difference) >= (least > 0n ? least : 1n);
}

/**
 * @param {bigint} a
 * @param {bigint} b
 */
function quotient(a, b) {
  const negative = a < 0n !== b < 0n;
  const [above, below] = [a < 0n ? -a : a, b < 0n ? -b : b];
  const rounded = (above + below / 2n) / below;
  return negative ? -rounded : rounded;
}
