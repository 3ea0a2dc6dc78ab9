import assert from 'node:assert/strict';
import test from 'node:test';

import { PollingLink } from '../page/link/polling.js';
import { SocketLink } from '../page/link/socket.js';

const soon = () => new Promise((done) => setTimeout(done, 5));

test('a poll that is answered with everything replaces what was known', async () => {
  const answer = (full, cursor, price) => ({
    now_us: 1, feed: { state: 'live' }, cursor, full, ticks: price === null ? [] : [{ symbol: 'A-USD', source: 'x', price }],
  });
  for (const [full, kind] of [[true, 'snapshot'], [false, 'update']]) {
    const asked = [];
    globalThis.fetch = async (url) => {
      asked.push(url);
      return { ok: true, status: 200, headers: new Headers(), json: async () => answer(full, 'ticks=b@0:2', '2') };
    };
    const said = [];
    const link = new PollingLink('latest', 'ticks=a@0:1', { message: (message) => said.push(message), alive() {}, cursor() {}, lost: (why) => said.push(why) });
    await soon();
    link.close();
    assert.match(asked[0], /cursor=ticks/);
    const rows = said.find(({ channel }) => channel === 'ticks');
    assert.equal(rows.type, kind);
    assert.equal(kind === 'update' || rows.full, true);
  }
});

/** A WebSocket as far as the link uses it. */
class Socket extends EventTarget {
  static CONNECTING = 0;
  static OPEN = 1;
  static CLOSED = 3;
  static made = [];
  sent = [];

  constructor(url, readyState = Socket.CONNECTING) {
    super();
    this.url = url;
    this.readyState = readyState;
    Socket.made.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  open() {
    this.readyState = Socket.OPEN;
    const event = new Event('open');
    this.onopen?.(event);
    this.dispatchEvent(event);
  }

  close() {}
}

function linkOver(early) {
  globalThis.WebSocket = Socket;
  Socket.made = [];
  if (early !== null) globalThis.earlySocket = early;
  const said = [];
  const link = new SocketLink('ws://here/ws', {}, { message: (message) => said.push(message.seq), alive() {}, cursor() {}, lost: (why) => said.push(`lost ${why}`) });
  return { link, said };
}

const message = (seq) => JSON.stringify({ seq, type: 'heartbeat' });
const subscribed = ({ sent }) => sent.filter(({ type }) => type === 'subscribe').map(({ channel }) => channel);

test('a socket that was opened early is gone on with, and what it has said comes first', async () => {
  const socket = new Socket('ws://here/ws', Socket.OPEN);
  const { link, said } = linkOver({ socket, heard: [message(1), message(2)] });
  assert.deepEqual(said, [], 'whoever makes the link knows of it first');
  await soon();
  socket.onmessage({ data: message(3) });
  assert.deepEqual([said, subscribed(socket), Socket.made.length], [[1, 2, 3], [], 0]);
  assert.equal(globalThis.earlySocket, undefined, 'once');
  link.close();
});

test('one that is still being opened subscribes by itself, once', async () => {
  const socket = new Socket('ws://here/ws');
  socket.onopen = () => socket.send('{"type":"subscribe","channel":"ticks"}');
  const { link } = linkOver({ socket, heard: [] });
  await soon();
  socket.open();
  assert.deepEqual(subscribed(socket), ['ticks']);
  link.close();
});

test('one that was refused is told as lost, and one of another address is left alone', async () => {
  const refused = linkOver({ socket: new Socket('ws://here/ws', Socket.CLOSED), heard: [] });
  await soon();
  assert.deepEqual(refused.said, ['lost ']);
  refused.link.close();
  const { link } = linkOver({ socket: new Socket('ws://elsewhere/ws', Socket.OPEN), heard: [] });
  Socket.made[0].open();
  assert.deepEqual(subscribed(Socket.made[0]), ['ticks', 'gaps', 'alerts', 'health']);
  link.close();
});
