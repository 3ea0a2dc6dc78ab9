// Alerts on the chart: at the candle of their time, an arrow the way the price went.

/** @import {SeriesMarker, Time} from '/vendor/lightweight-charts.mjs' */
/** @import {Alert} from '../protocol.js' */

import { firstFrom } from './bars.js';
import { time } from './times.js';

/** Where prices are missing an alert stands at the last candle before it, if that is no further away than so many. */
const FURTHEST = 50;

/**
 * @param {Alert[]} alerts
 * @param {readonly number[]} starts of the candles, in order
 * @param {number} bucketUs
 * @param {string} color
 * @returns {SeriesMarker<Time>[]} in order
 */
export function markersOf(alerts, starts, bucketUs, color) {
  return [...alerts].sort((a, b) => a.event_time_us - b.event_time_us).flatMap((alert) => {
    const at = starts[firstFrom(starts, alert.event_time_us + 1) - 1];
    if (at === undefined || alert.event_time_us - at > bucketUs * FURTHEST) return [];
    return [{ time: time(at), color, size: 1, ...lookOf(alert) }];
  });
}

/**
 * @param {Alert} alert
 * @returns {{position: 'aboveBar' | 'belowBar', shape: 'circle' | 'square' | 'arrowDown' | 'arrowUp'}}
 */
function lookOf({ state, change_pct: change }) {
  if (state === 'RESOLVED') return { position: 'aboveBar', shape: 'circle' };
  if (change === null) return { position: 'aboveBar', shape: 'square' };
  return change.startsWith('-') ? { position: 'aboveBar', shape: 'arrowDown' } : { position: 'belowBar', shape: 'arrowUp' };
}
