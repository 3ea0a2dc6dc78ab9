// The server's messages (docs/websocket.md), for the type checker. Prices are exact decimal strings; times are microseconds UTC.

/**
 * @typedef {object} Row
 * @property {string} symbol
 * @property {string} source
 * @property {string | null} kind
 * @property {string | null} price null: every tick was taken back
 * @property {string | null} bid
 * @property {string | null} ask
 * @property {string | null} quantity
 * @property {string | null} volume_24h in units of base
 * @property {string | null} quote_volume_24h
 * @property {string | null} market_cap
 * @property {string | null} change_pct
 * @property {'24h' | 'look_back' | null} change_basis
 * @property {string | null} high
 * @property {string | null} low
 * @property {number | null} stats_from_us
 * @property {string | null} tick_size
 * @property {number | null} event_time_us
 * @property {'SOURCE' | 'RECEIVED' | null} event_time_origin
 * @property {number | null} received_at_us
 * @property {number | null} broker_time_us
 * @property {string | null} event_id
 * @property {number | null} revision
 * @property {number} [skipped]
 *
 * @typedef {object} Candle
 * @property {string} symbol
 * @property {string} source
 * @property {string} price_basis
 * @property {Timeframe} tf
 * @property {number} start_us
 * @property {string} open
 * @property {string} high
 * @property {string} low
 * @property {string} close
 * @property {string | null} volume
 * @property {string | null} vwap
 * @property {number} trades
 * @property {boolean} complete
 *
 * @typedef {{symbol: string, source: string, price_basis: string, start_us: number}} Gone a candle without a tick left
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
 * @typedef {object} Alert
 * @property {string} alert_id
 * @property {string} rule
 * @property {string} kind
 * @property {'FIRING' | 'RESOLVED'} state
 * @property {'INFO' | 'WARNING' | 'CRITICAL'} severity
 * @property {string | null} symbol
 * @property {string | null} source
 * @property {string | null} price
 * @property {string | null} reference
 * @property {string | null} change_pct
 * @property {number} event_time_us
 * @property {number} fired_at_us
 * @property {string} message
 *
 * @typedef {{p50_us: number, p99_us: number, count: number} | null} Hop
 *
 * @typedef {object} Source
 * @property {string} source
 * @property {string} state OK, FAILING, CONNECTING, STOPPED or SILENT
 * @property {number} at_us
 * @property {number | null} last_answer_at_us
 * @property {{exchange_to_received: Hop, received_to_broker: Hop, broker_to_server: Hop}} [hops]
 *
 * @typedef {object} Feed
 * @property {'catching_up' | 'live' | 'outage' | 'replay'} state
 * @property {string} [reason]
 * @property {number} [since_us]
 *
 * @typedef {'1s' | '1m' | '5m' | '1h' | '1d'} Timeframe
 *
 * @typedef {object} Replay
 * @property {'playing' | 'paused' | 'ended'} state
 * @property {number | string} speed
 * @property {number} at_us
 * @property {number} from_us
 * @property {number} live_us
 *
 * @typedef {{channel: string, reason: 'subscribed' | 'resumed' | 'lagged' | 'seek', full: boolean, cursor: string}} Snapshot
 *
 * @typedef {{seq: number} & (
 *   | {type: 'subscribed' | 'unsubscribed', id: number | null, channel: string, symbols: string[]}
 *   | {type: 'snapshot'} & Snapshot & {ticks?: Row[], gaps?: Gap[], alerts?: Alert[], sources?: Source[], candles?: Candle[], gone?: Gone[], tf?: Timeframe}
 *   | {type: 'update', channel: string, cursor: string, ticks?: Row[], sources?: Source[], candles?: Candle[], gone?: Gone[], tf?: Timeframe}
 *   | {type: 'gap', channel: 'gaps', cursor: string, gap: Gap}
 *   | {type: 'alert', channel: 'alerts', cursor: string, alert: Alert}
 *   | {type: 'heartbeat', now_us: number, feed: Feed}
 *   | {type: 'pong', id: number | null, sent_us: number, now_us: number}
 *   | {type: 'replay'} & Replay
 *   | {type: 'error', id: number | null, code: string, message: string}
 *   | {type: 'shutdown', message: string, retry_after_ms: number}
 * )} ServerMessage
 *
 * @typedef {object} Latest what polling gives
 * @property {number} now_us
 * @property {Feed} feed
 * @property {string} cursor
 * @property {boolean} full false: only what is newer than the cursor that was asked with
 * @property {Row[]} ticks
 * @property {Gap[]} [gaps]
 * @property {Alert[]} [alerts]
 * @property {Source[]} [sources]
 *
 * @typedef {object} CandleAnswer
 * @property {Candle[]} candles
 * @property {number | null} [complete_from_us]
 * @property {string} [origin]
 * @property {string | null} [history_problem] why what is older could not be read
 *
 * @typedef {object} ForecastRow
 * @property {number} at_us
 * @property {number} value statistics, not prices
 * @property {number} lo80
 * @property {number} hi80
 * @property {number} lo95
 * @property {number} hi95
 * @property {string} model
 * @property {boolean} beats_naive
 */

export {};
