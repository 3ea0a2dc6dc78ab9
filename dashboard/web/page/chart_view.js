// The chart with what stands around it: timeframes, style, table, readout, legend, notes.

/** @import {Connection} from './link/connection.js' */
/** @import {Page} from './page.js' */
/** @import {Alert, Candle, Gap, Gone, Row, Timeframe} from './protocol.js' */

import * as api from './api.js';
import { ChartPanel } from './chart/panel.js';
import { button, html, make, setText } from './dom.js';
import { nextFrame } from './frame.js';
import { CandleTable } from './parts/candle_table.js';
import { showReadout } from './parts/readout.js';
import { concerns } from './state/market.js';
import { SECONDS, TIMEFRAMES } from './state/view.js';
import { locale, t } from './words/words.js';

const TABLE_EVERY_MS = 2000;
/** The reader scrolls through many symbols and stays at one. */
const SUBSCRIBE_AFTER_MS = 250;

export class ChartView {
  #page;
  #connection;
  #isReplay;
  #panel;
  #chart = html('chart');
  #table;
  #note = html('chart-note');
  #legend = html('legend');
  #tableMs = Number.NEGATIVE_INFINITY;
  #timer = 0;
  /** The chart's, from the log: the newest are known without asking. @type {Map<string, Gap>} */
  #gaps = new Map();
  /** The chart's symbol's, by their ids. @type {Map<string, Alert>} */
  #alerts = new Map();
  /** @type {Gap[]} */
  #marked = [];

  /**
   * @param {Page} page
   * @param {Connection} connection
   * @param {boolean} isReplay
   */
  constructor(page, connection, isReplay) {
    this.#page = page;
    this.#connection = connection;
    this.#isReplay = isReplay;
    const { clock, numbers } = page;
    this.#table = new CandleTable(numbers);
    const texts = { locale, price: (/** @type {string} */ value) => numbers.exact(value), nowUs: () => clock.nowUs(), isReplay };
    this.#panel = new ChartPanel(this.#chart, texts, {
      changed: () => this.#changed(),
      loaded: (fromUs, toUs) => void this.#loadPast(fromUs, toUs),
      scrolled: (fromUs, toUs, bars) => this.#scrolled(fromUs, toUs, bars),
      note: (note, reason = '') => this.#showNote(note, reason),
    });
    this.#wire();
    this.showControls();
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#panel.takeColours());
  }

  /** @param {Row} row */
  show(row) {
    const { tf, compare, fromUs, toUs, bars, style } = this.#page.view;
    button('now').classList.toggle('away', fromUs !== null);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connection.watchCandles({ symbol: row.symbol, tf }), SUBSCRIBE_AFTER_MS);
    const series = { symbol: row.symbol, source: row.source, tf, compare, kind: row.kind, price: row.price, tickSize: row.tick_size };
    this.#gaps.clear();
    this.#alerts.clear();
    this.#panel.show(series, { fromUs, toUs, bars, style }).then(() => {
      this.mark();
      const odd = this.#page.oddTime;
      if (odd !== null) this.#showNote('odd_time', odd);
    });
    this.#describe(row);
  }

  /** @param {Candle[]} candles */
  take(candles) {
    this.#panel.take(candles);
  }

  /**
   * @param {Gone[]} gone
   * @param {Timeframe | undefined} tf
   */
  forget(gone, tf) {
    this.#panel.forget(gone, tf);
  }

  /** @param {boolean} isAfterLoss */
  refresh(isAfterLoss) {
    this.#panel.refresh(isAfterLoss);
  }

  /** Shades gaps and marks alerts anew. */
  mark() {
    const { series } = this.#panel;
    if (series === null) return;
    const { market } = this.#page;
    const alerts = [...new Map([...this.#alerts.values(), ...market.alerts].map((alert) => [alert.alert_id, alert])).values()].filter(
      (alert) => alert.symbol === series.symbol && (alert.source === null || alert.source === series.source),
    );
    // What came live knows of an end that the log did not when it was asked.
    this.#marked = [...new Map([...this.#gaps, ...market.gaps]).values()].filter((gap) => concerns(gap, series));
    this.#panel.mark({ gaps: this.#marked, alerts });
  }

  takeColours() {
    this.#panel.takeColours();
    this.mark();
  }

  /** @param {number} bars */
  scrollBy(bars) {
    this.#panel.scrollBy(bars);
  }

  goToNow() {
    this.#panel.goToNow();
  }

  visibleCandles() {
    return this.#panel.visibleCandles();
  }

  showControls() {
    const { tf, style } = this.#page.view;
    for (const each of html('frames').children) each.setAttribute('aria-pressed', String(each.textContent === tf));
    button('style').setAttribute('aria-pressed', String(style === 'line'));
  }

  #wire() {
    html('frames').replaceChildren(...TIMEFRAMES.map((tf) => {
      const choose = make('button', '', tf);
      choose.type = 'button';
      choose.addEventListener('click', () => this.#page.setTimeframe(tf));
      return choose;
    }));
    button('style').addEventListener('click', () => {
      const style = this.#page.view.style === 'line' ? 'candles' : 'line';
      this.#page.setView({ style }, false);
      this.#panel.setStyle(style);
      this.mark();
      this.showControls();
    });
    button('as-table').addEventListener('click', () => {
      const table = this.#table.element;
      table.hidden = !table.hidden;
      this.#chart.hidden = !table.hidden;
      button('as-table').setAttribute('aria-pressed', String(!table.hidden));
      this.#tableMs = Number.NEGATIVE_INFINITY;
      this.#changed();
    });
    button('now').addEventListener('click', () => this.goToNow());
  }

  #changed() {
    const { bars, compared, pointedUs, series, forecast } = this.#panel;
    if (series === null) return;
    const at = pointedUs ?? bars.lastUs;
    const upTo = at === null ? [] : at === bars.lastUs ? bars.last(20) : bars.between(at - 19e6 * SECONDS[series.tf], at);
    const bucketUs = SECONDS[series.tf] * 1e6;
    const gap = at === null ? undefined
      : this.#marked.find((each) => each.started_at_us < at + bucketUs && (each.ended_at_us ?? Number.POSITIVE_INFINITY) > at);
    const candle = at === null ? undefined : bars.at(at);
    const isPart = candle?.complete === false && candle.start_us + bucketUs < this.#page.clock.nowUs();
    showReadout(this.#page.numbers, { candle, before: upTo, compared: at === null ? undefined : compared.at(at), gap, isPart, step: series.tickSize });
    const model = forecast[0]?.model ?? '';
    const beaten = forecast.some((row) => row.beats_naive === false);
    setText(this.#legend, [t('legend_gap'), forecast.length === 0 ? '' : t(beaten ? 'legend_forecast_beaten' : 'legend_forecast', { model })]
      .filter((part) => part !== '').join(' · '));
    if (this.#table.element.hidden) return;
    nextFrame('table', () => {
      if (performance.now() - this.#tableMs < TABLE_EVERY_MS) return true;
      this.#tableMs = performance.now();
      this.#table.show([...bars], series.tickSize);
      return false;
    });
  }

  /**
   * @param {number | null} fromUs
   * @param {number} toUs
   * @param {number | null} bars
   */
  #scrolled(fromUs, toUs, bars) {
    button('now').classList.toggle('away', fromUs !== null);
    const { view, chosen } = this.#page;
    const wasDetached = this.#panel.isDetached;
    const isOther = view.fromUs !== fromUs || (fromUs === null ? view.bars !== bars : view.toUs !== toUs);
    if (isOther) this.#page.setView({ fromUs, toUs, bars }, false);
    if (wasDetached && fromUs === null && chosen !== undefined) this.show(chosen);
  }

  /**
   * @param {import('./chart/panel.js').Note} note
   * @param {string} reason
   */
  #showNote(note, reason) {
    this.#note.hidden = note === null;
    if (note === null) return;
    const words = /** @type {const} */ ({
      loading: 'older_loading', none: 'older_none', failed: 'older_failed', history_failed: 'history_failed', empty: 'no_candles',
      none_then: 'none_then', odd_time: 'odd_time',
    });
    setText(this.#note, t(words[note], { reason }));
  }

  /** @param {Row} row */
  #describe(row) {
    this.#chart.setAttribute('aria-label', t('chart_of', { symbol: row.symbol, source: row.source, tf: this.#page.view.tf }));
  }

  /**
   * Gaps that ended and alerts that fired before the page came.
   * @param {number} fromUs
   * @param {number} toUs
   */
  async #loadPast(fromUs, toUs) {
    const { series } = this.#panel;
    if (series === null) return;
    const nowUs = this.#page.clock.nowUs();
    const isOlder = toUs < nowUs;
    const [gaps, alerts] = await Promise.all([
      // What an implied price is made of may be in a gap anywhere.
      api.gaps(fromUs, toUs, series.kind === 'FX_IMPLIED' ? null : series.source).catch(() => []),
      isOlder && !this.#panel.hasDatabase ? [] : api.alerts(series.symbol, isOlder ? toUs : null).catch(() => []),
    ]);
    if (series !== this.#panel.series) return;
    // In a replay nothing is known of what came later; gaps that are open come by themselves.
    const isKnown = (/** @type {number | null} */ us) => us !== null && (!this.#isReplay || us <= nowUs);
    for (const gap of gaps) if (isKnown(gap.ended_at_us)) this.#gaps.set(gap.id, gap);
    for (const alert of alerts) if (isKnown(alert.fired_at_us)) this.#alerts.set(alert.alert_id, alert);
    this.mark();
  }
}
