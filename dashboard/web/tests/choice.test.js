import assert from 'node:assert/strict';
import test, { mock } from 'node:test';

import { Choice } from '../page/choice.js';
import { Market } from '../page/state/market.js';

/** A browser's address and its history: what was pushed, and how often anything was written. */
function browser(search) {
  const pushed = [];
  let written = 0;
  const go = (address) => {
    written += 1;
    globalThis.location = { pathname: '/', search: address.slice(1) };
  };
  globalThis.location = { pathname: '/', search };
  globalThis.history = {
    pushState: (_state, _title, address) => {
      pushed.push(address);
      go(address);
    },
    replaceState: (_state, _title, address) => go(address),
  };
  return { pushed, written: () => written };
}

function marketOf(...sources) {
  const market = new Market();
  market.takeRows(sources.map((source) => ({ symbol: 'BTC-USD', source, price: '1' })), true);
  return market;
}

test.beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }));
test.afterEach(() => mock.timers.reset());

test("a link's source is kept while another one is shown", () => {
  browser('?symbol=BTC-USD&source=kraken');
  const market = marketOf('coinbase');
  const choice = new Choice(market, false);
  assert.equal(choice.row.source, 'coinbase');
  choice.settle(() => null);
  mock.timers.tick(1000);
  market.takeRows([{ symbol: 'BTC-USD', source: 'kraken', price: '1' }], false);
  assert.equal(choice.row.source, 'kraken');
});

test('a chart that is dragged writes the address once', () => {
  const { pushed, written } = browser('?symbol=BTC-USD&source=kraken');
  const choice = new Choice(marketOf('kraken'), false);
  for (let i = 0; i < 100; i += 1) choice.set({ fromUs: i * 1e6, toUs: 2e8 }, false);
  mock.timers.tick(1000);
  assert.deepEqual([pushed.length, written(), location.search.includes('from=1970-01-01T00:01:39Z')], [0, 1, true]);
});

test('Back leads to what was before many quick steps, where it was last', () => {
  const { pushed } = browser('?symbol=A-USD&source=x');
  const choice = new Choice(marketOf('x'), false);
  choice.set({ fromUs: 5e6 }, false);
  for (const symbol of ['B-USD', 'C-USD', 'D-USD']) choice.set({ symbol, fromUs: null }, true);
  mock.timers.tick(1000);
  assert.equal(pushed.length, 1);
  assert.equal(new URLSearchParams(location.search).get('symbol'), 'D-USD');
});
