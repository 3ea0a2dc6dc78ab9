// The chosen series' newest ticks, a bounded table.

/** @import {Row} from '../protocol.js' */

import { compare } from '../decimal.js';
import { element, make } from '../dom.js';
import { ARROWS, formatLatency, formatTime } from '../format.js';
import { nextFrame } from '../frame.js';
import { TickList } from '../state/tick_list.js';
import { t } from '../words/words.js';

const EVERY_MS = 250;

export class RecentTicks {
  #body = element('ticks', HTMLTableSectionElement);
  /** What each row shows, from the top. @type {(import('../state/tick_list.js').Listed | undefined)[]} */
  #written = [];
  #list = new TickList();
  #numbers;
  #nowUs;
  /** The series' step: ticks of the log do not have it. @type {string | null} */
  #step = null;
  #writtenMs = 0;
  #today = 0;

  /**
   * @param {import('../format.js').Numbers} numbers
   * @param {() => number} nowUs
   */
  constructor(numbers, nowUs) {
    this.#numbers = numbers;
    this.#nowUs = nowUs;
  }

  /** Another series. @param {Row} row its newest tick */
  show(row) {
    this.#step = row.tick_size;
    this.#written.fill(undefined);
    this.#list.show([row]);
    this.#later();
  }

  /**
   * The ones that the server has.
   * @param {Row[]} ticks newest first
   */
  join(ticks) {
    this.#list.join(ticks);
    this.#later();
  }

  /** @param {Row} tick */
  add(tick) {
    this.#step = tick.tick_size ?? this.#step;
    this.#list.add(tick);
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

  /** A row that falls out at the end comes in at the top, and only what is new is written. No element is made for a tick. */
  #write() {
    const { ticks } = this.#list;
    const nowUs = this.#nowUs();
    while (this.#body.rows.length > ticks.length) this.#body.deleteRow(-1);
    while (this.#body.rows.length < ticks.length) this.#body.append(tickRow());
    this.#written.length = ticks.length;
    const newest = this.#written[0];
    const newer = newest === undefined ? 0 : ticks.indexOf(newest);
    for (let i = 0; i < newer; i += 1) {
      this.#body.prepend(this.#body.rows[ticks.length - 1] ?? tickRow());
      this.#written.pop();
      this.#written.unshift(undefined);
    }
    const today = Math.floor(nowUs / 86_400e6);
    if (today !== this.#today) this.#written.fill(undefined);
    this.#today = today;
    for (const [i, tick] of ticks.entries()) {
      // The one before it decides the arrow.
      if (this.#written[i] === tick && this.#written[i + 1] === ticks[i + 1]) continue;
      this.#written[i] = tick;
      const [at, price, quantity, delay] = this.#body.rows[i]?.cells ?? [];
      if (!at || !price || !quantity || !delay || tick.price === null) continue;
      const leftOut = tick.leftOut ?? 0;
      const before = leftOut > 0 ? null : ticks[i + 1]?.price;
      const way = before == null ? 0 : compare(tick.price, before);
      const us = tick.event_time_us ?? 0;
      const time = `${formatTime(us, nowUs)}.${String(Math.floor(us / 1000) % 1000).padStart(3, '0')}`;
      write(at, leftOut > 0 ? `${time} ⋯${leftOut}` : time,
        `${new Date(us / 1000).toISOString()} · ${t(tick.event_time_origin === 'SOURCE' ? 'own_clock' : 'our_clock')}${
          leftOut > 0 ? ` · ${t('left_out', { n: leftOut })}` : ''}`);
      price.dataset['direction'] = way > 0 ? 'up' : way < 0 ? 'down' : 'flat';
      write(price, `${way > 0 ? ARROWS.up : way < 0 ? ARROWS.down : ''} ${this.#numbers.price(tick.price, tick.tick_size ?? this.#step)}`,
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
