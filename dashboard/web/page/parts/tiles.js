// The figures of the chosen series: price, volume, market cap, spread, range. Where its source does not tell one, another source's is
// shown, and said to be that.

/** @import {Rates} from '../state/convert.js' */
/** @import {Row} from '../protocol.js' */

import { divide, middle, multiply, round, subtract } from '../decimal.js';
import { html, make, setText, setTitle } from '../dom.js';
import { ARROWS, direction, formatAge, formatTime } from '../format.js';
import { implied, quoteOf } from '../state/convert.js';
import { t } from '../words/words.js';
import { basisSign, changeBasis } from './watchlist_row.js';

const NEARLY_A_DAY_US = 23.5 * 3600e6;

class Tile {
  element = make('div', 'tile');
  #value = make('dd', 'value');
  #note = make('dd', 'note');

  /**
   * @param {import('../words/words.js').Word} word
   * @param {string} id
   */
  constructor(word, id) {
    this.#value.id = id;
    this.element.append(make('dt', '', t(word)), this.#value, this.#note);
  }

  /**
   * @param {string} value
   * @param {string} [note]
   * @param {string} [title]
   */
  show(value, note = '', title = '') {
    setText(this.#value, value);
    setText(this.#note, note);
    setTitle(this.#value, title);
  }

  get value() {
    return this.#value;
  }

  get note() {
    return this.#note;
  }
}

export class Tiles {
  #numbers;
  #price = new Tile('tile_price', 'selected-price');
  #volume = new Tile('tile_volume', 'selected-volume');
  #cap = new Tile('tile_cap', 'selected-cap');
  #spread = new Tile('tile_spread', 'selected-spread');
  #range = new Tile('tile_range', 'selected-range');

  /** @param {import('../format.js').Numbers} numbers */
  constructor(numbers) {
    this.#numbers = numbers;
    this.#price.element.classList.add('main');
    html('tiles').append(...[this.#price, this.#range, this.#volume, this.#cap, this.#spread].map((tile) => tile.element));
  }

  /**
   * @param {Row | undefined} row
   * @param {Row[]} others of the symbol, by other sources
   * @param {string | null} currency
   * @param {Rates} rates
   * @param {number} nowUs
   */
  show(row, others, currency, rates, nowUs) {
    if (row?.price == null) {
      for (const tile of [this.#price, this.#volume, this.#cap, this.#spread, this.#range]) tile.show('–');
      delete this.#price.value.dataset['price'];
      return;
    }
    const numbers = this.#numbers;
    this.#price.show(numbers.price(row.price, row.tick_size), '', numbers.exact(row.price));
    this.#price.value.dataset['price'] = row.price;
    this.#showPriceNote(row, currency, rates);
    this.#showVolume(row, others);
    this.#showCap(row, others);
    this.#showSpread(row);
    const range = row.high === null || row.low === null ? '–' : `${numbers.price(row.low, row.tick_size)} – ${numbers.price(row.high, row.tick_size)}`;
    const since = row.stats_from_us === null ? ''
      : nowUs - row.stats_from_us > NEARLY_A_DAY_US ? t('range_day') : t('range_since', { time: formatTime(row.stats_from_us, nowUs) });
    this.#range.show(range, since, row.high === null || row.low === null ? '' : `${numbers.exact(row.low)} – ${numbers.exact(row.high)}`);
  }

  /**
   * @param {Row & {price: string | null}} row
   * @param {string | null} currency
   * @param {Rates} rates
   */
  #showPriceNote(row, currency, rates) {
    const numbers = this.#numbers;
    const way = direction(row.change_pct);
    const parts = row.change_pct === null ? [] : [`${ARROWS[way]} ${numbers.percent(row.change_pct)}${basisSign(row)}`];
    const basis = row.change_pct === null ? '' : changeBasis(row);
    const from = quoteOf(row.symbol);
    const rate = currency === null || from === null || from === currency ? null : rates.between(from, currency);
    const { note } = this.#price;
    note.dataset['direction'] = way;
    if (rate === null || currency === null) {
      setText(note, parts.join(''));
      setTitle(note, basis);
      return;
    }
    const value = implied(row.price ?? '0', rate);
    parts.push(`≈ ${rate.isKnown ? '' : '? '}${numbers.exact(value)} ${currency} (${t('implied')})`);
    setText(note, parts.join('\n'));
    setTitle(note, `${basis}\n${t('implied_how', {
      price: numbers.exact(multiply(row.price ?? '0', rate.value)), quote: currency, how: rate.how, rate: numbers.exact(rate.value),
      source: rate.source, age: formatAge(rate.ageSeconds),
    })}`.trim());
  }

  /**
   * @param {Row} row
   * @param {Row[]} others
   */
  #showVolume(row, others) {
    const teller = [row, ...others].find((each) => each.volume_24h !== null || each.quote_volume_24h !== null);
    const value = teller?.volume_24h ?? teller?.quote_volume_24h ?? null;
    if (teller === undefined || value === null) {
      this.#volume.show('–');
      return;
    }
    const unit = teller.volume_24h === null ? (quoteOf(row.symbol) ?? '') : row.symbol.split('-')[0] ?? '';
    this.#volume.show(`${this.#numbers.compact(value)} ${unit}`, teller === row ? '' : t('from_source', { source: teller.source }),
      `${this.#numbers.exact(value)} ${unit}`);
  }

  /**
   * @param {Row} row
   * @param {Row[]} others
   */
  #showCap(row, others) {
    const teller = [row, ...others].find((each) => each.market_cap !== null);
    if (teller?.market_cap == null) {
      this.#cap.show('–');
      return;
    }
    const unit = quoteOf(row.symbol) ?? '';
    this.#cap.show(`${this.#numbers.compact(teller.market_cap)} ${unit}`, teller === row ? '' : t('from_source', { source: teller.source }),
      `${this.#numbers.exact(teller.market_cap)} ${unit}`);
  }

  /** @param {Row} row */
  #showSpread(row) {
    if (row.bid === null || row.ask === null) {
      this.#spread.show('–');
      return;
    }
    const spread = subtract(row.ask, row.bid);
    const share = divide(multiply(spread, '10000'), middle(row.bid, row.ask));
    this.#spread.show(this.#numbers.padded(spread, row.tick_size), share === null ? '' : `${this.#numbers.exact(round(share, 2))} bp`,
      `${this.#numbers.exact(row.bid)} / ${this.#numbers.exact(row.ask)}`);
  }
}
