import assert from 'node:assert/strict';
import test from 'node:test';

import { axisDigits, direction, formatAge, formatChange, groupDigits } from '../page/format.js';

test('a price keeps every digit', () => {
  const cases = {
    '67187.3358936566': '67,187.3358936566',
    '0.000000000000000001': '0.000000000000000001',
    '99999999999999999999.999999999999999999': '99,999,999,999,999,999,999.999999999999999999',
    '-1234': '-1,234',
    '100': '100',
  };
  for (const [price, expected] of Object.entries(cases)) assert.equal(groupDigits(price), expected);
});

test('a change has a direction, an arrow and enough digits', () => {
  assert.equal(formatChange('1.254'), '▲ 1.25 %');
  assert.equal(formatChange('-0.0012'), '▼ 0.0012 %');
  assert.equal(formatChange('0.0000'), '■ 0.00 %');
  assert.equal(formatChange(null), '–');
  assert.deepEqual(['-0.0', '0.001', '-3', null].map(direction), ['flat', 'up', 'down', 'none']);
});

test('an age is short', () => {
  assert.deepEqual([-3, 4.9, 65, 7500, 190_000].map(formatAge), ['0s', '4s', '1m 05s', '2h 05m', '2d 04h']);
});

test('an axis has about six digits that count', () => {
  assert.deepEqual([64000, 1.5, 0.00005, 0].map(axisDigits), [2, 5, 10, 2]);
});
