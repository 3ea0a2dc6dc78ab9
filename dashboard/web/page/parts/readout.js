// The candle that is pointed at, or the last one, with its exact digits.

/** @import {Candle, Gap} from '../protocol.js' */

import { divide, fractionDigits, multiply, round, subtract, sum } from '../decimal.js';
import { html, make } from '../dom.js';
import { formatTime } from '../format.js';
import { named, t } from '../words/words.js';

const AVERAGE_OF = 20;

/**
 * @param {import('../format.js').Numbers} numbers
 * @param {{candle: Candle | undefined, before: Candle[], compared: Candle | undefined, gap: Gap | undefined, isPart: boolean, step: string | null}} at
 *   `step`: the price's smallest
 */
export function showReadout(numbers, { candle, before, compared, gap, isPart, step }) {
  const target = html('readout');
  const shading = gap === undefined ? '' : t('in_gap', { reason: named('gap', gap.reason) });
  if (candle === undefined) {
    target.replaceChildren(...(shading === '' ? [] : [make('span', 'warn', shading)]));
    return;
  }
  /** @type {HTMLElement[]} */
  const parts = [make('time', '', formatTime(candle.start_us, 0))];
  const add = (/** @type {string} */ name, /** @type {string} */ value, /** @type {string} */ className = '') => {
    const part = make('span', className);
    part.append(make('abbr', '', name), ` ${value}`);
    parts.push(part);
  };
  add(t('candle_open'), numbers.padded(candle.open, step));
  add(t('candle_high'), numbers.padded(candle.high, step));
  add(t('candle_low'), numbers.padded(candle.low, step));
  add(t('candle_close'), numbers.padded(candle.close, step), 'close');
  if (candle.volume !== null) add(t('candle_volume'), numbers.exact(candle.volume));
  const mean = average(before.map((each) => each.close), numbers, step ?? candle.close);
  if (mean !== null) add(t('average', { n: AVERAGE_OF }), mean, 'average');
  if (compared !== undefined) {
    const difference = subtract(candle.close, compared.close);
    const share = divide(multiply(difference, '100'), compared.close);
    const percent = share === null ? '' : ` (${numbers.percent(share)})`;
    add(compared.source, numbers.padded(compared.close, step), 'compared');
    add(t('difference'), `${numbers.padded(difference, step)}${percent}`, 'compared');
  }
  if (shading !== '') parts.push(make('span', 'warn', shading));
  else if (isPart) parts.push(make('span', 'warn', t('incomplete')));
  target.replaceChildren(...parts);
}

/**
 * The mean of the last closes, exact until it is rounded to a digit more than a price has.
 * @param {string[]} closes
 * @param {import('../format.js').Numbers} numbers
 * @param {string} like a price, or its step
 */
function average(closes, numbers, like) {
  if (closes.length < AVERAGE_OF) return null;
  const mean = divide(sum(closes.slice(-AVERAGE_OF)), String(AVERAGE_OF));
  return mean === null ? null : numbers.exact(round(mean, fractionDigits(like) + 1));
}
