// Share: a link that opens the same view, and what is shown as a file.

/** @import {Candle, Row} from '../protocol.js' */

import { button, element, html } from '../dom.js';
import { download, toCsv } from '../share.js';
import { t } from '../words/words.js';

const CANDLE_COLUMNS = ['symbol', 'source', 'price_basis', 'start', 'start_us', 'open', 'high', 'low', 'close', 'volume', 'vwap', 'trades', 'complete'];
const ROW_COLUMNS = [
  'symbol', 'source', 'kind', 'price', 'change_pct', 'change_basis', 'high', 'low', 'bid', 'ask', 'volume_24h', 'quote_volume_24h',
  'market_cap', 'event_time', 'event_time_us', 'event_time_origin',
];

/**
 * @param {() => {candles: Candle[], rows: Row[], name: string, link: string}} shown
 */
export function shareDialog(shown) {
  const dialog = element('share-dialog', HTMLDialogElement);
  const said = html('shared');
  button('copy-link').addEventListener('click', async () => {
    const { link } = shown();
    try {
      await navigator.clipboard.writeText(link);
      said.textContent = t('copied');
    } catch {
      said.textContent = t('not_copied', { link });
    }
  });
  const offer = (/** @type {string} */ id, /** @type {string[]} */ columns, /** @type {() => {name: string, rows: object[]}} */ of) => {
    button(`${id}-csv`).addEventListener('click', () => {
      const { name, rows } = of();
      download(`${name}.csv`, 'text/csv;charset=utf-8', toCsv(columns, rows.map(withTimes)));
    });
    button(`${id}-json`).addEventListener('click', () => {
      const { name, rows } = of();
      download(`${name}.json`, 'application/json', `${JSON.stringify(rows.map(withTimes), null, 1)}\n`);
    });
  };
  offer('chart', CANDLE_COLUMNS, () => ({ name: shown().name, rows: shown().candles }));
  offer('table', ROW_COLUMNS, () => ({ name: 'prices', rows: shown().rows }));
  return () => {
    said.textContent = '';
    dialog.showModal();
  };
}

/**
 * Beside the microseconds, times that a person and a spreadsheet read.
 * @param {object} row
 */
function withTimes(row) {
  /** @type {Record<string, unknown>} */
  const result = { ...row };
  for (const name of ['start', 'event_time']) {
    const us = result[`${name}_us`];
    if (typeof us === 'number') result[name] = new Date(us / 1000).toISOString();
  }
  return result;
}
