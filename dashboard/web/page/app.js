// Wires the page: what the server says into what is known, what is known into the parts, and the address into the view.

import { Connection } from './link/connection.js';
import { Page } from './page.js';
import { translatePage } from './words/words.js';

translatePage();

const isReplay = location.pathname.endsWith('/replay');
/** A replay may have to read much before it begins: as long as the server has patience, and a little more. */
const REPLAY_PATIENCE_MS = 25_000;

const page = new Page(isReplay);
/** @type {Connection} */
const connection = new Connection(
  {
    socket: () => {
      const socket = new URL(page.replaying?.address ?? 'ws', document.baseURI);
      socket.protocol = socket.protocol === 'https:' ? 'wss:' : 'ws:';
      return socket.href;
    },
    ...(isReplay
      ? { stream: null, polling: null, patienceMs: REPLAY_PATIENCE_MS }
      : { stream: 'api/v1/stream?channels=ticks,gaps,alerts,health', polling: 'api/v1/latest' }),
  },
  (message) => page.take(message),
  (state) => page.takeState(state),
);
const replaying = isReplay ? new (await import('./replaying.js')).Replaying(connection) : null;
page.begin(connection, replaying);
connection.connect();
