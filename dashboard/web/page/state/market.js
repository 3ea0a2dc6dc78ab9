// What the page knows of the market: rows by symbol and source, gaps, alerts, sources, and what of it has changed since somebody
// last looked. Must never happen here: a price that nobody sent.

/** @import {Alert, Feed, Gap, Row, ServerMessage, Source} from '../protocol.js' */

const ALERTS_KEPT = 200;
const GAPS_KEPT = 500;

/** @param {{symbol: string, source: string}} row */
export function keyOf(row) {
  return `${row.symbol}\n${row.source}`;
}

export class Market {
  /** @type {Map<string, Row>} */
  rows = new Map();
  /** Open and closed, by id. @type {Map<string, Gap>} */
  gaps = new Map();
  /** Newest first. @type {Alert[]} */
  alerts = [];
  /** @type {Map<string, Source>} */
  sources = new Map();
  /** @type {Feed} */
  feed = { state: 'catching_up' };
  /** Keys of rows that changed since `seen`. @type {Set<string>} */
  changedRows = new Set();
  /** @type {Set<'rows' | 'gaps' | 'alerts' | 'sources' | 'feed'>} */
  changed = new Set();
  /** Called for every row that comes as an update. @type {(row: Row, before: Row | undefined) => void} */
  onTick = () => {};
  /** When the broker had the newest of what has come. @type {number | null} */
  #newestUs = null;

  /** @param {ServerMessage} message */
  take(message) {
    switch (message.type) {
      case 'snapshot':
        if (message.channel === 'ticks') this.takeRows(message.ticks ?? [], message.full);
        if (message.channel === 'gaps') this.takeGaps(message.gaps ?? [], message.full);
        if (message.channel === 'alerts') this.takeAlerts(message.alerts ?? [], message.full);
        if (message.channel === 'health') this.takeSources(message.sources ?? [], message.full);
        break;
      case 'update':
        if (message.channel === 'ticks') {
          for (const row of message.ticks ?? []) {
            const before = this.rows.get(keyOf(row));
            this.#put(row);
            this.onTick(row, before);
          }
        }
        if (message.channel === 'health') this.takeSources(message.sources ?? [], false);
        break;
      case 'gap':
        this.takeGaps([message.gap], false);
        break;
      case 'alert':
        this.takeAlerts([message.alert], false);
        break;
      case 'heartbeat':
        this.takeFeed(message.feed);
        break;
    }
  }

  /**
   * @param {Row[]} rows
   * @param {boolean} whole whether what is not among them is gone
   */
  takeRows(rows, whole) {
    if (whole) {
      const there = new Set(rows.map(keyOf));
      for (const key of this.rows.keys()) if (!there.has(key)) this.#remove(key);
      this.#newestUs = null;
    }
    for (const row of rows) this.#put(row);
    this.changed.add('rows');
  }

  /**
   * @param {Gap[]} gaps
   * @param {boolean} whole whether these are all that are open
   */
  takeGaps(gaps, whole) {
    if (whole) for (const [id, gap] of this.gaps) if (gap.ended_at_us === null) this.gaps.delete(id);
    for (const gap of gaps) {
      // In the order of their closing, so that the oldest go first.
      this.gaps.delete(gap.id);
      this.gaps.set(gap.id, gap);
    }
    if (this.gaps.size > GAPS_KEPT) {
      for (const [id, gap] of this.gaps) {
        if (this.gaps.size <= GAPS_KEPT) break;
        if (gap.ended_at_us !== null) this.gaps.delete(id);
      }
    }
    this.changed.add('gaps');
  }

  /**
   * @param {Alert[]} alerts
   * @param {boolean} whole
   */
  takeAlerts(alerts, whole) {
    const all = new Map((whole ? [] : this.alerts).map((alert) => [alert.alert_id, alert]));
    for (const alert of alerts) all.set(alert.alert_id, alert);
    this.alerts = [...all.values()].sort((a, b) => b.fired_at_us - a.fired_at_us).slice(0, ALERTS_KEPT);
    this.changed.add('alerts');
  }

  /**
   * @param {Source[]} sources
   * @param {boolean} whole
   */
  takeSources(sources, whole) {
    if (whole) this.sources.clear();
    for (const source of sources) this.sources.set(source.source, source);
    this.changed.add('sources');
  }

  /** @param {Feed} feed */
  takeFeed(feed) {
    if (this.feed.state !== feed.state || this.feed.reason !== feed.reason) this.changed.add('feed');
    this.feed = feed;
  }

  /** Prices are no newer than this: since when the server reads nothing, else when the broker had the newest one. */
  get asOfUs() {
    return (this.feed.state === 'outage' ? this.feed.since_us : null) ?? this.#newestUs;
  }

  /** Gaps that are open now. */
  *openGaps() {
    for (const gap of this.gaps.values()) if (gap.ended_at_us === null) yield gap;
  }

  /** Every source of a symbol, in order. @param {string} symbol */
  sourcesOf(symbol) {
    return [...this.rows.values()].filter((row) => row.symbol === symbol).map((row) => row.source).sort();
  }

  /** What has changed; asking forgets it. */
  seen() {
    const result = { rows: this.changedRows, parts: this.changed };
    this.changedRows = new Set();
    this.changed = new Set();
    return result;
  }

  /** @param {Row} row */
  #put(row) {
    const key = keyOf(row);
    if (row.price === null) {
      this.#remove(key);
      return;
    }
    if (row.broker_time_us != null) this.#newestUs = Math.max(this.#newestUs ?? 0, row.broker_time_us);
    if (!this.rows.has(key)) this.changed.add('rows');
    this.rows.set(key, row);
    this.changedRows.add(key);
  }

  /** @param {string} key */
  #remove(key) {
    if (!this.rows.delete(key)) return;
    this.changedRows.add(key);
    this.changed.add('rows');
  }
}

/**
 * Whether a gap is one in a series: the server's own rule. An implied price is computed from what others said.
 * @param {Gap} gap
 * @param {{symbol: string, source: string, kind: string | null}} series
 */
export function concerns(gap, { symbol, source, kind }) {
  const isImplied = kind === 'FX_IMPLIED';
  if (gap.source !== source && gap.source !== '*' && !isImplied) return false;
  const [base = '', quote = ''] = symbol.split('-');
  const touched = isImplied ? [symbol, `${base}-USD`, `USD-${quote}`] : [symbol];
  return gap.symbols.length === 0 || touched.some((each) => gap.symbols.includes(each));
}
