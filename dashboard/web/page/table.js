// The table of prices: one row a symbol and source, kept in order, changed in place. Each row's symbol is a button, so that it
// can be reached and chosen by keyboard.

/** @import {Freshness} from './freshness.js' */
/** @import {Row} from './protocol.js' */

import { direction, formatAge, formatChange, groupDigits } from './format.js';
import { keyOf } from './prices.js';

const BASES = { '24h': 'over 24 hours, as the source says', look_back: 'since the start of the chart' };

export class PriceTable {
  #body;
  #onSelect;
  /** @type {Map<string, TableRow>} */
  #rows = new Map();
  /** @type {string | null} */
  #selected = null;

  /**
   * @param {HTMLTableSectionElement} body
   * @param {(key: string) => void} onSelect
   */
  constructor(body, onSelect) {
    this.#body = body;
    this.#onSelect = onSelect;
    body.addEventListener('keydown', (event) => this.#moveFocus(event));
  }

  /** @param {Map<string, Row>} rows */
  showAll(rows) {
    for (const key of [...this.#rows.keys()]) if (!rows.has(key)) this.remove(key);
    for (const row of rows.values()) this.show(row);
  }

  /** @param {Row} row */
  show(row) {
    const key = keyOf(row);
    let shown = this.#rows.get(key);
    if (shown === undefined) {
      shown = new TableRow(row, () => this.#onSelect(key));
      this.#rows.set(key, shown);
      this.#insert(shown, key);
      shown.select(key === this.#selected);
    }
    shown.show(row);
  }

  /** @param {string} key */
  remove(key) {
    this.#rows.get(key)?.element.remove();
    this.#rows.delete(key);
  }

  /** @param {string | null} key */
  select(key) {
    this.#selected = key;
    for (const [each, row] of this.#rows) row.select(each === key);
  }

  /**
   * @param {string} key
   * @param {number} ageSeconds
   * @param {Freshness} freshness
   */
  showAge(key, ageSeconds, freshness) {
    this.#rows.get(key)?.showAge(ageSeconds, freshness);
  }

  /**
   * @param {TableRow} row
   * @param {string} key
   */
  #insert(row, key) {
    for (const other of this.#body.rows) {
      if ((other.dataset['key'] ?? '') > key) {
        other.before(row.element);
        return;
      }
    }
    this.#body.append(row.element);
  }

  /** @param {KeyboardEvent} event */
  #moveFocus(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step === undefined) return;
    const buttons = [...this.#body.querySelectorAll('button')];
    const at = buttons.findIndex((button) => button === document.activeElement);
    buttons[at + step]?.focus();
    event.preventDefault();
  }
}

class TableRow {
  element = document.createElement('tr');
  #button = document.createElement('button');
  #price = document.createElement('td');
  #digits = document.createElement('span');
  #change = document.createElement('td');
  #age = document.createElement('td');
  #state = document.createElement('td');
  #word = document.createElement('span');
  #units = 0n;

  /**
   * @param {Row} row
   * @param {() => void} onSelect
   */
  constructor(row, onSelect) {
    this.element.dataset['key'] = keyOf(row);
    this.element.dataset['symbol'] = row.symbol;
    this.element.dataset['source'] = row.source;
    this.#button.type = 'button';
    this.#button.textContent = row.symbol;
    const badge = document.createElement('span');
    badge.className = 'badge';
    badge.textContent = row.source;
    const symbol = document.createElement('th');
    symbol.scope = 'row';
    symbol.append(this.#button, badge);
    this.#price.className = 'price';
    this.#change.className = 'change';
    this.#age.className = 'age';
    this.#state.className = 'state';
    this.#price.append(this.#digits);
    this.#state.append(this.#word);
    this.element.append(symbol, this.#price, this.#change, this.#age, this.#state);
    this.element.addEventListener('click', onSelect);
  }

  /** @param {Row} row */
  show(row) {
    const before = this.element.dataset['price'];
    const price = row.price ?? '';
    if (price !== before) {
      this.element.dataset['price'] = price;
      this.#digits.textContent = groupDigits(price);
      const units = unscaled(price);
      if (before !== undefined) this.#flash(units > this.#units ? 'rose' : 'fell');
      this.#units = units;
    }
    this.element.dataset['eventId'] = row.event_id ?? '';
    this.element.dataset['change'] = row.change_pct ?? '';
    this.#change.dataset['direction'] = direction(row.change_pct);
    this.#change.textContent = formatChange(row.change_pct);
    this.#change.title = row.change_basis === null ? '' : `${row.change_pct} % ${BASES[row.change_basis]}`;
    if (row.change_basis !== null) {
      const basis = document.createElement('small');
      basis.textContent = row.change_basis === '24h' ? '24h' : 'chart';
      this.#change.append(' ', basis);
    }
  }

  /** @param {'rose' | 'fell'} way */
  #flash(way) {
    this.#price.classList.remove('rose', 'fell');
    // Reading the layout between the two makes the animation start anew.
    void this.#price.offsetWidth;
    this.#price.classList.add(way);
  }

  /**
   * @param {number} ageSeconds
   * @param {Freshness} freshness
   */
  showAge(ageSeconds, freshness) {
    this.#age.textContent = formatAge(ageSeconds);
    this.element.dataset['freshness'] = freshness.state;
    this.#word.textContent = freshness.state;
    this.#state.title = freshness.why;
  }

  /** @param {boolean} selected */
  select(selected) {
    this.element.classList.toggle('selected', selected);
    this.#button.setAttribute('aria-pressed', String(selected));
  }
}

/**
 * A price as a whole number of 10^-18, to compare without a float.
 * @param {string} price
 */
export function unscaled(price) {
  const [whole = '0', fraction = ''] = price.replace('-', '').split('.');
  const size = BigInt(whole + fraction.padEnd(18, '0'));
  return price.startsWith('-') ? -size : size;
}
