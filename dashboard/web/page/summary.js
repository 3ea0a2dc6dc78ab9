// What a screen reader is told by itself: a summary now and then, and each new alert.

/** @import {Alert, Row} from './protocol.js' */
/** @import {Freshness} from './state/freshness.js' */

import { html, setText } from './dom.js';
import { formatAge } from './format.js';
import { isOn } from './parts/help.js';
import { t } from './words/words.js';

export class Summary {
  #text = html('summary');
  #numbers;
  #alertsSeen = 0;

  /** @param {import('./format.js').Numbers} numbers */
  constructor(numbers) {
    this.#numbers = numbers;
  }

  /** @param {Alert[]} alerts newest first */
  takeAlerts([newest]) {
    if (newest === undefined || newest.fired_at_us <= this.#alertsSeen) return;
    if (this.#alertsSeen > 0) setText(this.#text, t('new_alert', { message: newest.message }));
    this.#alertsSeen = newest.fired_at_us;
  }

  /**
   * @param {Map<string, Row>} rows
   * @param {Row | undefined} chosen
   * @param {(row: Row) => {ageSeconds: number, freshness: Freshness}} judge
   */
  tell(rows, chosen, judge) {
    if (!isOn('spoken')) return;
    const counts = { live: 0, unchanged: 0, unknown: 0 };
    for (const row of rows.values()) counts[judge(row).freshness.state] += 1;
    const told = chosen?.price == null ? '' : ` ${t('summary_chosen', {
      symbol: chosen.symbol, source: chosen.source, price: this.#numbers.exact(chosen.price), age: formatAge(judge(chosen).ageSeconds),
    })}`;
    setText(this.#text, t('summary', { count: rows.size, ...counts }) + told);
  }
}
