// Which part of a series' past is asked for at once.

/** @import {Timeframe} from '../protocol.js' */

import * as api from '../api.js';
import { SECONDS } from '../state/view.js';
import { oneBasis } from './bars.js';

export const FIRST_PAGE = 600;
export const PAGE = 1000;
export const LONGEST_PAGE = 5000;
/** As many as the server looks through at once: over a night, or a weekend. */
const WIDEST_BUCKETS = 20_000;
const LOOKS_BACK = 4;
/** Before what the reader sees first. */
const MARGIN = 50;

/**
 * What a chart begins with: up to the present, as far back as what is asked for; or a page of the past, where that is too far back.
 * @param {Timeframe} tf
 * @param {number | null} fromUs
 * @param {number} nowUs
 * @param {number | null} untilUs
 * @param {number | null} bars in sight
 * @returns {{fromUs: number | null, toUs: number | null, limit: number, isPast: boolean}}
 */
export function firstSpan(tf, fromUs, nowUs, untilUs, bars = null) {
  const bucketUs = SECONDS[tf] * 1e6;
  const wanted = fromUs === null ? Math.min(LONGEST_PAGE, (bars ?? 0) + MARGIN) : Math.ceil((nowUs - fromUs) / bucketUs) + MARGIN;
  if (wanted <= LONGEST_PAGE) return { fromUs: null, toUs: untilUs, limit: Math.max(FIRST_PAGE, wanted), isPast: false };
  const startUs = Math.max(0, (fromUs ?? 0) - MARGIN * bucketUs);
  return { fromUs: startUs, toUs: startUs + FIRST_PAGE * bucketUs, limit: FIRST_PAGE, isPast: true };
}

/**
 * The candles before a time, over holes as long as a weekend.
 * @param {number} beforeUs
 * @param {{symbol: string, source: string, tf: Timeframe, kind: string | null}} series
 * @param {string | null} basis of the candles that are known
 * @param {AbortSignal} signal
 */
export async function olderThan(beforeUs, { symbol, source, tf, kind }, basis, signal) {
  let toUs = beforeUs;
  let isOfDatabase = false;
  for (let look = 0; look < LOOKS_BACK; look += 1) {
    const fromUs = toUs - (look === 0 ? PAGE : WIDEST_BUCKETS) * SECONDS[tf] * 1e6;
    if (fromUs <= 0) break;
    const answer = await api.candles({ symbol, source, tf, fromUs, toUs, limit: LONGEST_PAGE }, signal);
    isOfDatabase ||= answer.origin === 'postgres';
    // Another kind of price does not go on where this one ends.
    const older = (basis === null ? oneBasis(answer.candles, kind) : answer.candles.filter((candle) => candle.price_basis === basis))
      .filter((candle) => candle.start_us < beforeUs);
    if (older.length > 0 || (answer.complete_from_us ?? 0) > fromUs) return { older, fromUs, isOfDatabase };
    toUs = fromUs;
  }
  return { older: [], fromUs: toUs, isOfDatabase };
}
