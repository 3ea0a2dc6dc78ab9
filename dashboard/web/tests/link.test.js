import assert from 'node:assert/strict';
import test from 'node:test';

import { retryMs } from '../page/link/backoff.js';
import { Cursor } from '../page/link/cursor.js';
import { EventParser } from '../page/link/events.js';

test('a cursor keeps the highest offset of each partition', () => {
  const cursor = new Cursor();
  assert.equal(cursor.toText(), undefined);
  for (const text of ['5f@1:7', '5f@0:3,1:5', '5f@0:4', '', '5f@x:y']) cursor.take(text);
  assert.equal(cursor.toText(), '5f@0:4,1:7');
  cursor.take('6a@2:1');
  assert.equal(cursor.toText(), '6a@2:1', 'another topic');
});

test('events come out whole, however the stream is cut', () => {
  const text = 'id: a@0:1\nevent: update\ndata: {"a":\ndata: 1}\n\n: nothing\n\nevent: heartbeat\r\ndata: {}\r\n\r\n';
  const expected = [{ id: 'a@0:1', event: 'update', data: '{"a":\n1}' }, { id: 'a@0:1', event: 'heartbeat', data: '{}' }];
  for (let cut = 1; cut < text.length; cut += 1) {
    const parser = new EventParser();
    assert.deepEqual([...parser.push(text.slice(0, cut)), ...parser.push(text.slice(cut))], expected, `cut at ${cut}`);
  }
});

test('a retry waits longer each time, and never longer than half a minute', () => {
  assert.deepEqual([0, 1, 2, 20].map((attempt) => retryMs(attempt, () => 1)), [700, 1200, 2200, 30_200]);
  assert.equal(retryMs(5, () => 0), 200);
});

test('the cursors of all channels are one text, whichever way they came', () => {
  const cursors = {};
  Cursor.takeJoined('ticks=5f@0:4,1:7;gaps=07@0:9', cursors);
  cursors.alerts = new Cursor();
  assert.equal(Cursor.join(cursors), 'ticks=5f@0:4,1:7;gaps=07@0:9');
});
