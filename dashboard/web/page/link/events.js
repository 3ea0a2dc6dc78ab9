// Server-Sent Events out of a stream of text, however it is cut.

/** @typedef {{id: string, event: string, data: string}} StreamEvent */

export class EventParser {
  #rest = '';
  #id = '';

  /**
   * The events that end in this piece.
   * @param {string} piece
   * @returns {StreamEvent[]}
   */
  push(piece) {
    const text = this.#rest + piece;
    // A CR at the end may be half of a CRLF: it waits for what follows.
    const held = text.endsWith('\r') ? 1 : 0;
    const blocks = text.slice(0, text.length - held).replace(/\r\n?/g, '\n').split('\n\n');
    this.#rest = (blocks.pop() ?? '') + text.slice(text.length - held);
    return blocks.map((block) => this.#event(block)).filter((event) => event.data !== '');
  }

  /** @param {string} block */
  #event(block) {
    let event = 'message';
    const data = [];
    for (const line of block.split('\n')) {
      const colon = line.indexOf(':');
      if (colon === 0) continue;
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
      if (field === 'data') data.push(value);
      else if (field === 'event') event = value;
      else if (field === 'id') this.#id = value;
    }
    return { id: this.#id, event, data: data.join('\n') };
  }
}
