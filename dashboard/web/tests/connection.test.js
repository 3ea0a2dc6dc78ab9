import assert from 'node:assert/strict';
import test, { mock } from 'node:test';

import { Connection } from '../page/link/connection.js';

/** A browser whose sockets are refused, and a server that answers plain requests, or does not. */
function browser(answer) {
  const asked = [];
  globalThis.addEventListener = () => {};
  globalThis.document = { addEventListener: () => {}, visibilityState: 'visible' };
  globalThis.WebSocket = class {
    constructor(url) {
      asked.push(url);
      setTimeout(() => this.onclose?.({ reason: '' }), 5);
    }

    close() {}
  };
  globalThis.fetch = async (url) => {
    asked.push(url);
    return answer(url);
  };
  return asked;
}

async function pass(ms) {
  for (let at = 0; at < ms; at += 50) {
    mock.timers.tick(50);
    for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
  }
}

function connection(states, more = {}) {
  const made = new Connection({ socket: () => 'ws', stream: 'stream', polling: 'latest', ...more }, () => {}, (state) => states.push(state));
  made.connect();
  return made;
}

test.beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] }));
test.afterEach(() => mock.timers.reset());

test('a server that is away is waited for by the same way', async () => {
  const asked = browser(() => Promise.reject(new Error('refused')));
  const states = [];
  connection(states);
  await pass(60_000);
  assert.ok(asked.filter((url) => url === 'ws').length > 3);
  assert.ok(!asked.includes('stream') && !asked.includes('latest'));
  assert.deepEqual(new Set(states.map((state) => state.way)), new Set(['socket']));
});

test('where only plain requests come through, polling is come to, and the first way is tried again', async () => {
  let isOpen = false;
  const asked = browser((url) => {
    if (url === '.') return { ok: true, status: 200 };
    if (url === 'latest' && isOpen) return { ok: true, status: 304 };
    throw new Error('refused');
  });
  const states = [];
  const made = connection(states);
  await pass(60_000);
  assert.deepEqual(new Set(states.map((state) => state.way)), new Set(['socket', 'stream', 'polling']));
  const last = asked.lastIndexOf('latest');
  assert.ok(asked.indexOf('ws', asked.indexOf('latest')) > 0, `${asked} ${last}`);
  isOpen = true;
  await pass(90_000);
  assert.deepEqual([made.state.way, made.state.state], ['polling', 'open']);
});

test('who is logged out is told so', async () => {
  browser(() => ({ ok: false, status: 401 }));
  const states = [];
  const made = connection(states);
  await pass(3000);
  assert.deepEqual([made.state.state === 'open', states.at(-1).isLoggedOut, states.at(-1).way], [false, true, 'socket']);
});

test('a replay may take its time to begin', async () => {
  browser(() => ({ ok: true, status: 200 }));
  globalThis.WebSocket = class {
    close() {}
  };
  const states = [];
  connection(states, { stream: null, polling: null, patienceMs: 25_000 });
  await pass(24_000);
  assert.deepEqual(states.map((state) => state.state), ['connecting']);
  await pass(3000);
  assert.equal(states[1].why, 'no_answer');
});
