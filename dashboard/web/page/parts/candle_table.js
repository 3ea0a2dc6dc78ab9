// The chart as a table for those who do not see it. Rows stand where they are and only their changed cells are written, so that who
// reads in it keeps the place.

/** @import {Candle} from '../protocol.js' */

import { html, make, setText } from '../dom.js';
import { formatTime } from '../format.js';
import { t } from '../words/words.js';

const LONGEST = 200;

export class CandleTable {
  element = html('bars');
  #numbers;
  #body = make('tbody');
  /** By the candle's start. @type {Map<number, HTMLTableRowElement>} */
  #rows = new Map();

  /** @param {import('../format.js').Numbers} numbers */
  constructor(numbers) {
    this.#numbers = numbers;
    const columns = [t('start'), t('open'), t('high'), t('low'), t('close_price'), t('volume'), t('trades'), t('complete')];
    const head = make('tr');
    for (const [i, column] of columns.entries()) {
      const cell = make('th', i === 0 ? '' : 'number', column);
      cell.scope = 'col';
      head.append(cell);
    }
    const [table, top] = [make('table'), make('thead')];
    top.append(head);
    table.append(make('caption', 'unseen', t('chart_table')), top, this.#body);
    this.element.replaceChildren(table);
  }

  /**
   * @param {Candle[]} candles in order; the newest stand on top
   * @param {string | null} step the price's smallest
   */
  show(candles, step) {
    const shown = candles.slice(-LONGEST).reverse();
    const starts = new Set(shown.map((candle) => candle.start_us));
    for (const [start, row] of this.#rows) {
      if (starts.has(start)) continue;
      row.remove();
      this.#rows.delete(start);
    }
    let next = this.#body.firstElementChild;
    for (const candle of shown) {
      const row = this.#rows.get(candle.start_us) ?? this.#add(candle.start_us);
      if (row === next) next = next.nextElementSibling;
      else this.#body.insertBefore(row, next);
      const { open, high, low, close, volume, trades, complete } = candle;
      const prices = [open, high, low, close].map((price) => this.#numbers.padded(price, step));
      const texts = [...prices, volume === null ? '–' : this.#numbers.exact(volume), String(trades), t(complete ? 'yes' : 'no')];
      for (const [i, text] of texts.entries()) {
        const cell = row.cells[i + 1];
        if (cell !== undefined) setText(cell, text);
      }
    }
  }

  /** @param {number} startUs */
  #add(startUs) {
    const row = make('tr');
    const start = make('th', '', formatTime(startUs, 0));
    start.scope = 'row';
    row.append(start, ...Array.from({ length: 7 }, () => make('td', 'number')));
    this.#rows.set(startUs, row);
    return row;
  }
}
