// The newest alerts. A click shows the symbol that one is about.

/** @import {Alert} from '../protocol.js' */

import { html, make } from '../dom.js';
import { formatTime } from '../format.js';
import { named, t } from '../words/words.js';

const SHOWN = 50;

export class AlertsFeed {
  #list = html('alerts');
  #onChoose;

  /** @param {(symbol: string, source: string | null) => void} onChoose */
  constructor(onChoose) {
    this.#onChoose = onChoose;
  }

  /**
   * @param {Alert[]} alerts newest first
   * @param {number} nowUs
   */
  show(alerts, nowUs) {
    if (alerts.length === 0) {
      this.#list.replaceChildren(make('li', 'quiet', t('no_alerts')));
      return;
    }
    this.#list.replaceChildren(...alerts.slice(0, SHOWN).map((alert) => this.#item(alert, nowUs)));
  }

  /**
   * @param {Alert} alert
   * @param {number} nowUs
   */
  #item(alert, nowUs) {
    const item = make('li', 'alert');
    item.dataset['severity'] = alert.severity.toLowerCase();
    item.dataset['state'] = alert.state.toLowerCase();
    const time = make('time', '', formatTime(alert.event_time_us, nowUs));
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
    return item;
  }
}
