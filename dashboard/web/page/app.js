// Wires the page: what the server says into what is known, what is known into the parts, and the address into the view.

import { Connection } from './link/connection.js';
import { html } from './dom.js';
import { Page } from './page.js';
import { translatePage } from './words/words.js';

translatePage();

const isReplay = location.pathname.endsWith('/replay');
const socket = new URL(isReplay ? `ws/replay${replayQuery()}` : 'ws', document.baseURI);
socket.protocol = socket.protocol === 'https:' ? 'wss:' : 'ws:';

const page = new Page(isReplay);
const connection = new Connection(
  {
    socket: socket.href,
    stream: isReplay ? null : 'api/v1/stream?channels=ticks,gaps,alerts,health',
    polling: isReplay ? null : 'api/v1/latest',
  },
  (message) => page.take(message),
  (state) => page.takeState(state),
);
page.begin(connection, `ws/replay${replayQuery()}`);
connection.connect();
html('prices').setAttribute('data-ready', '');

function replayQuery() {
  const query = new URLSearchParams(location.search);
  const asked = new URLSearchParams({ from: query.get('from') ?? '', speed: query.get('speed') ?? '1' });
  return `?${asked.toString().replaceAll('%3A', ':')}`;
}
