// Whether a price that stands still is "unchanged" (its source has answered since) or "unknown" (it may have moved and
// nobody would know). Never one for the other.

/** @import {Gap, Row, Source} from './protocol.js' */

/** A row whose price moved this lately is live. */
const LIVE_SECONDS = 10;
/** Three health records missed. */
const HEALTH_SECONDS = 30;
/** A source that says nothing of itself is believed this long. */
const SILENT_SOURCE_SECONDS = 60;

/**
 * @typedef {object} Freshness
 * @property {'live' | 'unchanged' | 'unknown'} state
 * @property {string} why
 */

/**
 * @param {Row} row
 * @param {{nowUs: number, feedProblem: string | null, source: Source | undefined, gaps: Iterable<Gap>}} known
 * @returns {Freshness}
 */
export function freshness(row, { nowUs, feedProblem, source, gaps }) {
  if (feedProblem !== null) return { state: 'unknown', why: feedProblem };
  for (const gap of gaps) {
    if (gap.source === row.source && (gap.symbols.length === 0 || gap.symbols.includes(row.symbol))) {
      return { state: 'unknown', why: `gap: ${gap.reason}${gap.detail === '' ? '' : ` (${gap.detail})`}` };
    }
  }
  const ageSeconds = (nowUs - (row.received_at_us ?? row.event_time_us ?? 0)) / 1e6;
  if (source === undefined) {
    return ageSeconds > SILENT_SOURCE_SECONDS
      ? { state: 'unknown', why: 'the source says nothing of itself' }
      : { state: 'live', why: 'ticks arrive' };
  }
  if ((nowUs - source.at_us) / 1e6 > HEALTH_SECONDS) return { state: 'unknown', why: 'the producer is silent' };
  if (source.state !== 'OK') return { state: 'unknown', why: `the source is ${source.state}` };
  if (ageSeconds <= LIVE_SECONDS) return { state: 'live', why: 'ticks arrive' };
  const answered = source.last_answer_at_us;
  if (answered !== null && answered > (row.received_at_us ?? 0)) {
    return { state: 'unchanged', why: 'the source has answered since: the price has not moved' };
  }
  return { state: 'live', why: 'this is the source’s last answer' };
}
