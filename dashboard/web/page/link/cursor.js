// Where a channel was read to: the topic's identity and the highest offset of each partition. The server's rule of joining them
// is in docs/websocket.md.

export class Cursor {
  #topic = '';
  /** @type {Map<number, number>} */
  #offsets = new Map();

  /** @param {string | null | undefined} text */
  take(text) {
    const [topic = '', places = ''] = (text ?? '').split('@');
    if (topic === '') return;
    if (topic !== this.#topic) {
      this.#topic = topic;
      this.#offsets.clear();
    }
    for (const place of places.split(',')) {
      const [partition, offset] = place.split(':').map(Number);
      if (partition === undefined || offset === undefined || !Number.isSafeInteger(partition + offset)) continue;
      this.#offsets.set(partition, Math.max(offset, this.#offsets.get(partition) ?? offset));
    }
  }

  /**
   * The cursors of all channels together, as an event's id and a poll's answer have them.
   * @param {Record<string, Cursor>} cursors
   */
  static join(cursors) {
    return Object.entries(cursors).flatMap(([channel, cursor]) => {
      const text = cursor.toText();
      return text === undefined ? [] : [`${channel}=${text}`];
    }).join(';');
  }

  /**
   * @param {string} text
   * @param {Record<string, Cursor>} cursors
   */
  static takeJoined(text, cursors) {
    for (const part of text.split(';')) {
      const [channel = '', cursor] = part.split('=');
      if (cursor !== undefined) (cursors[channel] ??= new Cursor()).take(cursor);
    }
  }

  clear() {
    this.#topic = '';
    this.#offsets.clear();
  }

  /** What to ask for: undefined where nothing was read. */
  toText() {
    if (this.#topic === '' || this.#offsets.size === 0) return undefined;
    const places = [...this.#offsets].sort(([a], [b]) => a - b).map(([partition, offset]) => `${partition}:${offset}`);
    return `${this.#topic}@${places.join(',')}`;
  }
}
