// The chart of the chosen series: fetches its history, takes in what comes live, and keeps the drawing, the readout and the table true.

/** @import {Alert, Candle, ForecastRow, Gap, Gone, Timeframe} from '../protocol.js' */

import * as api from '../api.js';
import { fractionDigits } from '../decimal.js';
import { axisDigits } from '../format.js';
import { nextFrame } from '../frame.js';
import { SECONDS } from '../state/view.js';
import { Bars, oneBasis } from './bars.js';
import { colour } from './colours.js';
import { Drawing } from './drawing.js';
import { drawForecast } from './forecast.js';
import { markersOf } from './markers.js';
import { FIRST_PAGE, firstSpan, LONGEST_PAGE, olderThan, PAGE } from './pages.js';
import { gapBuckets, incomplete } from './shading.js';

const SEEN_AT_FIRST = 120;
const DRAW_EVERY_MS = 250;
/** Of thousands of candles one is a part of a pixel. */
const DRAW_MANY_EVERY_MS = 1000;
/** More new candles than that are quicker drawn with all the others. */
const LARGEST_STEP = 200;
const ASK_AGAIN_MS = 5000;

/**
 * @typedef {object} Series
 * @property {string} symbol
 * @property {string} source
 * @property {Timeframe} tf
 * @property {string | null} compare
 * @property {string | null} kind
 * @property {string | null} price
 * @property {string | null} tickSize
 *
 * @typedef {'loading' | 'none' | 'failed' | 'history_failed' | 'empty' | 'none_then' | 'odd_time' | null} Note what is said below the chart
 *
 * @typedef {object} PanelEvents
 * @property {() => void} changed the candles, or what is pointed at
 * @property {(fromUs: number, toUs: number) => void} loaded candles of a time
 * @property {(fromUs: number | null, toUs: number, bars: number | null) => void} scrolled null: to the present; bars: how many are in sight,
 *   where the reader has chosen it
 * @property {(note: Note, reason?: string) => void} note
 */

export class ChartPanel {
  bars = new Bars();
  compared = new Bars();
  /** @type {Series | null} */
  series = null;
  /** Where the reader points at. @type {number | null} */
  pointedUs = null;
  /** @type {ForecastRow[]} */
  forecast = [];
  /** Whether the server has candles from one. */
  hasDatabase = false;
  #drawing;
  #events;
  #now;
  #isReplay;
  #loading = new AbortController();
  #loadingOlder = false;
  #loadingNewer = false;
  /** Where a chart that ends in the past does. */
  #shownToUs = 0;
  #hasOlder = true;
  /** How many candles the reader has chosen to see, now and when the chart was laid out. @type {number | null} */
  #seen = null;
  /** @type {number | null} */
  #laidOut = null;
  #olderFromMs = 0;
  /** The candles shown end in the past: what comes now does not join on. */
  #detached = false;
  #isLoaded = false;
  #drawnMs = 0;
  /** @type {'nothing' | 'last' | 'all'} */
  #todo = 'nothing';
  #comparedMoved = false;
  #lastDrawnUs = 0;
  /** @type {Candle[]} */
  #waiting = [];
  #settling = false;
  /** @type {'candles' | 'line'} */
  #style = 'candles';

  /**
   * @param {HTMLElement} element
   * @param {{locale: string, price: (value: string) => string, nowUs: () => number, isReplay: boolean}} texts
   * @param {PanelEvents} events
   */
  constructor(element, texts, events) {
    this.#drawing = new Drawing(element, texts);
    this.#drawing.onBehind = () => {
      this.#todo = 'all';
      this.#drawSoon();
    };
    this.#events = events;
    this.#now = texts.nowUs;
    this.#isReplay = texts.isReplay;
    this.#drawing.onCrosshair((atUs) => {
      this.pointedUs = atUs;
      nextFrame('readout', () => events.changed());
    });
    this.#drawing.onScroll(({ from }) => {
      if (!this.#isLoaded || this.#settling) return;
      if (from < 30) this.#loadOlder();
      if (this.#detached) this.#loadNewer();
      nextFrame('scrolled', () => this.#tellScroll());
    });
  }

  /**
   * Shows another series, or the same one anew.
   * @param {Series} series
   * @param {{fromUs: number | null, toUs: number | null, bars: number | null, style: 'candles' | 'line'}} view
   */
  async show(series, { fromUs, toUs, bars, style }) {
    this.#loading.abort();
    const { signal } = this.#loading = new AbortController();
    this.series = series;
    this.bars.clear();
    this.compared.clear();
    this.#isLoaded = false;
    this.#hasOlder = true;
    this.#olderFromMs = 0;
    this.#seen = this.#laidOut = bars;
    const span = firstSpan(series.tf, fromUs, this.#now(), this.#untilUs, bars);
    this.#detached = span.isPast;
    this.#shownToUs = span.toUs ?? this.#now();
    this.#waiting = [];
    this.forecast = [];
    this.pointedUs = null;
    this.setStyle(style);
    this.#drawing.showSeconds(series.tf === '1s');
    const price = Number(series.price ?? 0);
    this.#drawing.setPrecision(series.tickSize === null ? axisDigits(price) : Math.min(12, fractionDigits(series.tickSize)));
    this.#clearDrawing();
    this.#events.note('loading');
    try {
      const [own, other] = await Promise.all([api.candles({ ...series, ...span }, signal), this.#comparedPage(series, span, signal)]);
      if (signal.aborted) return;
      this.hasDatabase ||= own.origin === 'postgres';
      this.bars.take(oneBasis(own.candles, series.kind));
      // A market that is closed, or quiet: what was last is shown.
      if (this.bars.size === 0 && !own.history_problem) {
        this.bars.take((await this.#olderThan(this.#shownToUs, series, signal)).older);
        if (signal.aborted) return;
      }
      if (typeof other !== 'string') this.compared.take(oneBasis(other, null));
      const problem = own.history_problem || (typeof other === 'string' && other);
      if (problem) this.#events.note('failed', problem);
      else this.#events.note(this.bars.size > 0 ? null : span.isPast ? 'none_then' : 'empty');
    } catch (error) {
      if (signal.aborted) return;
      this.#events.note('history_failed', message(error));
    }
    this.#settling = true;
    this.#isLoaded = true;
    const waiting = this.#waiting;
    this.#waiting = [];
    this.take(waiting);
    this.#todo = 'all';
    this.#draw();
    this.#drawing.drawCompared(this.compared);
    const { lastUs } = this.bars;
    if (fromUs === null || lastUs === null || fromUs >= lastUs) this.#drawing.showLast(bars ?? SEEN_AT_FIRST);
    else this.#drawing.showTime(fromUs, Math.min(lastUs, toUs !== null && toUs > fromUs ? toUs : fromUs + SEEN_AT_FIRST * SECONDS[series.tf] * 1e6));
    // The library tells of the range that we have just set; only the reader's own scrolling counts.
    requestAnimationFrame(() => requestAnimationFrame(() => {
      this.#settling = false;
    }));
    if (this.bars.firstUs !== null) this.#events.loaded(this.bars.firstUs, this.#detached ? (lastUs ?? 0) + SECONDS[series.tf] * 1e6 : this.#now());
    this.#loadForecast(series, signal);
  }

  /**
   * Candles that came live, of any source of the symbol.
   * @param {Candle[]} candles
   */
  take(candles) {
    const series = this.series;
    if (series === null || this.#detached) return;
    // Until the server has heard of another timeframe, those of the old one still come.
    const mine = candles.filter((candle) => candle.symbol === series.symbol && candle.tf === series.tf);
    if (!this.#isLoaded) {
      this.#waiting.push(...mine);
      return;
    }
    const basis = this.bars.last(1)[0]?.price_basis ?? series.kind;
    const own = mine.filter((candle) => candle.source === series.source && (basis === null || candle.price_basis === basis));
    const todo = this.bars.take(own);
    const other = mine.filter((candle) => candle.source === series.compare);
    const compared = this.compared.take(oneBasis(other, this.compared.last(1)[0]?.price_basis ?? null));
    if (todo === 'nothing' && compared === 'nothing') return;
    this.#comparedMoved ||= compared !== 'nothing';
    if (todo === 'all' || (todo === 'last' && this.#todo === 'nothing')) this.#todo = todo;
    this.#drawSoon();
  }

  /**
   * Every tick of these was taken back.
   * @param {Gone[]} gone
   * @param {Timeframe | undefined} tf
   */
  forget(gone, tf) {
    const series = this.series;
    if (series === null || tf !== series.tf) return;
    const mine = gone.filter((candle) => candle.symbol === series.symbol);
    const isLess = (/** @type {Bars} */ bars, /** @type {string | null} */ source) =>
      mine.filter((candle) => candle.source === source && bars.forget(candle)).length > 0;
    const [own, compared] = [isLess(this.bars, series.source), isLess(this.compared, series.compare)];
    if (own) this.#todo = 'all';
    this.#comparedMoved ||= compared;
    if (own || compared) this.#drawSoon();
  }

  #drawSoon() {
    nextFrame('chart', () => {
      if (performance.now() - this.#drawnMs < (this.#drawing.isNarrow ? DRAW_MANY_EVERY_MS : DRAW_EVERY_MS)) return true;
      this.#draw();
      if (this.#comparedMoved) this.#drawing.drawCompared(this.compared);
      this.#comparedMoved = false;
      return false;
    });
  }

  /**
   * Asks for what came since the last candle: where candles do not come by themselves, and after a loss, in which older ones may have
   * been corrected, too.
   * @param {boolean} isAfterLoss
   */
  async refresh(isAfterLoss) {
    const series = this.series;
    if (series === null || !this.#isLoaded || this.#detached) return;
    const { signal } = this.#loading;
    const bucketUs = SECONDS[series.tf] * 1e6;
    const nowUs = this.#now();
    const lastUs = this.bars.lastUs ?? nowUs;
    const tooLong = nowUs - lastUs > PAGE * bucketUs;
    if (tooLong && isAfterLoss) {
      // A reader who looks at the past stays there.
      const { fromUs = null, toUs = null } = (this.#drawing.isAtNow ? null : this.#drawing.visible) ?? {};
      await this.show(series, { fromUs, toUs, bars: this.#seen, style: this.#style });
      return;
    }
    const fromUs = tooLong ? nowUs - PAGE * bucketUs : lastUs - (isAfterLoss ? FIRST_PAGE : 2) * bucketUs;
    if (isAfterLoss) this.#events.loaded(fromUs, nowUs);
    const fetchOf = (/** @type {string} */ source) =>
      api.candles({ symbol: series.symbol, source, tf: series.tf, fromUs, toUs: this.#untilUs, limit: LONGEST_PAGE }, signal);
    try {
      for (const source of [series.source, series.compare]) if (source !== null) this.take((await fetchOf(source)).candles);
    } catch {
      // The next round asks again; what is missing shows by its age.
    }
  }

  /** @param {{gaps: Gap[], alerts: Alert[]}} known of this series */
  mark({ gaps, alerts }) {
    const { series, bars } = this;
    if (series === null || bars.firstUs === null) return;
    const bucketUs = SECONDS[series.tf] * 1e6;
    const untilUs = this.#detached ? (bars.lastUs ?? 0) + bucketUs : this.#now();
    const shaded = new Set([...gapBuckets(gaps, bars.firstUs, untilUs, bucketUs), ...incomplete(bars, this.#now(), bucketUs)]);
    this.#drawing.drawGaps([...shaded].sort((a, b) => a - b), bucketUs);
    this.#drawing.drawMarkers(markersOf(alerts, bars.starts, bucketUs, colour('--marker')));
  }

  /** Back to the present, which may need another load. */
  goToNow() {
    const series = this.series;
    if (series === null) return;
    if (this.#detached) this.#events.scrolled(null, 0, this.#seen);
    else this.#drawing.goToNow();
  }

  get isDetached() {
    return this.#detached;
  }

  /** @param {number} bars */
  scrollBy(bars) {
    this.#drawing.scrollBy(bars);
  }

  /** @param {'candles' | 'line'} style */
  setStyle(style) {
    this.#style = style;
    this.#drawing.setStyle(style);
  }

  takeColours() {
    this.#drawing.takeColours();
    this.#todo = 'all';
    this.#draw();
    drawForecast(this.#drawing, this.forecast);
  }

  /** What the reader sees, the compared source's behind the own. */
  visibleCandles() {
    const { fromUs, toUs } = this.#drawing.visible ?? { fromUs: 0, toUs: Number.POSITIVE_INFINITY };
    return [...this.bars.between(fromUs, toUs), ...this.compared.between(fromUs, toUs)];
  }

  /**
   * In a replay nothing is known of what came later, so the open bucket, which is whole in the log, comes live only; else the newest is
   * what is asked for, by everybody alike.
   */
  get #untilUs() {
    const bucketUs = SECONDS[this.series?.tf ?? '1m'] * 1e6;
    return this.#isReplay ? Math.floor(this.#now() / bucketUs) * bucketUs : null;
  }

  /** What was shown before must not stand under another name. */
  #clearDrawing() {
    this.#todo = 'all';
    this.#draw();
    this.#drawing.drawCompared([]);
    this.#drawing.drawGaps([], 0);
    this.#drawing.drawMarkers([]);
    drawForecast(this.#drawing, this.forecast);
  }

  #draw() {
    const recent = this.bars.between(this.#lastDrawnUs, Number.MAX_SAFE_INTEGER);
    const todo = recent.length > LARGEST_STEP ? 'all' : this.#todo;
    this.#todo = 'nothing';
    this.#drawnMs = performance.now();
    const older = [...this.bars.changed].filter((start) => start < this.#lastDrawnUs);
    this.bars.changed.clear();
    if (todo === 'all' || older.length > LARGEST_STEP) this.#drawing.drawAll(this.bars);
    else if (todo === 'last') {
      this.#drawing.drawChanged(older.flatMap((start) => this.bars.at(start) ?? []), this.bars.starts);
      this.#drawing.drawLast(recent, this.bars.size);
    }
    this.#lastDrawnUs = this.bars.lastUs ?? 0;
    this.#events.changed();
  }

  /**
   * @param {Series} series
   * @param {ReturnType<typeof firstSpan>} span
   * @param {AbortSignal} signal
   */
  async #comparedPage(series, span, signal) {
    if (series.compare === null) return [];
    try {
      return (await api.candles({ ...series, ...span, source: series.compare }, signal)).candles;
    } catch (error) {
      // The chosen one is shown without it, and this is said.
      return signal.aborted ? [] : `${series.compare}: ${message(error)}`;
    }
  }

  async #loadOlder() {
    const series = this.series;
    const firstUs = this.bars.firstUs;
    if (series === null || firstUs === null || this.#loadingOlder || !this.#hasOlder || performance.now() < this.#olderFromMs) return;
    this.#loadingOlder = true;
    const { signal } = this.#loading;
    this.#events.note('loading');
    try {
      const { older, fromUs } = await this.#olderThan(firstUs, series, signal);
      if (signal.aborted) return;
      this.#hasOlder = older.length > 0;
      this.bars.take(older);
      if (older.length > 0) await this.#takeCompared(series, fromUs, firstUs, signal);
      if (signal.aborted) return;
      this.#todo = 'all';
      this.#draw();
      this.#drawing.drawCompared(this.compared);
      if (older.length > 0) this.#events.loaded(this.bars.firstUs ?? firstUs, firstUs);
      this.#events.note(older.length === 0 ? 'none' : null);
    } catch (error) {
      if (signal.aborted) return;
      this.#events.note('failed', message(error));
      // A store that is away comes back.
      this.#olderFromMs = performance.now() + ASK_AGAIN_MS;
    } finally {
      this.#loadingOlder = false;
    }
  }

  /** A chart that ends in the past goes on to the right until it has come to the present. */
  async #loadNewer() {
    const series = this.series;
    const visible = this.#drawing.visible;
    if (series === null || visible === null || this.#loadingNewer || performance.now() < this.#olderFromMs) return;
    const bucketUs = SECONDS[series.tf] * 1e6;
    if (visible.toUs < (this.bars.lastUs ?? 0) - 30 * bucketUs) return;
    this.#loadingNewer = true;
    const { signal } = this.#loading;
    const [fromUs, toUs] = [this.#shownToUs, this.#shownToUs + PAGE * bucketUs];
    const basis = this.bars.last(1)[0]?.price_basis ?? series.kind;
    try {
      const { symbol, source, tf } = series;
      const { candles } = await api.candles({ symbol, source, tf, fromUs, toUs, limit: LONGEST_PAGE }, signal);
      await this.#takeCompared(series, fromUs, toUs, signal);
      if (signal.aborted) return;
      this.bars.take(candles.filter((candle) => basis === null || candle.price_basis === basis));
      this.#shownToUs = toUs;
      if (toUs >= this.#now()) {
        this.#detached = false;
        this.refresh(false);
      }
      this.#todo = 'all';
      this.#draw();
      this.#drawing.drawCompared(this.compared);
      this.#events.loaded(fromUs, toUs);
    } catch (error) {
      if (signal.aborted) return;
      this.#events.note('failed', message(error));
      this.#olderFromMs = performance.now() + ASK_AGAIN_MS;
    } finally {
      this.#loadingNewer = false;
    }
  }

  /**
   * What the other source had in a time; it is shown where there is any.
   * @param {Series} series
   * @param {number} fromUs
   * @param {number} toUs
   * @param {AbortSignal} signal
   */
  async #takeCompared({ symbol, compare, tf }, fromUs, toUs, signal) {
    if (compare === null) return;
    const answer = await api.candles({ symbol, source: compare, tf, fromUs, toUs, limit: LONGEST_PAGE }, signal).catch(() => null);
    const basis = this.compared.last(1)[0]?.price_basis ?? null;
    if (answer !== null && !signal.aborted) this.compared.take(oneBasis(answer.candles, basis));
  }

  /**
   * @param {number} beforeUs
   * @param {Series} series
   * @param {AbortSignal} signal
   */
  async #olderThan(beforeUs, series, signal) {
    const found = await olderThan(beforeUs, series, this.bars.last(1)[0]?.price_basis ?? null, signal);
    this.hasDatabase ||= found.isOfDatabase;
    return found;
  }

  #tellScroll() {
    const visible = this.#drawing.visible;
    if (visible === null) return;
    const isAtNow = this.#drawing.isAtNow && !this.#detached;
    this.#seen = this.#drawing.zoomed ?? this.#laidOut;
    this.#events.scrolled(isAtNow ? null : visible.fromUs, visible.toUs, this.#seen);
  }

  /**
   * Hours are what is forecast, so only the chart of hours shows it.
   * @param {Series} series
   * @param {AbortSignal} signal
   */
  async #loadForecast(series, signal) {
    // What is forecast today was not known at the time of a replay.
    if (series.tf === '1h' && !this.#isReplay) {
      const rows = await api.forecasts(series.symbol).catch(() => []);
      if (signal.aborted) return;
      this.forecast = [...rows].sort((a, b) => a.at_us - b.at_us);
    }
    drawForecast(this.#drawing, this.forecast);
    this.#events.changed();
  }
}

/** @param {unknown} error */
function message(error) {
  return error instanceof Error ? error.message : String(error);
}
