// What the page knows: rows by symbol and source, open gaps, sources, and how far the server's clock is from this one.

/** @import {Feed, Gap, Row, ServerMessage, Source} from './protocol.js' */

/** @param {{symbol: string, source: string}} row */
export function keyOf(row) {
  return `${row.symbol}\n${row.source}`;
}

export class Prices {
  /** @type {Map<string, Row>} */
  rows = new Map();
  /** @type {Map<string, Gap>} */
  gaps = new Map();
  /** @type {Map<string, Source>} */
  sources = new Map();
  /** @type {Feed} */
  feed = { state: 'catching_up' };
  #skewUs = 0;

  /**
   * Takes in a message; gives the keys of the rows that it changed, or 'all'.
   * @param {ServerMessage} message
   * @returns {string[] | 'all'}
   */
  take(message) {
    switch (message.type) {
      case 'snapshot':
        if (message.channel === 'gaps') {
          this.gaps = new Map(message.gaps.map((gap) => [gap.id, gap]));
          return [];
        }
        this.rows = new Map(message.ticks.map((row) => [keyOf(row), row]));
        return 'all';
      case 'update':
        return message.ticks.map((row) => this.#put(row));
      case 'gap':
        if (message.gap.ended_at_us === null) this.gaps.set(message.gap.id, message.gap);
        else this.gaps.delete(message.gap.id);
        return [];
      case 'heartbeat':
        this.feed = message.feed;
        this.sources = new Map(message.sources.map((source) => [source.source, source]));
        this.#skewUs = message.now_us - Date.now() * 1000;
        return [];
      default:
        return [];
    }
  }

  /** @param {Row} row */
  #put(row) {
    const key = keyOf(row);
    if (row.price === null) this.rows.delete(key);
    else this.rows.set(key, row);
    return key;
  }

  /** The server's clock, microseconds UTC. */
  nowUs() {
    return Date.now() * 1000 + this.#skewUs;
  }

  /** Seconds since a row's price was made, by the server's clock. @param {Row} row */
  ageSeconds(row) {
    return (this.nowUs() - (row.event_time_us ?? this.nowUs())) / 1e6;
  }
}
