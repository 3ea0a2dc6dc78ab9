import assert from 'node:assert/strict';
import test from 'node:test';

import { TickList } from '../page/state/tick_list.js';

const tick = (id, price, at = Number(id), more = {}) => ({ event_id: id, price, event_time_us: at, skipped: 0, ...more });

/** What is listed after these rows have come, newest first. */
function check(name, rows, expected) {
  test(name, () => {
    const list = new TickList();
    for (const row of rows) list.add(row);
    assert.deepEqual(list.ticks.map(({ event_id, price, leftOut }) => `${event_id}:${price}${leftOut > 0 ? ` after ${leftOut}` : ''}`), expected);
  });
}

check('the newest tick is the first', [tick('1', '10'), tick('2', '11')], ['2:11', '1:10']);
check('one that is sent again is one', [tick('1', '10'), tick('2', '11'), tick('2', '11')], ['2:11', '1:10']);
check('a correction takes the place of what it corrects', [tick('1', '10'), tick('2', '11'), tick('2', '12', 2, { revision: 1 })], ['2:12', '1:10']);
check('what was taken back goes', [tick('1', '10'), tick('2', '11'), tick('3', '12'), tick('1', '10')], ['1:10']);
check('as does all, where all was taken back', [tick('1', '10'), tick('1', null)], []);
check('what was left out is counted', [tick('1', '10'), tick('9', '11', 9, { skipped: 7 }), tick('9', '11', 9)], ['9:11 after 7', '1:10']);

test('what the server has takes the place of what was seen, but for newer ones', () => {
  const list = new TickList();
  for (const row of [tick('1', '10'), tick('5', '14'), tick('6', '15')]) list.add(row);
  list.join([tick('5', '14'), tick('4', '13'), tick('3', '12')]);
  assert.deepEqual(list.ticks.map((each) => each.event_id), ['6', '5', '4', '3']);
});

test('the list is bounded', () => {
  const list = new TickList();
  for (let i = 0; i < 100; i += 1) list.add(tick(String(i), '1'));
  assert.deepEqual([list.ticks.length, list.ticks[0].event_id], [40, '99']);
});
