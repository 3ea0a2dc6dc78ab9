// A forecast's line and bands, as they are drawn.

/** @import {ForecastRow} from '../protocol.js' */
/** @import {BandPoint} from './band.js' */
/** @import {Drawing} from './drawing.js' */

import { time } from './times.js';

/**
 * @param {Drawing} drawing
 * @param {ForecastRow[]} forecast in order
 */
export function drawForecast(drawing, forecast) {
  const points = (/** @type {'lo80' | 'lo95'} */ lo, /** @type {'hi80' | 'hi95'} */ hi) =>
    /** @type {BandPoint[]} */ (forecast.map((row) => ({ time: time(row.at_us), low: row[lo], high: row[hi] })));
  drawing.drawForecast(forecast.map((row) => ({ time: time(row.at_us), value: row.value })), points('lo95', 'hi95'), points('lo80', 'hi80'));
}
