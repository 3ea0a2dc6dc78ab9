// One symbol of one source in the watchlist. Its cells are written only where something that means something has changed.

/** @import {Freshness} from '../state/freshness.js' */
/** @import {Rate} from '../state/convert.js' */
/** @import {Row} from '../protocol.js' */

import { hasMoved, multiply, units } from '../decimal.js';
import { make, setText, setTitle } from '../dom.js';
import { ARROWS, direction, formatAge, formatTime } from '../format.js';
import { implied, quoteOf } from '../state/convert.js';
import { keyOf } from '../state/market.js';
import { named, t } from '../words/words.js';
import { turnover } from './order.js';
import { Sparkline } from './sparkline.js';

export class WatchlistRow {
  element = document.createElement('tr');
  /** Whether it can be seen; one that cannot is not written. */
  isSeen = true;
  /** @type {Row} */
  row;
  #numbers;
  #button = make('button');
  #price = make('td', 'price number');
  #arrow = make('span', 'arrow');
  #digits = make('span', 'digits');
  #implied = make('small', 'implied');
  #change = make('td', 'change number');
  #sparkline = new Sparkline();
  #high = make('td', 'number wide');
  #low = make('td', 'number wide');
  #volume = make('td', 'number volume');
  #age = make('td', 'number age');
  #sign = make('span', 'sign');
  #ageText = make('span');
  #word = make('span', 'word');
  /** The price that is shown. */
  #shown = '';
  #odd = false;
  /** Of what the cells were written. @type {Row | null} */
  #written = null;
  /** @type {{to: string, rate: Rate | null} | null} */
  #currency = null;

  /**
   * @param {Row} row
   * @param {import('../format.js').Numbers} numbers
   */
  constructor(row, numbers) {
    this.row = row;
    this.#numbers = numbers;
    this.element.dataset['key'] = keyOf(row);
    this.element.dataset['symbol'] = row.symbol;
    this.element.dataset['source'] = row.source;
    this.#button.type = 'button';
    this.#button.tabIndex = -1;
    this.#button.textContent = row.symbol;
    this.#button.title = row.symbol;
    const name = make('th');
    name.scope = 'row';
    const badge = make('span', 'badge', row.source);
    badge.title = row.source;
    const inside = make('div', 'name');
    inside.append(this.#button, badge);
    name.append(inside);
    this.#price.append(this.#arrow, this.#digits, this.#implied);
    const spark = make('td', 'spark');
    spark.append(this.#sparkline.element);
    this.#age.append(this.#sign, this.#ageText, this.#word);
    this.element.append(name, this.#price, this.#change, spark, this.#high, this.#low, this.#volume, this.#age);
  }

  /**
   * @param {Row} row
   * @param {{to: string, rate: Rate | null} | null} currency
   */
  show(row, currency) {
    this.row = row;
    this.#currency = currency;
    const price = row.price ?? '';
    const before = this.#shown;
    const written = this.#written;
    this.#written = row;
    if (price !== written?.price) this.element.dataset['price'] = price;
    if (before === '' || hasMoved(before, price, row.tick_size)) {
      this.#shown = price;
      setText(this.#digits, this.#numbers.price(price, row.tick_size));
      if (before !== '') this.#flash(units(price) > units(before) ? 'rose' : 'fell');
    }
    if (currency?.rate != null || this.#implied.firstChild !== null) this.#showImplied(price, currency);
    if (row.change_pct !== written?.change_pct || row.change_basis !== written.change_basis) this.#showChange(row);
    const isOtherStep = row.tick_size !== written?.tick_size;
    if (isOtherStep || row.high !== written?.high) this.#showNumber(this.#high, row.high, row.tick_size);
    if (isOtherStep || row.low !== written?.low) this.#showNumber(this.#low, row.low, row.tick_size);
    this.#showVolume(row);
  }

  /** Every digit, and what a figure is of, for who points at the row: nobody else sees it, so nothing else writes it. */
  explain() {
    const { row } = this;
    const numbers = this.#numbers;
    const price = row.price ?? '';
    setTitle(this.#digits, numbers.exact(price));
    const rate = this.#currency?.rate ?? null;
    setTitle(this.#implied, rate === null || price === '' ? '' : t('implied_how', {
      price: numbers.exact(multiply(price, rate.value)), quote: this.#currency?.to ?? '', how: rate.how, rate: numbers.exact(rate.value),
      source: rate.source, age: formatAge(rate.ageSeconds),
    }));
    setTitle(this.#change, row.change_pct === null ? '' : `${numbers.exact(row.change_pct)} % ${changeBasis(row)}`);
    const range = t('range_since', { time: since(row.stats_from_us) });
    setTitle(this.#high, row.high === null ? '' : `${numbers.exact(row.high)} · ${range}`);
    setTitle(this.#low, row.low === null ? '' : `${numbers.exact(row.low)} · ${range}`);
    const value = turnover(row);
    const own = row.volume_24h === null ? '' : `${numbers.exact(row.volume_24h)} ${row.symbol.split('-')[0]} · `;
    setTitle(this.#volume, value === null ? '' : `${own}${numbers.exact(value)} ${quoteOf(row.symbol) ?? ''}`);
  }

  /**
   * @param {string} price
   * @param {{to: string, rate: Rate | null} | null} currency
   */
  #showImplied(price, currency) {
    const rate = currency?.rate ?? null;
    if (currency === null || rate === null || price === '') {
      setText(this.#implied, '');
      return;
    }
    const value = implied(price, rate);
    setText(this.#implied, `≈ ${rate.isKnown ? '' : '? '}${this.#numbers.exact(value)} ${currency.to}`);
  }

  /** @param {Row} row */
  #showChange(row) {
    const way = direction(row.change_pct);
    if (this.#change.dataset['direction'] !== way) this.#change.dataset['direction'] = way;
    setText(this.#change, row.change_pct === null ? '–' : `${ARROWS[way]} ${this.#numbers.percent(row.change_pct)}${basisSign(row)}`);
  }

  /**
   * @param {HTMLElement} cell
   * @param {string | null} value
   * @param {string | null} step
   */
  #showNumber(cell, value, step) {
    setText(cell, value === null ? '–' : this.#numbers.price(value, step));
  }

  /** @param {Row} row */
  #showVolume(row) {
    const value = turnover(row);
    setText(this.#volume, value === null ? '–' : this.#numbers.compact(value));
  }

  /** An arrow as well as a colour. Two names in turn start the animation anew without a layout. @param {'rose' | 'fell'} way */
  #flash(way) {
    this.#odd = !this.#odd;
    this.#price.className = `price number ${way} ${this.#odd ? 'odd' : 'even'}`;
    setText(this.#arrow, way === 'rose' ? '▲' : '▼');
  }

  /**
   * @param {number} ageSeconds
   * @param {Freshness} freshness
   */
  showAge(ageSeconds, freshness) {
    setText(this.#ageText, formatAge(ageSeconds));
    if (this.element.dataset['freshness'] === freshness.state && this.#age.dataset['why'] === freshness.why) return;
    this.element.dataset['freshness'] = freshness.state;
    this.#age.dataset['why'] = freshness.why;
    setText(this.#sign, { live: '●', unchanged: '=', unknown: '?' }[freshness.state]);
    setText(this.#word, named('fresh', freshness.state));
    this.#age.title = `${named('fresh', freshness.state)}: ${t(`why_${freshness.why}`, { detail: detailOf(freshness) })}`;
  }

  /** @param {[number, string][]} points */
  showSparkline(points) {
    this.#sparkline.show(points);
  }

  /** @param {boolean} selected */
  select(selected) {
    this.element.classList.toggle('selected', selected);
    if (selected) this.#button.setAttribute('aria-current', 'true');
    else this.#button.removeAttribute('aria-current');
  }

  /** @param {boolean} isStop */
  setTabStop(isStop) {
    this.#button.tabIndex = isStop ? 0 : -1;
  }

  focus() {
    this.#button.focus();
  }
}

/** @param {Freshness} freshness */
function detailOf({ why, detail = '', more = '' }) {
  const known = why === 'gap' ? named('gap', detail) : why === 'source_state' ? named('source', detail) : detail;
  return more === '' ? known : `${known} (${more})`;
}

/** A change that is not over a day has a sign. @param {Row} row */
export function basisSign(row) {
  return row.change_basis === 'look_back' ? t('basis_short') : '';
}

/** Over what time a change is. @param {Row} row */
export function changeBasis(row) {
  return row.change_basis === 'look_back' ? t('basis_look_back', { time: since(row.stats_from_us) }) : t('basis_24h');
}

/** @param {number | null} us */
function since(us) {
  return us === null ? '?' : `${formatTime(us, 0)} UTC`;
}
