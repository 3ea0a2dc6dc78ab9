// The newest alerts. A click shows the symbol that one is about. An alert that stands keeps its element, and with it the focus.

/** @import {Alert} from '../protocol.js' */

import { html, make, setText } from '../dom.js';
import { formatTime } from '../format.js';
import { named, t } from '../words/words.js';

const SHOWN = 50;

export class AlertsFeed {
  #list = html('alerts');
  #onChoose;
  #none = make('li', 'quiet', t('no_alerts'));
  /** @type {Map<string, HTMLLIElement>} */
  #items = new Map();

  /** @param {(symbol: string, source: string | null) => void} onChoose */
  constructor(onChoose) {
    this.#onChoose = onChoose;
  }

  /**
   * @param {Alert[]} alerts newest first
   * @param {number} nowUs
   */
  show(alerts, nowUs) {
    const shown = alerts.slice(0, SHOWN);
    const keys = new Set(shown.map(keyOf));
    for (const [key, item] of this.#items) {
      if (keys.has(key)) continue;
      item.remove();
      this.#items.delete(key);
    }
    let next = this.#list.firstElementChild;
    for (const alert of shown) {
      const item = this.#items.get(keyOf(alert)) ?? this.#add(alert);
      const time = item.querySelector('time');
      if (time !== null) setText(time, formatTime(alert.event_time_us, nowUs));
      if (item === next) next = next.nextElementSibling;
      else this.#list.insertBefore(item, next);
    }
    if (shown.length === 0) this.#list.append(this.#none);
    else this.#none.remove();
  }

  /** @param {Alert} alert */
  #add(alert) {
    const item = make('li', 'alert');
    item.dataset['severity'] = alert.severity.toLowerCase();
    item.dataset['state'] = alert.state.toLowerCase();
    const time = make('time');
    time.dateTime = new Date(alert.event_time_us / 1000).toISOString();
    const level = make('span', 'level', alert.state === 'RESOLVED' ? t('resolved') : named('severity', alert.severity));
    const text = make('span', 'text', alert.message);
    text.title = alert.rule;
    item.append(time, level);
    if (alert.symbol !== null) {
      const { symbol, source } = alert;
      const choose = make('button', 'plain', symbol);
      choose.type = 'button';
      choose.addEventListener('click', () => this.#onChoose(symbol, source));
      item.append(choose);
    }
    item.append(text);
    this.#items.set(keyOf(alert), item);
    return item;
  }
}

/** @param {Alert} alert */
function keyOf({ alert_id, state }) {
  return `${alert_id} ${state}`;
}
