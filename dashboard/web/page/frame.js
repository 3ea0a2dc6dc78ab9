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
  const end = performance.now() + BUDGET_MS;
  for (const [name, job] of now) {
    if (performance.now() >= end) {
      if (!jobs.has(name)) jobs.set(name, job);
    } else if (job() === true && !jobs.has(name)) jobs.set(name, job);
  }
  if (jobs.size > 0) ask();
}
