// The chart's drawing. It draws with floats, as every chart does; the exact digits stand in the readout, the table and the tiles.

/** @import {Candle} from '../protocol.js' */
/** @import {BandPoint} from './band.js' */
/** @import {IChartApi, SeriesMarker, Time, UTCTimestamp} from '/vendor/lightweight-charts.mjs' */

import {
  CandlestickSeries, createChart, createSeriesMarkers, HistogramSeries, LineSeries, LineStyle,
} from '/vendor/lightweight-charts.mjs';
import { formatTime } from '../format.js';
import { firstFrom, movingAverage } from './bars.js';
import { Bands } from './band.js';
import { colour } from './colours.js';
import { Shade } from './shade.js';
import { areasOf } from './shading.js';
import { micros, time } from './times.js';

export const AVERAGE_OF = 20;
/** Up to so many candles are never thinner than two pixels. */
const USUALLY = 120;
const MEANS_APART = 4;
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
  /** Whether candles are less than a pixel wide. */
  isNarrow = false;
  /** Whether candles and volumes, which are not seen then, have been left as they were. */
  #isBehind = false;
  /** Called where everything is to be drawn anew. */
  onBehind = () => {};
  /** @type {SeriesMarker<Time>[]} */
  #shownMarkers = [];
  #shownAs = '';
  /** Of a candle, as it was laid out. */
  #spacing = 0;
  /** @type {number[]} */
  #shaded = [];
  #shadedBucketUs = 0;
  #volumeUp = '';
  /** Where the mouse is, over candles. @type {{x: number, y: number} | null} */
  #pointed = null;
  /** @type {(atUs: number | null) => void} */
  #onCrosshair = () => {};
  #volumeDown = '';
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
      timeScale: { timeVisible: true, rightOffset: 4, borderVisible: false, minBarSpacing: 0.1 },
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
    this.#average = this.#chart.addSeries(LineSeries, {
      ...QUIET,
      lineWidth: 1,
      // A mean is never outside of what it is of: thousands need not be looked through for it.
      autoscaleInfoProvider: (/** @type {() => import('/vendor/lightweight-charts.mjs').AutoscaleInfo | null} */ usual) => this.isNarrow ? null : usual(),
    });
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
    return this.#style === 'line' || this.isNarrow;
  }

  #showSeries() {
    this.#candles.applyOptions({ visible: !this.#isLine });
    this.#line.applyOptions({ visible: this.#isLine });
    this.#volume.applyOptions({ visible: !this.isNarrow });
    this.drawMarkers(this.#shownMarkers);
  }

  /** @param {number} bars in sight */
  #takeWidth(bars) {
    const isNarrow = bars > this.#chart.timeScale().width();
    if (isNarrow === this.isNarrow) return;
    this.isNarrow = isNarrow;
    this.#showSeries();
    if (!isNarrow && this.#isBehind) this.onBehind();
  }

  /** @param {Iterable<Candle>} candles all, in order */
  drawAll(candles) {
    const all = [...candles];
    this.#takeVolumeColours();
    this.#closes = all.map((candle) => Number(candle.close));
    const averages = movingAverage(this.#closes, AVERAGE_OF);
    this.#atOnce(() => {
      this.#line.setData(all.map(closeOf));
      this.#isBehind = this.isNarrow;
      this.#candles.setData(this.#isBehind ? [] : all.map(candlestick));
      this.#volume.setData(this.#isBehind ? [] : all.map((candle) => this.#volumeBar(candle)));
      const means = all.map((candle, i) => ({ time: time(candle.start_us), ...value(averages[i]) }));
      this.#average.setData(means.filter((_, i) => this.#hasMean(i)));
    });
  }

  /**
   * Draws the last candles again, or new ones after them.
   * @param {Candle[]} candles in order
   * @param {number} size how many candles there are now
   */
  drawLast(candles, size) {
    this.#atOnce(() => this.#drawLast(candles, size));
  }

  /**
   * @param {Candle[]} candles
   * @param {number} size
   */
  #drawLast(candles, size) {
    if (this.isNarrow && !this.#isBehind) this.#leaveBehind();
    for (const [i, candle] of candles.entries()) {
      const index = size - candles.length + i;
      this.#closes[index] = Number(candle.close);
      this.#line.update(closeOf(candle));
      if (!this.#isBehind) {
        this.#candles.update(candlestick(candle));
        this.#volume.update(this.#volumeBar(candle));
      }
      if (this.#hasMean(index)) this.#average.update({ time: time(candle.start_us), ...value(this.#mean(index)) });
    }
  }

  /** What is not seen costs as much as what is. */
  #leaveBehind() {
    this.#isBehind = true;
    this.#candles.setData([]);
    this.#volume.setData([]);
    this.#average.setData(this.#average.data().filter((_, i) => this.#hasMean(i)));
  }

  /** A mean moves slowly: where several share a pixel some of them make the same line. @param {number} index */
  #hasMean(index) {
    return !this.#isBehind || index % MEANS_APART === 0;
  }

  /**
   * Draws candles before the last anew: each in its place, and the mean of those that it counts in.
   * @param {Candle[]} candles
   * @param {readonly number[]} starts of all, in order
   */
  drawChanged(candles, starts) {
    if (candles.length > 0) this.#atOnce(() => this.#drawChanged(candles, starts));
  }

  /**
   * @param {Candle[]} candles
   * @param {readonly number[]} starts
   */
  #drawChanged(candles, starts) {
    const means = new Set();
    for (const candle of candles) {
      const index = firstFrom(starts, candle.start_us);
      this.#closes[index] = Number(candle.close);
      this.#line.update(closeOf(candle), true);
      if (!this.#isBehind) {
        this.#candles.update(candlestick(candle), true);
        this.#volume.update(this.#volumeBar(candle), true);
      }
      for (let next = index; next < Math.min(index + AVERAGE_OF, this.#closes.length); next += 1) if (this.#hasMean(next)) means.add(next);
    }
    for (const index of means) this.#average.update({ time: time(starts[index] ?? 0), ...value(this.#mean(index)) }, true);
  }

  /** Of the closes up to one. @param {number} index */
  #mean(index) {
    const window = this.#closes.slice(Math.max(0, index + 1 - AVERAGE_OF), index + 1);
    return window.length === AVERAGE_OF ? window.reduce((sum, close) => sum + close, 0) / AVERAGE_OF : null;
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
    // It is asked for every few seconds, and lays all of the chart out anew.
    if (bucketUs === this.#shadedBucketUs && isSame(starts, this.#shaded)) return;
    [this.#shaded, this.#shadedBucketUs] = [starts, bucketUs];
    this.#gaps.setData(starts.map((start) => ({ time: time(start), value: 1 })));
    this.#shade.show(areasOf(starts, bucketUs));
  }

  /** @param {SeriesMarker<Time>[]} markers in order */
  drawMarkers(markers) {
    const shown = JSON.stringify([this.#isLine, markers]);
    if (shown === this.#shownAs) return;
    this.#shownAs = shown;
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
    this.#onCrosshair = listener;
    this.#chart.subscribeCrosshairMove((event) => {
      this.#pointed = event.time === undefined ? null : (event.point ?? null);
      listener(event.time === undefined ? null : micros(event.time));
    });
  }

  /**
   * Changes much: what is pointed at is looked for once after it, and not by the library after each change, for which it goes through
   * all points anew.
   * @param {() => void} change
   */
  #atOnce(change) {
    const at = this.#pointed;
    if (at === null) {
      change();
      return;
    }
    this.#chart.clearCrosshairPosition();
    change();
    const [under, price] = [this.#chart.timeScale().coordinateToTime(at.x), this.#line.coordinateToPrice(at.y)];
    if (under === null || price === null) return;
    this.#chart.setCrosshairPosition(price, under, this.#line);
    this.#onCrosshair(micros(under));
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
    const spacing = scale.width() / (count + 4);
    scale.applyOptions({ barSpacing: Math.max(count > USUALLY ? 0.1 : 2, spacing) });
    this.#spacing = scale.options().barSpacing;
    scale.scrollToPosition(4, false);
  }

  /** How many places the reader has made fit; null where it is as it was laid out. */
  get zoomed() {
    const scale = this.#chart.timeScale();
    const { barSpacing } = scale.options();
    return Math.abs(barSpacing - this.#spacing) < 0.01 * barSpacing ? null : Math.round(scale.width() / barSpacing) - 4;
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

  #takeVolumeColours() {
    [this.#volumeUp, this.#volumeDown] = [colour('--volume-up'), colour('--volume-down')];
  }
}

/**
 * @param {number[]} a
 * @param {number[]} b
 */
function isSame(a, b) {
  return a.length === b.length && a.every((each, i) => each === b[i]);
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
