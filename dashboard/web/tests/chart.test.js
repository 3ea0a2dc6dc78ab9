import assert from 'node:assert/strict';
import test from 'node:test';

import { Bars, movingAverage, oneBasis } from '../page/chart/bars.js';
import { markersOf } from '../page/chart/markers.js';
import { firstSpan } from '../page/chart/pages.js';
import { areasOf, gapBuckets, incomplete } from '../page/chart/shading.js';
import { inOrder, matches } from '../page/parts/order.js';
import { sparkPath } from '../page/parts/sparkline.js';
import { Rates } from '../page/state/convert.js';
import { toCsv } from '../page/share.js';

const candle = (start, close = '1', more = {}) => ({
  start_us: start, open: '1', high: '1', low: '1', close, volume: null, trades: 1, complete: true, price_basis: 'TRADE', ...more,
});
const starts = (bars) => [...bars].map((each) => each.start_us);

test('candles stay in order, whatever order they come in', () => {
  const bars = new Bars();
  assert.equal(bars.take([candle(10), candle(20)]), 'last');
  assert.equal(bars.take([candle(20, '2'), candle(30)]), 'last');
  assert.equal(bars.take([candle(5)]), 'all');
  assert.equal(bars.take([candle(10)]), 'nothing');
  bars.changed.clear();
  assert.equal(bars.take([candle(10, '3')]), 'last', 'a late tick corrects an old one in its place');
  assert.deepEqual([...bars.changed], [10]);
  assert.deepEqual(starts(bars), [5, 10, 20, 30]);
  assert.equal(bars.at(20).close, '2');
  assert.deepEqual(starts(bars.between(10, 20)), [10, 20]);
  assert.deepEqual(starts(bars.last(2)), [20, 30]);
});

test('a candle without a tick left is forgotten', () => {
  const bars = new Bars();
  bars.take([candle(10), candle(20), candle(30)]);
  assert.equal(bars.forget({ start_us: 20, price_basis: 'TICKER' }), false, 'another kind of price');
  assert.equal(bars.forget({ start_us: 15, price_basis: 'TRADE' }), false);
  assert.equal(bars.forget({ start_us: 20, price_basis: 'TRADE' }), true);
  assert.deepEqual([starts(bars), bars.at(20), bars.size], [[10, 30], undefined, 2]);
});

test('one series has one kind of price', () => {
  const mixed = [candle(1), candle(2), candle(2, '9', { price_basis: 'TICKER' })];
  assert.equal(oneBasis(mixed, 'TICKER').length, 1);
  assert.equal(oneBasis(mixed, 'QUOTE').length, 2);
  assert.deepEqual(oneBasis([], null), []);
});

test('the mean begins when there are enough closes', () => {
  assert.deepEqual(movingAverage([1, 2, 3, 6], 3), [null, null, 2, 11 / 3]);
});

test('a gap shades the buckets that it touches', () => {
  const gap = (from, to) => ({ started_at_us: from, ended_at_us: to });
  assert.deepEqual(gapBuckets([gap(15, 30)], 0, 100, 10), [10, 20], 'its end on an edge does not overlap');
  assert.deepEqual(gapBuckets([gap(80, null)], 0, 100, 10), [80, 90]);
  assert.deepEqual(gapBuckets([gap(35, 38), gap(31, 45)], 0, 100, 10), [30, 40]);
  assert.deepEqual(gapBuckets([gap(-50, 5)], 20, 100, 10), []);
  const long = gapBuckets([gap(0, 1e6), gap(1e6, 1e6 + 3600)], 0, 2e6, 1);
  assert.deepEqual([long.length, long[0], long.at(-1)], [6000, 1e6 - 3000, 1e6 + 3599], 'the newest part of each');
});

test('a candle that is over and not whole is shaded, an open one is not', () => {
  const part = (start) => candle(start, '1', { complete: false });
  assert.deepEqual(incomplete([part(0), candle(10e6), part(20e6), part(30e6), part(40e6)], 42e6, 10e6), [0, 20e6]);
});

test('the watchlist sorts exactly, what is unknown last', () => {
  const row = (symbol, price, change_pct = null) => ({ symbol, source: 's', price, change_pct });
  const rows = [row('A', '9007199254740993'), row('B', '9007199254740992'), row('C', '10', '-1'), row('D', '2', '3')];
  const names = (column, descending) => inOrder(rows, column, descending).map((key) => key[0]).join('');
  assert.equal(names('last', true), 'ABCD');
  assert.equal(names('last', false), 'DCBA');
  assert.equal(names('change', true), 'DCAB');
  assert.equal(names('change', false), 'CDAB');
  assert.equal(names('symbol', true), 'DCBA');
});

test('volumes are compared by what they are worth', () => {
  const row = (symbol, price, volume_24h, quote_volume_24h = null) => ({ symbol, source: 's', price, volume_24h, quote_volume_24h, kind: 'TRADE', event_time_us: 1 });
  const rows = [row('BTC-USD', '80000', '10'), row('DOGE-USD', '0.1', '1000000'), row('XRP-USD', '2', null, '500000'), row('BTC-BRL', '430000', '2'),
    row('ETH-USD', '2000', null), { ...row('USD-BRL', '5', null), kind: 'FX' }];
  assert.deepEqual(inOrder(rows, 'volume', true, new Rates(rows)).map((key) => key.split('-')[0] + key.split('-')[1].slice(0, 1)),
    ['BTCU', 'XRPU', 'BTCB', 'DOGEU', 'ETHU', 'USDB']);
});

test('a filter looks into symbol and source', () => {
  const row = { symbol: 'BTC-USD', source: 'coinbase' };
  assert.deepEqual(['btc', 'coin btc', 'kraken', '', 'USD base'].map((filter) => matches(row, filter)), [true, true, false, true, true]);
});

test('a small line goes by time, and is broken where nothing was', () => {
  assert.equal(sparkPath([[0, 1]]), '');
  assert.equal(sparkPath([[0, 1], [10, 2]]), 'M0.0 17.0L64.0 1.0');
  assert.equal(sparkPath([[0, 3], [10, 3]]), 'M0.0 9.0L64.0 9.0');
  assert.equal(sparkPath([[0, 1], [10, 2], [70, 2], [80, 2]]), 'M0.0 17.0L8.0 1.0M56.0 1.0L64.0 1.0');
});

test('a CSV keeps digits, quotes texts and disarms formulas', () => {
  const csv = toCsv(['symbol', 'price', 'note'], [{ symbol: '=cmd|x', price: '-84631.070000000000000001', note: 'a "b",\nc' }, { symbol: 'B', price: null }]);
  assert.equal(csv, 'symbol,price,note\r\n\'=cmd|x,-84631.070000000000000001,"a ""b"",\nc"\r\nB,,\r\n');
});

test('buckets next to each other are one area', () => {
  assert.deepEqual(areasOf([10, 20, 30, 60, 90, 100], 10), [
    { firstUs: 10, lastUs: 30 }, { firstUs: 60, lastUs: 60 }, { firstUs: 90, lastUs: 100 },
  ]);
  assert.deepEqual(areasOf([], 10), []);
});

test('an alert points the way the price went, at the candle of its time', () => {
  const alert = (at, change_pct, state = 'FIRING') => ({ event_time_us: at, change_pct, state });
  const alerts = [alert(25e6, '2'), alert(12e6, '-3.1'), alert(31e6, null), alert(32e6, '1', 'RESOLVED'), alert(5e6, '1'), alert(900e6, '1')];
  const found = markersOf(alerts, [10e6, 20e6, 30e6], 10e6, 'red').map(({ time, shape, position }) => `${time} ${shape} ${position}`);
  assert.deepEqual(found, ['10 arrowDown aboveBar', '20 arrowUp belowBar', '30 square aboveBar', '30 circle aboveBar']);
});

test('a chart begins at the present, or with a page of a past that is too far away', () => {
  const now = 1e12;
  assert.deepEqual(firstSpan('1m', null, now, null), { fromUs: null, toUs: null, limit: 600, isPast: false });
  assert.deepEqual(firstSpan('1m', now - 2000 * 60e6, now, now), { fromUs: null, toUs: now, limit: 2050, isPast: false });
  assert.deepEqual(firstSpan('1s', now - 9000e6, now, null), { fromUs: now - 9050e6, toUs: now - 8450e6, limit: 600, isPast: true });
  assert.equal(firstSpan('1d', -5, 1e18, null).fromUs, 0);
});
