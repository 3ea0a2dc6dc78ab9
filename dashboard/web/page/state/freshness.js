// Whether a price that stands still is "unchanged" (its source has answered since) or "unknown" (it may have moved and
// nobody would know). Never one for the other.

/** @import {Gap, Row, Source} from '../protocol.js' */

import { concerns } from './market.js';

/** A row whose price moved this lately is live. */
const LIVE_SECONDS = 10;
/** A source that says nothing of itself is believed this long. */
const SILENT_SOURCE_SECONDS = 60;

/**
 * @typedef {object} Freshness
 * @property {'live' | 'unchanged' | 'unknown'} state
 * @property {'feed' | 'gap' | 'nothing_said' | 'producer_silent' | 'source_state' | 'ticks' | 'answered' | 'last_answer'} why
 * @property {string} [detail] a gap's reason, a source's state
 * @property {string} [more] in the words of whoever saw it
 */

/**
 * @param {Row} row
 * @param {{nowUs: number, feedProblem: string | null, source: Source | undefined, gaps: Iterable<Gap>}} known
 * @returns {Freshness}
 */
export function freshness(row, { nowUs, feedProblem, source, gaps }) {
  if (feedProblem !== null) return { state: 'unknown', why: 'feed', detail: feedProblem };
  for (const gap of gaps) {
    if (concerns(gap, row)) return { state: 'unknown', why: 'gap', detail: gap.reason, more: gap.detail };
  }
  const ageSeconds = (nowUs - (row.received_at_us ?? row.event_time_us ?? 0)) / 1e6;
  if (source === undefined) {
    return ageSeconds > SILENT_SOURCE_SECONDS ? { state: 'unknown', why: 'nothing_said' } : { state: 'live', why: 'ticks' };
  }
  if (source.state === 'SILENT') return { state: 'unknown', why: 'producer_silent' };
  if (source.state !== 'OK') return { state: 'unknown', why: 'source_state', detail: source.state };
  if (ageSeconds <= LIVE_SECONDS) return { state: 'live', why: 'ticks' };
  const answered = source.last_answer_at_us;
  if (answered !== null && answered > (row.received_at_us ?? 0)) return { state: 'unchanged', why: 'answered' };
  return { state: 'live', why: 'last_answer' };
}
