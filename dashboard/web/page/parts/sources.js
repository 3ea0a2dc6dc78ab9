// The sources' health and every hop's delay: exchange, received, broker, server, browser. What the clocks differ by is told, and is no
// part of a delay.

/** @import {Hop, Source} from '../protocol.js' */

import { element, html, make, setText, setTitle } from '../dom.js';
import { formatAge, formatLatency } from '../format.js';
import { named, t } from '../words/words.js';

const HOPS = /** @type {const} */ (['exchange_to_received', 'received_to_broker', 'broker_to_server']);
const SHOWN = 30;
/** Less than a person would notice, and about what a ping can tell. */
const CLOCK_US = 500_000;

export class SourcesStrip {
  #body = element('sources', HTMLTableSectionElement);
  #clock = html('clock');
  #numbers;
  /** @type {Map<string, HTMLTableRowElement>} */
  #rows = new Map();

  /** @param {import('../format.js').Numbers} numbers */
  constructor(numbers) {
    this.#numbers = numbers;
  }

  /**
   * @param {Iterable<Source>} sources
   * @param {{browser: Hop, all: Map<string, Hop>, offsetUs: number | null, nowUs: number}} measured
   */
  show(sources, { browser, all, offsetUs, nowUs }) {
    const shown = [...sources].sort((a, b) => (a.source < b.source ? -1 : 1)).slice(0, SHOWN);
    const names = new Set(shown.map(({ source }) => source));
    for (const [name, row] of this.#rows) {
      if (names.has(name)) continue;
      row.remove();
      this.#rows.delete(name);
    }
    for (const source of shown) {
      let row = this.#rows.get(source.source);
      if (row === undefined) {
        row = sourceRow(source.source);
        this.#rows.set(source.source, row);
        this.#body.append(row);
      }
      const [, state, ...hops] = row.cells;
      if (state !== undefined) this.#showState(row, state, source, nowUs);
      const values = [...HOPS.map((hop) => source.hops?.[hop] ?? null), browser, all.get(source.source) ?? null];
      for (const [i, hop] of values.entries()) {
        const cell = hops[i];
        if (cell !== undefined) this.#showHop(cell, hop);
      }
    }
    const off = offsetUs === null || Math.abs(offsetUs) < CLOCK_US ? null : offsetUs;
    setText(this.#clock, off === null ? ''
      : t(off > 0 ? 'clock_ahead' : 'clock_behind', { by: formatLatency(Math.abs(off), this.#numbers.point) }));
  }

  /**
   * @param {HTMLTableRowElement} row
   * @param {HTMLTableCellElement} cell
   * @param {Source} source
   * @param {number} nowUs
   */
  #showState(row, cell, source, nowUs) {
    if (row.dataset['state'] !== source.state) row.dataset['state'] = source.state;
    setText(cell, named('source', source.state));
    const answered = source.last_answer_at_us;
    setTitle(cell, answered === null ? t('never_answered') : t('answered_ago', { age: formatAge((nowUs - answered) / 1e6) }));
  }

  /**
   * @param {HTMLElement} cell
   * @param {Hop} hop
   */
  #showHop(cell, hop) {
    const { point } = this.#numbers;
    const [half, most] = hop === null ? ['–', ''] : [formatLatency(hop.p50_us, point), formatLatency(hop.p99_us, point)];
    const [first, second] = cell.children;
    if (first !== undefined) setText(first, half);
    if (second !== undefined) setText(second, most);
    if (hop !== null) setTitle(cell, t('hop_title', { count: hop.count, p50: half, p99: most }));
  }
}

/** @param {string} name */
function sourceRow(name) {
  const row = make('tr');
  const head = make('th', '', name);
  head.scope = 'row';
  row.append(head, make('td', 'state'));
  for (let i = 0; i < HOPS.length + 2; i += 1) {
    const cell = make('td', 'number');
    cell.append(make('span', 'half'), make('span', 'most'));
    row.append(cell);
  }
  return row;
}
