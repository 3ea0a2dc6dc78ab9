import assert from 'node:assert/strict';
import test from 'node:test';

/** Frames that come when they are called for, and a clock that goes by what the jobs cost. */
let frame = null;
let nowMs = 0;
globalThis.requestAnimationFrame = (run) => {
  frame = run;
};
globalThis.performance = { now: () => nowMs };
const { nextFrame } = await import('../page/frame.js');

function paint() {
  const run = frame;
  frame = null;
  run?.();
}

test('a job that never ends does not keep the others from their turn', () => {
  const done = [];
  const greedy = () => {
    nowMs += 5;
    done.push('greedy');
    return true;
  };
  nextFrame('greedy', greedy);
  nextFrame('ages', () => void done.push('ages'));
  nextFrame('status', () => void done.push('status'));
  paint();
  paint();
  assert.deepEqual(done, ['greedy', 'ages', 'status', 'greedy']);
});

test('of two jobs with one name only the later runs, and one that is asked for meanwhile is not lost', () => {
  const done = [];
  nextFrame('greedy', () => false);
  nextFrame('a', () => void done.push('first'));
  nextFrame('a', () => {
    done.push('second');
    nextFrame('b', () => void done.push('b'));
  });
  paint();
  paint();
  assert.deepEqual(done, ['second', 'b']);
});
