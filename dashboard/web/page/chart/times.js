// The chart library's times are seconds, ours are microseconds.

/** @import {Time, UTCTimestamp} from '/vendor/lightweight-charts.mjs' */

/** @param {number} us */
export const time = (us) => /** @type {UTCTimestamp} */ (us / 1e6);
/** @param {Time} at */
export const micros = (at) => Number(at) * 1e6;
