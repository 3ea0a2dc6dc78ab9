import assert from 'node:assert/strict';
import test from 'node:test';

import { axisDigits, direction, formatAge, formatLatency, formatTime, numbersOf } from '../page/format.js';

const en = numbersOf('en');
const pt = numbersOf('pt-BR');

test('a price keeps every digit', () => {
  const cases = {
    '67187.3358936566': '67,187.3358936566',
    '0.000000000000000001': '0.000000000000000001',
    '99999999999999999999.999999999999999999': '99,999,999,999,999,999,999.999999999999999999',
    '-1234': '-1,234',
    '100': '100',
  };
  for (const [price, expected] of Object.entries(cases)) assert.equal(en.exact(price), expected);
  assert.equal(pt.exact('1234567.89'), '1.234.567,89');
});

test('a price shows the digits of its smallest step', () => {
  assert.equal(en.price('67187.3358936566', '0.001'), '67,187.336');
  assert.equal(en.price('3480', '0.01'), '3,480.00');
  assert.equal(pt.price('67187.3358936566', '0.01'), '67.187,34');
  assert.equal(en.price('67187.3358936566', null), '67,187.3358936566');
});

test('sizes are short', () => {
  assert.equal(en.compact('31260929299.5248'), '31.26B');
  assert.match(pt.compact('31260929299.5248'), /^31,26\sbi$/);
  assert.deepEqual(['0.0005', '0.012345', '0.5', '0', '1'].map((value) => en.compact(value)), ['0.0005', '0.0123', '0.5', '0', '1.00']);
});

test('a change has a sign and enough digits', () => {
  assert.equal(en.percent('1.254'), '+1.25%');
  assert.equal(pt.percent('-0.0012'), '−0,0012%');
  assert.equal(en.percent('0.0000'), '0.00%');
  assert.deepEqual(['-0.0', '0.001', '-3', null].map(direction), ['flat', 'up', 'down', 'none']);
});

test('an age is short', () => {
  assert.deepEqual([-3, 4.9, 65, 7500, 190_000].map(formatAge), ['0s', '4s', '1m 05s', '2h 05m', '2d 04h']);
});

test('a delay is short, and never less than nothing', () => {
  assert.deepEqual([-5, 412, 12_400, 1_240_000, 65e6].map((us) => formatLatency(us)), ['0.0 ms', '0.4 ms', '12 ms', '1.24 s', '1m 05s']);
  assert.equal(formatLatency(1_240_000, ','), '1,24 s');
});

test('a time has its day where it is another one', () => {
  const us = Date.parse('2026-11-21T14:03:10Z') * 1000;
  assert.equal(formatTime(us, us + 1e6), '14:03:10');
  assert.equal(formatTime(us, us + 86400e6), '2026-11-21 14:03:10');
});

test('an axis has about six digits that count', () => {
  assert.deepEqual([64000, 1.5, 0.00005, 0].map(axisDigits), [2, 5, 10, 2]);
});
