// The chart of the chosen symbol. It draws with floats, as every chart does; the exact digits stand above it and in the table.

/** @import {History, Row} from './protocol.js' */
/** @import {IChartApi, ISeriesApi, UTCTimestamp} from '/vendor/lightweight-charts.mjs' */

import { AreaSeries, createChart } from '/vendor/lightweight-charts.mjs';
import { axisDigits } from './format.js';
import { keyOf } from './prices.js';

export class PriceChart {
  /** @type {IChartApi} */
  #chart;
  /** @type {ISeriesApi<'Area'>} */
  #series;
  /** @type {string | null} */
  #key = null;
  #lastTime = 0;
  /** Rows that came while the history was on its way. @type {Row[] | null} */
  #waiting = null;

  /** @param {HTMLElement} element */
  constructor(element) {
    this.#chart = createChart(element, {
      autoSize: true,
      // Its style element would need an exception in the page's security policy; the attribution stands below the chart.
      layout: { attributionLogo: false, fontFamily: 'system-ui, sans-serif' },
      timeScale: { timeVisible: true, secondsVisible: true, rightOffset: 3 },
      rightPriceScale: { borderVisible: false },
    });
    this.#series = this.#chart.addSeries(AreaSeries, { lineWidth: 2 });
    this.#takeColours();
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#takeColours());
  }

  #takeColours() {
    const style = getComputedStyle(document.documentElement);
    const colour = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
    const grid = { color: colour('--line') };
    this.#chart.applyOptions({
      layout: { background: { color: 'transparent' }, textColor: colour('--quiet') },
      grid: { vertLines: grid, horzLines: grid },
      timeScale: { borderColor: colour('--line') },
    });
    this.#series.applyOptions({
      lineColor: colour('--accent'),
      topColor: colour('--accent-soft'),
      bottomColor: 'transparent',
    });
  }

  /**
   * Shows another symbol, or the same one anew.
   * @param {Row} row
   */
  async load(row) {
    const key = keyOf(row);
    this.#key = key;
    this.#waiting = [];
    const query = new URLSearchParams({ symbol: row.symbol, source: row.source });
    const response = await fetch(`api/v1/history?${query}`);
    /** @type {History} */
    const history = response.ok ? await response.json() : { symbol: '', source: '', step_seconds: 1, points: [] };
    if (this.#key !== key) return;
    const precision = axisDigits(Number(row.price));
    this.#series.applyOptions({ priceFormat: { type: 'price', precision, minMove: 10 ** -precision } });
    this.#series.setData(
      history.points.map(([time, price]) => ({ time: /** @type {UTCTimestamp} */ (time), value: Number(price) })),
    );
    this.#lastTime = history.points.at(-1)?.[0] ?? 0;
    const waiting = this.#waiting ?? [];
    this.#waiting = null;
    for (const each of [row, ...waiting]) this.update(each);
    this.#chart.timeScale().fitContent();
  }

  /** @param {Row} row */
  update(row) {
    if (keyOf(row) !== this.#key || row.price === null || row.event_time_us === null) return;
    if (this.#waiting !== null) {
      this.#waiting.push(row);
      if (this.#waiting.length > 100) this.#waiting.shift();
      return;
    }
    const time = Math.floor(row.event_time_us / 1e6);
    // The library draws forward only; what comes late is in the history when the symbol is chosen again.
    if (time < this.#lastTime) return;
    this.#lastTime = time;
    this.#series.update({ time: /** @type {UTCTimestamp} */ (time), value: Number(row.price) });
  }
}
