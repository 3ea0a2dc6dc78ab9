import assert from 'node:assert/strict';
import test from 'node:test';

import { Clock } from '../page/state/clock.js';
import { implied, Rates } from '../page/state/convert.js';
import { Delays } from '../page/state/delays.js';
import { Latency } from '../page/state/latency.js';
import { keyOf, Market } from '../page/state/market.js';
import { oddTime, readTime, readView, writeView } from '../page/state/view.js';

const row = (symbol, source, price, more = {}) => ({ symbol, source, price, kind: 'TRADE', event_time_us: 1e15, event_time_origin: 'SOURCE', ...more });
const snapshot = (ticks, full = true) => ({ seq: 1, type: 'snapshot', channel: 'ticks', reason: 'subscribed', full, cursor: '', ticks });

test('a full snapshot replaces, one since a cursor adds', () => {
  const market = new Market();
  market.take(snapshot([row('A-USD', 'x', '1'), row('B-USD', 'x', '2')]));
  market.take(snapshot([row('B-USD', 'x', '3')], false));
  assert.deepEqual([...market.rows.values()].map(({ price }) => price), ['1', '3']);
  market.take(snapshot([row('B-USD', 'x', '4')]));
  assert.deepEqual([...market.rows.keys()], [keyOf({ symbol: 'B-USD', source: 'x' })]);
});

test('a row without a price is forgotten', () => {
  const market = new Market();
  market.take(snapshot([row('A-USD', 'x', '1')]));
  market.take({ seq: 2, type: 'update', channel: 'ticks', cursor: '', ticks: [row('A-USD', 'x', null)] });
  assert.equal(market.rows.size, 0);
});

test('gaps and alerts are known once each', () => {
  const market = new Market();
  const gap = { id: '1', source: 'x', symbols: [], reason: 'STALE', started_at_us: 1, ended_at_us: null, detail: '' };
  market.take({ seq: 1, type: 'gap', channel: 'gaps', cursor: '', gap });
  assert.equal([...market.openGaps()].length, 1);
  market.take({ seq: 2, type: 'gap', channel: 'gaps', cursor: '', gap: { ...gap, ended_at_us: 5 } });
  assert.equal([...market.openGaps()].length, 0);
  const alert = (id, at) => ({ seq: 3, type: 'alert', channel: 'alerts', cursor: '', alert: { alert_id: id, fired_at_us: at } });
  for (const message of [alert('a', 1), alert('b', 3), alert('a', 1)]) market.take(message);
  assert.deepEqual(market.alerts.map((each) => each.alert_id), ['b', 'a']);
});

test('a clock that is wrong by an hour is no delay', () => {
  let ms = 5_000_000;
  const clock = new Clock(() => ms);
  const hour = 3600e6;
  const sent = ms * 1000;
  ms += 20;
  clock.ping(sent, sent + 10_000 + hour);
  assert.equal(clock.offsetUs, hour);
  assert.equal(clock.nowUs(), ms * 1000 + hour);
  const delays = new Delays(clock);
  delays.tick(row('A-USD', 'x', '1', { event_time_us: clock.nowUs() - 30_000 }));
  assert.equal(delays.hops().all.get('x').p50_us, 30_000);
});

test('the quickest ping counts, and a sleep between question and answer counts nothing', () => {
  let ms = 1000;
  const clock = new Clock(() => ms);
  ms = 1500;
  clock.ping(1_000_000, 9_000_000);
  ms = 2010;
  clock.ping(2_000_000, 2_005_000 + 7);
  assert.equal(clock.offsetUs, 7);
  ms = 3_600_000;
  assert.equal(clock.ping(2_000_000, 1), null);
  assert.equal(clock.offsetUs, 7);
});

test('before a clock is known nothing is measured', () => {
  const delays = new Delays(new Clock(() => 1000));
  delays.tick(row('A-USD', 'x', '1'));
  assert.equal(delays.hops().all.size, 0);
});

test('a replay has its own time', () => {
  let ms = 0;
  const clock = new Clock(() => ms);
  clock.follow(1e15, 10);
  ms = 500;
  assert.equal(clock.nowUs(), 1e15 + 5e6);
  ms = 60_000;
  assert.equal(clock.nowUs(), 1e15 + 20e6, 'no further than two seconds without word');
});

test('median and 99th percentile are of the last minute', () => {
  const latency = new Latency();
  latency.add(1e9, 0);
  for (let i = 1; i <= 100; i += 1) latency.add(i * 1000, 100_000);
  assert.deepEqual(latency.hop(100_000), { p50_us: 51_000, p99_us: 100_000, count: 100 });
  assert.equal(latency.hop(200_000), null);
});

test('a busy minute is told of from end to end', () => {
  const latency = new Latency();
  // A thousand a second; the first half of the minute took ten times as long.
  for (let ms = 0; ms < 60_000; ms += 1) latency.add(ms < 30_000 ? 50_000 : 5000, ms);
  const { p99_us, count } = latency.hop(60_000);
  assert.equal(p99_us, 50_000);
  assert.ok(count > 500 && count <= 1024, String(count));
  for (let minute = 1; minute < 300; minute += 1) for (let i = 0; i < 60; i += 1) latency.add(7000, minute * 60_000 + i * 1000);
  assert.ok(latency.hop(299 * 60_000 + 59_000).count > 30, 'and a quiet one too');
});

test('a rate is direct, the other way round, or a cross', () => {
  const rates = new Rates([row('USD-BRL', 'fx', '5.3391', { kind: 'FX' }), row('BTC-USD', 'x', '80000'), row('BTC-EUR', 'x', '70000'),
    row('USD-BRL', 'exchange', '5.5', { event_time_us: 2e15 })]);
  assert.equal(rates.between('USD', 'BRL').value, '5.3391', 'an exchange rate before a trade');
  assert.equal(rates.between('BRL', 'USD').value, '0.187297484594781892');
  assert.equal(rates.between('USD', 'EUR').value, '0.875');
  assert.equal(rates.between('USD', 'XYZ'), null);
  assert.deepEqual(rates.offered(['USD']), ['BRL', 'EUR', 'BTC']);
  assert.equal(implied('80000.12', rates.between('USD', 'BRL')), '427128.64');
});

test('a rate is as old as the oldest price that it is made of, and as unknown', () => {
  const rows = [row('BTC-USD', 'x', '80000', { event_time_us: 10e6 }), row('BTC-EUR', 'y', '70000', { event_time_us: 40e6 })];
  const rates = new Rates(rows, 50e6, ({ source }) => source === 'x');
  const { ageSeconds, isKnown } = rates.between('USD', 'EUR');
  assert.deepEqual([ageSeconds, isKnown], [40, false]);
});

test('a view goes into the address and back', () => {
  const view = { symbol: 'BTC-USD', source: 'kraken', tf: '5m', fromUs: Date.parse('2026-11-21T14:00:00Z') * 1000, toUs: Date.parse('2026-11-21T15:30:00Z') * 1000, bars: null, compare: 'coinbase', currency: 'BRL', style: 'line' };
  const search = writeView(view, '?lang=pt');
  assert.equal(search, '?lang=pt&symbol=BTC-USD&source=kraken&tf=5m&from=2026-11-21T14:00:00Z&to=2026-11-21T15:30:00Z&compare=coinbase&currency=BRL&style=line');
  assert.deepEqual(readView(search), view);
  const atNow = { ...view, fromUs: null, toUs: null, bars: 700 };
  assert.match(writeView(atNow, ''), /tf=5m&bars=700&/);
  assert.deepEqual(readView(writeView(atNow, '')), atNow);
});

test('nonsense in the address is as nothing', () => {
  const view = readView(`?tf=7m&from=yesterday&symbol=${'x'.repeat(65)}&style=3`);
  assert.deepEqual([view.tf, view.fromUs, view.symbol, view.style], ['1m', null, null, 'candles']);
  assert.deepEqual(['3', '-5', '1e3', '9', '99999'].map((bars) => readView(`?bars=${bars}`).bars), [null, null, null, null, 4900]);
  assert.deepEqual(['?from=yesterday', '?from=-24h&to=soon', '?from=-24h', '?from='].map(oddTime), ['yesterday', 'soon', null, null]);
});

test('a replay keeps its from and speed', () => {
  const search = '?from=2026-11-21T14:00Z&speed=10';
  const view = { ...readView(search, true), symbol: 'A-USD' };
  assert.equal(view.fromUs, null);
  assert.equal(writeView(view, search, true), `${search}&symbol=A-USD`);
});

test('prices are as of the newest that came, and no newer than an outage', () => {
  const market = new Market();
  assert.equal(market.asOfUs, null);
  market.take(snapshot([row('A-USD', 'x', '1', { broker_time_us: 70 }), row('B-USD', 'x', '1', { broker_time_us: 90 })]));
  assert.equal(market.asOfUs, 90);
  market.take({ seq: 2, type: 'heartbeat', now_us: 200, feed: { state: 'outage', reason: 'x', since_us: 100 } });
  market.take(snapshot([row('A-USD', 'x', '1', { broker_time_us: 95 })], false));
  assert.equal(market.asOfUs, 100);
});

test('of many gaps those that closed last are kept, and every open one', () => {
  const market = new Market();
  const gap = (id, ended) => ({ id, source: 'x', symbols: [], reason: 'STALE', started_at_us: 1, ended_at_us: ended, detail: '' });
  const tell = (each) => market.take({ seq: 1, type: 'gap', channel: 'gaps', cursor: '', gap: each });
  tell(gap('open', null));
  tell(gap('long', null));
  for (let i = 0; i < 600; i += 1) tell(gap(String(i), 2));
  tell(gap('long', 3));
  tell(gap('600', 4));
  assert.deepEqual([market.gaps.size, market.gaps.has('open'), market.gaps.has('long'), market.gaps.has('0')], [500, true, true, false]);
});

test('a time in the address is read as the server reads it', () => {
  const expected = Date.parse('2025-11-21T14:30:00Z') * 1000;
  for (const text of ['2025-11-21T14:30:00Z', '2025-11-21T14:30Z', '2025-11-21T14:30', '2025-11-21T11:30:00-03:00', '2025-11-21T16:30:00+02:00',
    '2025-11-21T16:30:00 02:00', '2025-11-21 14:30', '1763735400', '1763735400000', '1763735400000000']) assert.equal(readTime(text), expected, text);
  assert.equal(readTime('2025-11-21'), Date.parse('2025-11-21T00:00:00Z') * 1000);
  assert.equal(readTime('-24h', expected), expected - 86400e6);
  for (const text of ['', 'foo-5', 'yesterdayish', '2025-13-01', '2025-11-21T14', '-5', '1e9']) assert.equal(readTime(text), null, text);
});

test('while the server is away its clock is still known', () => {
  const clock = new Clock(() => 1000);
  clock.ping(1e6, 1e6 + 600e6);
  clock.forget();
  assert.equal(clock.offsetUs, 600e6);
  clock.heartbeat(1e6 + 50e6);
  assert.equal(clock.offsetUs, 50e6, 'another server, or another clock');
});
