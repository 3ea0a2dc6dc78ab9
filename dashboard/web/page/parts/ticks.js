// The chosen series' newest ticks, a bounded table.

/** @import {Row} from '../protocol.js' */

import { compare } from '../decimal.js';
import { element, make } from '../dom.js';
import { ARROWS, formatLatency, formatTime } from '../format.js';
import { nextFrame } from '../frame.js';
import { t } from '../words/words.js';

const KEPT = 40;
const EVERY_MS = 250;

export class RecentTicks {
  #body = element('ticks', HTMLTableSectionElement);
  #numbers;
  /** Newest first. @type {Row[]} */
  #ticks = [];
  #writtenMs = 0;

  /** @param {import('../format.js').Numbers} numbers */
  constructor(numbers) {
    this.#numbers = numbers;
  }

  /** @param {Row[]} ticks newest first */
  show(ticks) {
    this.#ticks = ticks.filter((tick) => tick.price !== null).slice(0, KEPT);
    this.#later();
  }

  /**
   * Older ones, behind those that came meanwhile.
   * @param {Row[]} ticks newest first
   */
  addOlder(ticks) {
    const known = new Set(this.#ticks.map((tick) => tick.event_id));
    this.show([...this.#ticks, ...ticks.filter((tick) => !known.has(tick.event_id))]);
  }

  /** @param {Row} tick */
  add(tick) {
    if (tick.price === null || tick.event_id === this.#ticks[0]?.event_id) return;
    this.#ticks.unshift(tick);
    if (this.#ticks.length > KEPT) this.#ticks.pop();
    this.#later();
  }

  #later() {
    nextFrame('ticks', () => {
      if (performance.now() - this.#writtenMs < EVERY_MS) return true;
      this.#writtenMs = performance.now();
      this.#write();
      return false;
    });
  }

  /** The rows stand still and their texts move on: no element is made for a tick. */
  #write() {
    while (this.#body.rows.length > this.#ticks.length) this.#body.deleteRow(-1);
    while (this.#body.rows.length < this.#ticks.length) this.#body.append(tickRow());
    for (const [i, tick] of this.#ticks.entries()) {
      const [at, price, quantity, delay] = this.#body.rows[i]?.cells ?? [];
      if (!at || !price || !quantity || !delay || tick.price === null) continue;
      const before = this.#ticks[i + 1]?.price;
      const way = before == null ? 0 : compare(tick.price, before);
      const us = tick.event_time_us ?? 0;
      write(at, `${formatTime(us, 0).slice(11)}.${String(Math.floor(us / 1000) % 1000).padStart(3, '0')}`,
        `${new Date(us / 1000).toISOString()} · ${t(tick.event_time_origin === 'SOURCE' ? 'own_clock' : 'our_clock')}`);
      price.dataset['direction'] = way > 0 ? 'up' : way < 0 ? 'down' : 'flat';
      write(price, `${way > 0 ? ARROWS.up : way < 0 ? ARROWS.down : ''} ${this.#numbers.price(tick.price, tick.tick_size ?? null)}`,
        this.#numbers.exact(tick.price));
      write(quantity, tick.quantity == null ? '–' : this.#numbers.compact(tick.quantity),
        tick.quantity == null ? '' : this.#numbers.exact(tick.quantity));
      const late = tick.event_time_origin === 'SOURCE' && tick.broker_time_us !== null ? tick.broker_time_us - us : null;
      write(delay, late === null ? '–' : formatLatency(late, this.#numbers.point), '');
    }
  }
}

function tickRow() {
  const row = make('tr');
  row.append(make('td'), make('td', 'number'), make('td', 'number'), make('td', 'number'));
  return row;
}

/**
 * @param {HTMLElement} cell
 * @param {string} text
 * @param {string} title
 */
function write(cell, text, title) {
  if (cell.textContent !== text) cell.textContent = text;
  if (cell.title !== title) cell.title = title;
}
