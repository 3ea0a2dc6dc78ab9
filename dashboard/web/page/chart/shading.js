// Which candles a gap touches.

/** @import {Candle, Gap} from '../protocol.js' */

/** A gap of a year on a chart of seconds is not drawn second by second: the newest part of each, and the newest of all. */
const OF_A_GAP = 3000;
const LARGEST = 20_000;
/** The end of a bucket is told a moment after it. */
const SETTLES_US = 3e6;

/**
 * The starts of the buckets that gaps touch, in order, each once. A bucket is [start, start + width); a gap that only touches an edge
 * does not overlap it.
 * @param {Gap[]} gaps
 * @param {number} fromUs of the first candle
 * @param {number} untilUs
 * @param {number} bucketUs
 */
export function gapBuckets(gaps, fromUs, untilUs, bucketUs) {
  const starts = new Set();
  const ends = gaps.map((gap) => ({ gap, endUs: Math.min(gap.ended_at_us ?? untilUs, untilUs) })).sort((a, b) => b.endUs - a.endUs);
  for (const { gap, endUs } of ends) {
    const first = Math.max(fromUs, Math.floor(gap.started_at_us / bucketUs) * bucketUs);
    const last = Math.ceil(endUs / bucketUs - 1) * bucketUs;
    for (let start = last; start >= first && start > last - OF_A_GAP * bucketUs && starts.size < LARGEST; start -= bucketUs) starts.add(start);
  }
  return [...starts].sort((a, b) => a - b);
}

/**
 * Buckets next to each other as one area.
 * @param {number[]} starts in order
 * @param {number} bucketUs
 */
export function areasOf(starts, bucketUs) {
  /** @type {{firstUs: number, lastUs: number}[]} */
  const areas = [];
  for (const start of starts) {
    const area = areas.at(-1);
    if (area !== undefined && start - area.lastUs <= bucketUs) area.lastUs = start;
    else areas.push({ firstUs: start, lastUs: start });
  }
  return areas;
}

/**
 * The starts of candles whose time is over and of which the server says that something is missing.
 * @param {Iterable<Candle>} candles
 * @param {number} nowUs
 * @param {number} bucketUs
 */
export function incomplete(candles, nowUs, bucketUs) {
  return [...candles].filter((candle) => !candle.complete && candle.start_us + bucketUs + SETTLES_US < nowUs).map((candle) => candle.start_us);
}
