// The server's messages, for the type checker. Prices are exact decimal strings; times are microseconds UTC.

/**
 * @typedef {object} Row
 * @property {string} symbol
 * @property {string} source
 * @property {string | null} kind
 * @property {string | null} price null: every tick was taken back
 * @property {string | null} bid
 * @property {string | null} ask
 * @property {string | null} volume_24h
 * @property {string | null} change_pct
 * @property {'24h' | 'look_back' | null} change_basis
 * @property {number | null} event_time_us
 * @property {'SOURCE' | 'RECEIVED' | null} event_time_origin
 * @property {number | null} received_at_us
 * @property {number | null} broker_time_us
 * @property {string | null} event_id
 * @property {number | null} revision
 *
 * @typedef {object} Gap
 * @property {string} id
 * @property {string} source
 * @property {string[]} symbols empty: all of the source's
 * @property {string} reason
 * @property {number} started_at_us
 * @property {number | null} ended_at_us null: open
 * @property {string} detail
 *
 * @typedef {object} Source
 * @property {string} source
 * @property {string} state OK, FAILING, CONNECTING or STOPPED
 * @property {number} at_us
 * @property {number | null} last_answer_at_us
 *
 * @typedef {{state: 'catching_up' | 'live'} | {state: 'outage', reason: string}} Feed
 *
 * @typedef {{seq: number} & (
 *   | {type: 'subscribed' | 'unsubscribed', id: number | null, channel: string, symbols: string[]}
 *   | {type: 'snapshot', channel: 'ticks', reason: 'subscribed' | 'lagged', ticks: Row[]}
 *   | {type: 'snapshot', channel: 'gaps', reason: 'subscribed' | 'lagged', gaps: Gap[]}
 *   | {type: 'update', channel: 'ticks', ticks: Row[]}
 *   | {type: 'gap', channel: 'gaps', gap: Gap}
 *   | {type: 'heartbeat', now_us: number, feed: Feed, sources: Source[]}
 *   | {type: 'pong', id: number | null}
 *   | {type: 'error', id: number | null, code: string, message: string}
 *   | {type: 'shutdown', message: string}
 * )} ServerMessage
 *
 * @typedef {object} History
 * @property {string} symbol
 * @property {string} source
 * @property {number} step_seconds
 * @property {[number, string][]} points seconds UTC, exact price
 */

export {};
