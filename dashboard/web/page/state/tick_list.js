// The newest ticks of one series, newest first: what is corrected is replaced, what is taken back goes, and what was left out on the way
// is counted. Must never happen here: two ticks next to each other as if nothing had been between them.

/** @import {Row} from '../protocol.js' */

const KEPT = 40;

/** @typedef {Row & {leftOut?: number}} Listed how many were left out before it */

export class TickList {
  /** Newest first. @type {Listed[]} */
  ticks = [];

  /** @param {Row[]} ticks newest first */
  show(ticks) {
    this.ticks = ticks.filter((tick) => tick.price !== null).slice(0, KEPT);
  }

  /**
   * What the server has, in place of what is here; newer ones that came meanwhile stay.
   * @param {Row[]} ticks newest first
   */
  join(ticks) {
    const known = new Set(ticks.map((tick) => tick.event_id));
    const newestUs = ticks[0]?.event_time_us ?? 0;
    this.show([...this.ticks.filter((tick) => !known.has(tick.event_id) && (tick.event_time_us ?? 0) >= newestUs), ...ticks]);
  }

  /** The series' newest tick as it is now: another one, the same again, or the one before where the newest was taken back. @param {Row} row */
  add(row) {
    if (row.price === null) {
      this.ticks = [];
      return;
    }
    const us = row.event_time_us ?? 0;
    const left = this.ticks.filter((tick) => (tick.event_time_us ?? 0) <= us);
    const at = left.findIndex((tick) => tick.event_id === row.event_id);
    const tick = { ...row, leftOut: at < 0 ? (row.skipped ?? 0) : (left[at]?.leftOut ?? 0) };
    this.ticks = at < 0 ? [tick, ...left].slice(0, KEPT) : [...left.slice(0, at), tick, ...left.slice(at + 1)];
  }
}
