import assert from 'node:assert/strict';
import test from 'node:test';

import { compare, divide, fractionDigits, hasMoved, middle, multiply, round, roundSignificant, subtract, sum, text, units } from '../page/decimal.js';

test('a text goes to whole numbers and back', () => {
  for (const value of ['0', '1', '-1', '84631.07', '0.000000000000000001', '-99999999999999999999.999999999999999999']) {
    assert.equal(text(units(value)), value);
  }
  assert.equal(text(units('-0.50')), '-0.5');
});

test('arithmetic is exact', () => {
  assert.equal(subtract('0.3', '0.1'), '0.2');
  assert.equal(sum(['0.1', '0.2', '-0.3']), '0');
  assert.equal(middle('1.1', '1.2'), '1.15');
  assert.equal(multiply('84631.07', '5.3391'), '451853.745837');
  assert.equal(divide('1', '3'), '0.333333333333333333');
  assert.equal(divide('-2', '3'), '-0.666666666666666667');
  assert.equal(divide('1', '0'), null);
  assert.deepEqual([compare('2', '10'), compare('-1', '-2'), compare('1.0', '1')], [-1, 1, 0]);
});

test('rounding is half away from zero, with the digits that are asked for', () => {
  assert.deepEqual(['1.005', '-1.005', '2', '0.994'].map((value) => round(value, 2)), ['1.01', '-1.01', '2.00', '0.99']);
  assert.equal(round('1.5', 0), '2');
  assert.deepEqual(['451853.745837', '0.0000078123456', '0', '7'].map((value) => roundSignificant(value, 4)), ['451854', '0.000007812', '0', '7']);
  assert.deepEqual(['0.01', '1', '0.000001000', '10'].map(fractionDigits), [2, 0, 6, 0]);
});

test('a price has moved when it moved by a step', () => {
  assert.equal(hasMoved('84631.07', '84631.08', '0.01'), true);
  assert.equal(hasMoved('84631.07', '84631.079', '0.01'), false);
  assert.equal(hasMoved('84631.07', '84631.06', '0.01'), true);
  assert.equal(hasMoved('84631.07', '84631.0700', '0.01'), false);
  assert.equal(hasMoved('1', '1.000000000000000001', null), true);
});
