// Which candles a gap touches.

/** @import {Gap} from '../protocol.js' */

/** A gap of a year on a chart of seconds is not drawn second by second. */
const LARGEST = 3000;

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
  for (const gap of gaps) {
    const endUs = Math.min(gap.ended_at_us ?? untilUs, untilUs);
    const first = Math.max(fromUs, Math.floor(gap.started_at_us / bucketUs) * bucketUs);
    for (let start = first; start < endUs && starts.size < LARGEST; start += bucketUs) starts.add(start);
  }
  return [...starts].sort((a, b) => a - b);
}
