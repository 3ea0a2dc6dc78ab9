// The candle that is pointed at, or the last one, with its exact digits; and the chart as a table for those who do not see it.

/** @import {Candle, Gap} from '../protocol.js' */

import { divide, multiply, round, subtract, sum } from '../decimal.js';
import { html, make } from '../dom.js';
import { formatTime } from '../format.js';
import { t } from '../words/words.js';

const AVERAGE_OF = 20;
const LONGEST_TABLE = 200;

/**
 * @param {import('../format.js').Numbers} numbers
 * @param {{candle: Candle | undefined, before: Candle[], compared: Candle | undefined, gap: Gap | undefined, isPart: boolean}} at
 */
export function showReadout(numbers, { candle, before, compared, gap, isPart }) {
  const target = html('readout');
  if (candle === undefined) {
    target.replaceChildren(...(gap === undefined ? [] : [make('span', 'warn', t('in_gap', { reason: gap.reason }))]));
    return;
  }
  /** @type {HTMLElement[]} */
  const parts = [make('time', '', formatTime(candle.start_us, 0))];
  const add = (/** @type {string} */ name, /** @type {string} */ value, /** @type {string} */ className = '') => {
    const part = make('span', className);
    part.append(make('abbr', '', name), ` ${value}`);
    parts.push(part);
  };
  add(t('candle_open'), numbers.exact(candle.open));
  add(t('candle_high'), numbers.exact(candle.high));
  add(t('candle_low'), numbers.exact(candle.low));
  add(t('candle_close'), numbers.exact(candle.close), 'close');
  if (candle.volume !== null) add(t('candle_volume'), numbers.exact(candle.volume));
  const mean = average(before.map((each) => each.close), numbers, candle.close);
  if (mean !== null) add(t('average', { n: AVERAGE_OF }), mean, 'average');
  if (compared !== undefined) {
    const difference = subtract(candle.close, compared.close);
    const share = divide(multiply(difference, '100'), compared.close);
    const percent = share === null ? '' : ` (${numbers.percent(share)})`;
    add(compared.source, numbers.exact(compared.close), 'compared');
    add(t('difference'), `${numbers.exact(difference)}${percent}`, 'compared');
  }
  if (gap !== undefined) parts.push(make('span', 'warn', t('in_gap', { reason: gap.reason })));
  else if (isPart) parts.push(make('span', 'warn', t('incomplete')));
  target.replaceChildren(...parts);
}

/**
 * The mean of the last closes, exact until it is rounded as the close is.
 * @param {string[]} closes
 * @param {import('../format.js').Numbers} numbers
 * @param {string} like
 */
function average(closes, numbers, like) {
  if (closes.length < AVERAGE_OF) return null;
  const mean = divide(sum(closes.slice(-AVERAGE_OF)), String(AVERAGE_OF));
  return mean === null ? null : numbers.exact(round(mean, (like.split('.')[1] ?? '').length + 1));
}

/**
 * @param {import('../format.js').Numbers} numbers
 * @param {Candle[]} candles in order
 */
export function candleTable(numbers, candles) {
  const table = make('table');
  const head = make('tr');
  const columns = [t('start'), t('open'), t('high'), t('low'), t('close_price'), t('volume'), t('trades'), t('complete')];
  for (const [i, column] of columns.entries()) {
    const cell = make('th', i === 0 ? '' : 'number', column);
    cell.scope = 'col';
    head.append(cell);
  }
  const body = make('tbody');
  for (const candle of candles.slice(-LONGEST_TABLE).reverse()) {
    const row = make('tr');
    const start = make('th', '', formatTime(candle.start_us, 0));
    start.scope = 'row';
    row.append(start);
    for (const value of [candle.open, candle.high, candle.low, candle.close, candle.volume]) {
      row.append(make('td', 'number', value === null ? '–' : numbers.exact(value)));
    }
    row.append(make('td', 'number', String(candle.trades)), make('td', 'number', t(candle.complete ? 'yes' : 'no')));
    body.append(row);
  }
  const top = make('thead');
  top.append(head);
  table.append(make('caption', 'unseen', t('chart_table')), top, body);
  return table;
}
