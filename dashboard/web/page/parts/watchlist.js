// The watchlist: one row a symbol and source, in order, changed in place. Only rows that can be seen are written, a few a frame.

/** @import {Column} from './order.js' */
/** @import {Freshness} from '../state/freshness.js' */
/** @import {Rates} from '../state/convert.js' */
/** @import {Row} from '../protocol.js' */

import { element, html, setText } from '../dom.js';
import { nextFrame } from '../frame.js';
import { quoteOf } from '../state/convert.js';
import { t } from '../words/words.js';
import { inOrder, matches } from './order.js';
import { WatchlistRow } from './watchlist_row.js';

/** More than a person looks through; the filter finds the others. */
const LARGEST = 1000;
const A_FRAME = 16;
/** A row is not written more often than it can be read. */
const EVERY_MS = 200;
const SORT_EVERY_MS = 2000;

export class Watchlist {
  #body = element('prices', HTMLTableSectionElement);
  #filter = element('filter', HTMLInputElement);
  #empty = html('empty');
  #count = html('count');
  #onSelect;
  #numbers;
  /** @type {Map<string, WatchlistRow>} */
  #rows = new Map();
  /** @type {string[]} */
  #order = [];
  /** @type {Map<string, number>} */
  #writtenMs = new Map();
  /** @type {Set<string>} */
  #dirty = new Set();
  /** @type {string | null} */
  #selected = null;
  /** @type {WatchlistRow | undefined} */
  #tabStop;
  /** What is pointed at. @type {WatchlistRow | undefined} */
  #explained;
  /** @type {Column} */
  #column = 'symbol';
  #descending = false;
  #sortedMs = 0;
  /** @type {Map<string, Row>} */
  #all = new Map();
  /** @type {Rates | null} */
  #rates = null;
  /** @type {string | null} */
  #currency = null;
  /** @type {Map<string, [number, string][]>} */
  #sparklines = new Map();
  #seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const key = entry.target instanceof HTMLElement ? entry.target.dataset['key'] : undefined;
      const row = key === undefined ? undefined : this.#rows.get(key);
      if (row === undefined || key === undefined) continue;
      row.isSeen = entry.isIntersecting;
      if (row.isSeen) this.#touch(key);
    }
  }, { rootMargin: '100px' });

  /**
   * @param {import('../format.js').Numbers} numbers
   * @param {(key: string) => void} onSelect
   */
  constructor(numbers, onSelect) {
    this.#numbers = numbers;
    this.#onSelect = onSelect;
    this.#body.addEventListener('click', (event) => {
      const row = event.target instanceof Element ? event.target.closest('tr') : null;
      if (row?.dataset['key'] !== undefined) this.#onSelect(row.dataset['key']);
    });
    for (const name of ['pointerover', 'focusin']) this.#body.addEventListener(name, (event) => this.#explain(event.target));
    this.#body.addEventListener('pointerleave', () => this.#explain(null));
    this.#filter.addEventListener('input', () => this.arrange());
    for (const head of document.querySelectorAll('[data-sort]')) {
      head.querySelector('button')?.addEventListener('click', () => this.#sortBy(/** @type {HTMLElement} */ (head)));
    }
  }

  /**
   * @param {Map<string, Row>} rows
   * @param {Set<string>} changed
   * @param {boolean} others whether rows have come or gone
   */
  take(rows, changed, others) {
    this.#all = rows;
    if (others) this.arrange();
    for (const key of changed) this.#touch(key);
    const moving = this.#column !== 'symbol' && performance.now() - this.#sortedMs > SORT_EVERY_MS;
    if (moving) this.arrange();
  }

  /**
   * @param {string | null} currency
   * @param {Rates | null} rates
   */
  showIn(currency, rates) {
    const changed = currency !== this.#currency;
    this.#currency = currency;
    this.#rates = rates;
    // A rate moves the implied price of a row that stands.
    if (changed || currency !== null) for (const key of this.#rows.keys()) this.#touch(key);
  }

  /** @param {{symbol: string, source: string, points: [number, string][]}[]} lines */
  showSparklines(lines) {
    this.#sparklines = new Map(lines.map(({ symbol, source, points }) => [`${symbol}\n${source}`, points]));
    for (const [key, row] of this.#rows) row.showSparkline(this.#sparklines.get(key) ?? []);
  }

  /** Puts the rows that are looked for in order. */
  arrange() {
    this.#sortedMs = performance.now();
    const filter = this.#filter.value.trim();
    const found = [...this.#all.values()].filter((row) => matches(row, filter));
    const all = inOrder(found, this.#column, this.#descending, this.#rates);
    const order = all.slice(0, LARGEST);
    const wanted = new Set(order);
    for (const [key, row] of this.#rows) {
      if (wanted.has(key)) continue;
      this.#seen.unobserve(row.element);
      row.element.remove();
      this.#rows.delete(key);
      this.#writtenMs.delete(key);
    }
    // An element that is moved loses the focus.
    const focused = document.activeElement;
    let next = this.#body.firstElementChild;
    for (const key of order) {
      const row = this.#rows.get(key) ?? this.#add(key);
      if (row === null) continue;
      if (row.element === next) next = next.nextElementSibling;
      else this.#body.insertBefore(row.element, next);
    }
    if (focused instanceof HTMLElement && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    this.#order = order;
    this.#putTabStop();
    this.#empty.hidden = found.length > 0;
    setText(this.#empty, t(this.#all.size === 0 ? 'no_price' : 'nothing_matches'));
    const more = all.length - order.length;
    setText(this.#count, more > 0 ? t('more_rows', { n: more })
      : filter === '' ? t('rows', { n: all.length }) : t('of_rows', { n: all.length, all: this.#all.size }));
  }

  /** @param {string | null} key */
  select(key) {
    if (this.#selected !== null) this.#rows.get(this.#selected)?.select(false);
    this.#selected = key;
    if (key !== null) this.#rows.get(key)?.select(true);
    this.#putTabStop();
  }

  /** Of all rows one is reached by Tab, the others from there by the arrow keys: nobody wants a thousand stops before the chart. */
  #putTabStop() {
    const row = this.#rows.get(this.#selected ?? '') ?? this.#rows.get(this.firstKey ?? '');
    if (row === this.#tabStop) return;
    this.#tabStop?.setTabStop(false);
    row?.setTabStop(true);
    this.#tabStop = row;
  }

  /**
   * The row so many places below the chosen one.
   * @param {number} step
   */
  neighbour(step) {
    const at = this.#selected === null ? -1 : this.#order.indexOf(this.#selected);
    return this.#order[Math.max(0, Math.min(this.#order.length - 1, at + step))] ?? null;
  }

  /** @param {string} key */
  reveal(key) {
    const row = this.#rows.get(key);
    row?.element.scrollIntoView({ block: 'nearest' });
    if (document.activeElement?.closest('#prices')) row?.focus();
  }

  get firstKey() {
    return this.#order[0] ?? null;
  }

  /** The rows as they stand. */
  get shown() {
    return this.#order.flatMap((key) => this.#all.get(key) ?? []);
  }

  /** @param {(row: Row) => {ageSeconds: number, freshness: Freshness}} judge */
  showAges(judge) {
    for (const row of this.#rows.values()) {
      if (!row.isSeen) continue;
      const { ageSeconds, freshness } = judge(row.row);
      row.showAge(ageSeconds, freshness);
    }
  }

  focusFilter() {
    this.#filter.focus();
    this.#filter.select();
  }

  clearFilter() {
    if (this.#filter.value === '') return;
    this.#filter.value = '';
    this.arrange();
  }

  /** @param {string} key */
  #add(key) {
    const data = this.#all.get(key);
    if (data === undefined) return null;
    const row = new WatchlistRow(data, this.#numbers);
    row.show(data, this.#currencyOf(data));
    row.showSparkline(this.#sparklines.get(key) ?? []);
    row.select(key === this.#selected);
    this.#rows.set(key, row);
    this.#seen.observe(row.element);
    return row;
  }

  /** @param {string} key */
  #touch(key) {
    this.#dirty.add(key);
    nextFrame('watchlist', () => this.#write());
  }

  /** Writes a few rows; true where others wait. */
  #write() {
    const now = performance.now();
    let written = 0;
    for (const key of this.#dirty) {
      const row = this.#rows.get(key);
      const data = this.#all.get(key);
      if (row === undefined || data === undefined || !row.isSeen) {
        this.#dirty.delete(key);
        continue;
      }
      if (now - (this.#writtenMs.get(key) ?? 0) < EVERY_MS) continue;
      this.#dirty.delete(key);
      this.#writtenMs.set(key, now);
      row.show(data, this.#currencyOf(data));
      if (row === this.#explained) row.explain();
      written += 1;
      if (written >= A_FRAME) break;
    }
    return this.#dirty.size > 0;
  }

  /** @param {EventTarget | null} target */
  #explain(target) {
    const key = target instanceof Element ? target.closest('tr')?.dataset['key'] : undefined;
    this.#explained = this.#rows.get(key ?? '');
    this.#explained?.explain();
  }

  /** @param {Row} row */
  #currencyOf(row) {
    const from = quoteOf(row.symbol);
    if (this.#currency === null || this.#rates === null || from === null || from === this.#currency) return null;
    return { to: this.#currency, rate: this.#rates.between(from, this.#currency) };
  }

  /** @param {HTMLElement} head */
  #sortBy(head) {
    const column = /** @type {Column} */ (head.dataset['sort']);
    this.#descending = column === this.#column ? !this.#descending : column !== 'symbol' && column !== 'age';
    this.#column = column;
    for (const each of document.querySelectorAll('[data-sort]')) each.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', this.#descending ? 'descending' : 'ascending');
    this.arrange();
  }
}
