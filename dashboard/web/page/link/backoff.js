// How long to wait before the next try: exponential, with full jitter, so that a server that comes back is not met by all at once.

const FIRST_MS = 500;
const LAST_MS = 30_000;

/**
 * @param {number} attempt from 0
 * @param {() => number} [chance]
 */
export function retryMs(attempt, chance = Math.random) {
  return 200 + chance() * Math.min(LAST_MS, FIRST_MS * 2 ** attempt);
}
