// Work for the screen, done together just before it is painted: nothing twice, and never more than a part of a frame at once.

const BUDGET_MS = 4;

/** @type {Map<string, () => boolean | void>} */
let jobs = new Map();
let asked = false;

/**
 * Runs `job` in the next frame. Of two with one name only the later runs. A job that gives true has more to do and comes again.
 * @param {string} name
 * @param {() => boolean | void} job
 */
export function nextFrame(name, job) {
  jobs.set(name, job);
  ask();
}

function ask() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(run);
}

function run() {
  asked = false;
  const now = jobs;
  jobs = new Map();
  /** @type {typeof jobs} */
  const putOff = new Map();
  /** @type {typeof jobs} */
  const unfinished = new Map();
  const end = performance.now() + BUDGET_MS;
  for (const [name, job] of now) {
    if (performance.now() >= end) putOff.set(name, job);
    else if (job() === true) unfinished.set(name, job);
  }
  // Those that had no turn come first; of two with one name the later is meant.
  const order = new Map([...putOff, ...unfinished]);
  for (const [name, job] of jobs) order.set(name, job);
  jobs = order;
  if (jobs.size > 0) ask();
}
