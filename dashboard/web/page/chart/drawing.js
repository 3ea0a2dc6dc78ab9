// The chart's drawing. It draws with floats, as every chart does; the exact digits stand in the readout, the table and the tiles.

/** @import {Candle} from '../protocol.js' */
/** @import {BandPoint} from './band.js' */
/** @import {IChartApi, SeriesMarker, Time, UTCTimestamp} from '/vendor/lightweight-charts.mjs' */

import {
  CandlestickSeries, createChart, createSeriesMarkers, HistogramSeries, LineSeries, LineStyle,
} from '/vendor/lightweight-charts.mjs';
import { formatTime } from '../format.js';
import { movingAverage } from './bars.js';
import { Bands } from './band.js';
import { colour } from './colours.js';
import { Shade } from './shade.js';
import { areasOf } from './shading.js';
import { micros, time } from './times.js';

export const AVERAGE_OF = 20;
const QUIET = { lastValueVisible: false, priceLineVisible: false, crosshairMarkerVisible: false };

export class Drawing {
  /** @type {IChartApi} */
  #chart;
  /** Gaps have places on the scale of time, where there may be no candle; what is seen of them is the shade. */
  #gaps;
  #shade = new Shade();
  #volume;
  #forecast;
  #bands = new Bands();
  #candles;
  #line;
  #average;
  #compare;
  #markers;
  /** @type {'candles' | 'line'} */
  #style = 'candles';
  #isNarrow = false;
  /** @type {SeriesMarker<Time>[]} */
  #shownMarkers = [];
  #precision = 2;
  /** @type {number[]} */
  #closes = [];

  /**
   * @param {HTMLElement} element
   * @param {{locale: string, price: (value: string) => string}} texts
   */
  constructor(element, texts) {
    this.#chart = createChart(element, {
      autoSize: true,
      // Its style element would need an exception in the page's security policy; the attribution stands below the chart.
      layout: { attributionLogo: false, fontFamily: 'system-ui, sans-serif', fontSize: 11, background: { color: 'transparent' } },
      timeScale: { timeVisible: true, rightOffset: 4, borderVisible: false },
      rightPriceScale: { borderVisible: false, scaleMargins: { top: 0.06, bottom: 0.2 } },
      crosshair: { mode: 0 },
      localization: {
        locale: texts.locale,
        priceFormatter: (/** @type {number} */ price) => texts.price(price.toFixed(this.#precision)),
        timeFormatter: (/** @type {Time} */ at) => formatTime(micros(at), 0),
      },
      handleScroll: { vertTouchDrag: false },
    });
    const overlay = { ...QUIET, priceFormat: { type: /** @type {const} */ ('volume') } };
    this.#gaps = this.#chart.addSeries(HistogramSeries, {
      ...overlay,
      priceScaleId: 'gaps',
      autoscaleInfoProvider: () => ({ priceRange: { minValue: 0, maxValue: 1 } }),
    });
    this.#gaps.applyOptions({ color: 'transparent' });
    this.#gaps.attachPrimitive(this.#shade);
    this.#gaps.priceScale().applyOptions({ scaleMargins: { top: 0, bottom: 0 } });
    this.#volume = this.#chart.addSeries(HistogramSeries, { ...overlay, priceScaleId: 'volume' });
    this.#volume.priceScale().applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
    this.#forecast = this.#chart.addSeries(LineSeries, { ...QUIET, lineWidth: 1, lineStyle: LineStyle.Dashed });
    this.#forecast.attachPrimitive(this.#bands);
    this.#compare = this.#chart.addSeries(LineSeries, { ...QUIET, lineWidth: 1 });
    this.#average = this.#chart.addSeries(LineSeries, { ...QUIET, lineWidth: 1 });
    this.#candles = this.#chart.addSeries(CandlestickSeries, { borderVisible: false });
    this.#line = this.#chart.addSeries(LineSeries, { lineWidth: 2, visible: false });
    this.#markers = { candles: createSeriesMarkers(this.#candles, []), line: createSeriesMarkers(this.#line, []) };
    this.takeColours();
  }

  takeColours() {
    const grid = { color: colour('--grid') };
    this.#chart.applyOptions({ layout: { textColor: colour('--quiet') }, grid: { vertLines: grid, horzLines: grid } });
    const [up, down] = [colour('--up'), colour('--down')];
    this.#candles.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down });
    this.#line.applyOptions({ color: colour('--accent') });
    this.#average.applyOptions({ color: colour('--average') });
    this.#compare.applyOptions({ color: colour('--compare') });
    this.#forecast.applyOptions({ color: colour('--forecast') });
    this.#shade.setColour(colour('--gap'));
  }

  /** @param {number} precision digits after the point */
  setPrecision(precision) {
    this.#precision = precision;
    const priceFormat = { type: /** @type {const} */ ('price'), precision, minMove: 10 ** -precision };
    for (const series of [this.#candles, this.#line, this.#average, this.#compare, this.#forecast]) series.applyOptions({ priceFormat });
  }

  /** @param {boolean} seconds */
  showSeconds(seconds) {
    this.#chart.timeScale().applyOptions({ secondsVisible: seconds });
  }

  /** @param {'candles' | 'line'} style */
  setStyle(style) {
    this.#style = style;
    this.#showSeries();
  }

  /** Candles of less than a pixel cannot be told apart and cost most to draw: they are drawn as a line. */
  get #isLine() {
    return this.#style === 'line' || this.#isNarrow;
  }

  #showSeries() {
    this.#candles.applyOptions({ visible: !this.#isLine });
    this.#line.applyOptions({ visible: this.#isLine });
    this.#volume.applyOptions({ visible: !this.#isNarrow });
    this.drawMarkers(this.#shownMarkers);
  }

  /** @param {number} bars in sight */
  #takeWidth(bars) {
    const isNarrow = bars > this.#chart.timeScale().width();
    if (isNarrow === this.#isNarrow) return;
    this.#isNarrow = isNarrow;
    this.#showSeries();
  }

  /** @param {Iterable<Candle>} candles all, in order */
  drawAll(candles) {
    const all = [...candles];
    this.#closes = all.map((candle) => Number(candle.close));
    const averages = movingAverage(this.#closes, AVERAGE_OF);
    this.#candles.setData(all.map(candlestick));
    this.#line.setData(all.map(closeOf));
    this.#volume.setData(all.map((candle) => this.#volumeBar(candle)));
    this.#average.setData(all.map((candle, i) => ({ time: time(candle.start_us), ...value(averages[i]) })));
  }

  /**
   * Draws the last candles again, or new ones after them.
   * @param {Candle[]} candles in order
   * @param {number} size how many candles there are now
   */
  drawLast(candles, size) {
    for (const [i, candle] of candles.entries()) {
      const index = size - candles.length + i;
      this.#closes[index] = Number(candle.close);
      this.#candles.update(candlestick(candle));
      this.#line.update(closeOf(candle));
      this.#volume.update(this.#volumeBar(candle));
      const window = this.#closes.slice(Math.max(0, index + 1 - AVERAGE_OF), index + 1);
      const mean = window.length === AVERAGE_OF ? window.reduce((sum, close) => sum + close, 0) / AVERAGE_OF : null;
      this.#average.update({ time: time(candle.start_us), ...value(mean) });
    }
  }

  /** @param {Iterable<Candle>} candles */
  drawCompared(candles) {
    this.#compare.setData([...candles].map(closeOf));
  }

  /**
   * @param {number[]} starts of the buckets that a gap touches, in order, microseconds
   * @param {number} bucketUs
   */
  drawGaps(starts, bucketUs) {
    this.#gaps.setData(starts.map((start) => ({ time: time(start), value: 1 })));
    this.#shade.show(areasOf(starts, bucketUs));
  }

  /** @param {SeriesMarker<Time>[]} markers in order */
  drawMarkers(markers) {
    this.#shownMarkers = markers;
    this.#markers.candles.setMarkers(this.#isLine ? [] : markers);
    this.#markers.line.setMarkers(this.#isLine ? markers : []);
  }

  /**
   * @param {{time: UTCTimestamp, value: number}[]} line
   * @param {BandPoint[]} wide
   * @param {BandPoint[]} narrow
   */
  drawForecast(line, wide, narrow) {
    this.#forecast.setData(line);
    this.#bands.show([
      { points: wide, colour: colour('--band-wide') },
      { points: narrow, colour: colour('--band-narrow') },
    ]);
  }

  /** @param {(atUs: number | null) => void} listener */
  onCrosshair(listener) {
    this.#chart.subscribeCrosshairMove((event) => listener(event.time === undefined ? null : micros(event.time)));
  }

  /** @param {(bars: {from: number, to: number}) => void} listener by index; below zero: before the first candle */
  onScroll(listener) {
    this.#chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (range === null) return;
      this.#takeWidth(range.to - range.from);
      listener({ from: Number(range.from), to: Number(range.to) });
    });
  }

  /** What is seen, in microseconds; null while there is nothing. */
  get visible() {
    const range = this.#chart.timeScale().getVisibleRange();
    return range === null ? null : { fromUs: micros(range.from), toUs: micros(range.to) };
  }

  /** Whether the newest candle is in sight. */
  get isAtNow() {
    return this.#chart.timeScale().scrollPosition() > -1;
  }

  goToNow() {
    this.#chart.timeScale().scrollToPosition(4, false);
  }

  /** @param {number} bars to the right */
  scrollBy(bars) {
    const scale = this.#chart.timeScale();
    scale.scrollToPosition(scale.scrollPosition() + bars, false);
  }

  /** The last `count` places. Gaps and forecasts have places too, so candles are not counted. @param {number} count */
  showLast(count) {
    const scale = this.#chart.timeScale();
    scale.applyOptions({ barSpacing: Math.max(2, scale.width() / (count + 4)) });
    scale.scrollToPosition(4, false);
  }

  /**
   * @param {number} fromUs
   * @param {number} toUs
   */
  showTime(fromUs, toUs) {
    this.#chart.timeScale().setVisibleRange({ from: time(fromUs), to: time(toUs) });
  }

  /** @param {Candle} candle */
  #volumeBar(candle) {
    const rising = Number(candle.close) >= Number(candle.open);
    return { time: time(candle.start_us), value: Number(candle.volume ?? 0), color: rising ? this.#volumeUp : this.#volumeDown };
  }

  get #volumeUp() {
    return colours('--volume-up');
  }

  get #volumeDown() {
    return colours('--volume-down');
  }
}

/** @type {Map<string, string>} */
const known = new Map();

/** As `colour`, asked once a theme. @param {string} name */
function colours(name) {
  const key = `${name} ${document.documentElement.dataset['theme'] ?? ''} ${matchMedia('(prefers-color-scheme: dark)').matches}`;
  let found = known.get(key);
  if (found === undefined) known.set(key, found = colour(name));
  return found;
}

/** @param {Candle} candle */
function candlestick(candle) {
  const [open, high, low, close] = [candle.open, candle.high, candle.low, candle.close].map(Number);
  return { time: time(candle.start_us), open: open ?? 0, high: high ?? 0, low: low ?? 0, close: close ?? 0 };
}

/** @param {Candle} candle */
function closeOf(candle) {
  return { time: time(candle.start_us), value: Number(candle.close) };
}

/** @param {number | null | undefined} mean */
function value(mean) {
  return mean == null ? {} : { value: mean };
}
