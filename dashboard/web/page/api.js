// What is asked of the server by plain requests: history, mostly.

/** @import {Alert, Candle, CandleAnswer, ForecastRow, Gap, Row, Timeframe} from './protocol.js' */

/**
 * The answer's JSON; an error says why there is none, in the server's own sentence where it gave one.
 * @param {string} path
 * @param {Record<string, string | number | null | undefined>} [parameters]
 * @param {AbortSignal} [signal]
 */
export async function ask(path, parameters = {}, signal) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value != null) query.set(name, String(value));
  const text = query.toString();
  const answer = await fetch(`api/v1/${path}${text === '' ? '' : `?${text}`}`, { signal: signal ?? null });
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(body?.error ?? `the server answered ${answer.status}`);
  return body;
}

/**
 * Candles in order of time, the newest `limit` before `toUs`.
 * @param {{symbol: string, source: string, tf: Timeframe, fromUs?: number | null, toUs?: number | null, limit: number}} what
 * @param {AbortSignal} [signal]
 * @returns {Promise<CandleAnswer>}
 */
export async function candles({ symbol, source, tf, fromUs, toUs, limit }, signal) {
  /** @type {CandleAnswer} */
  const answer = await ask('candles', { symbol, source, tf, from: micros(fromUs), to: micros(toUs), limit }, signal);
  /** @type {Candle[]} */
  const rows = answer.candles.filter((candle) => candle.source === source && candle.symbol === symbol);
  return { ...answer, candles: rows.sort((a, b) => a.start_us - b.start_us) };
}

/**
 * Newest first.
 * @param {string} symbol
 * @param {string} source
 * @param {number} limit
 * @param {number | null} beforeUs
 * @returns {Promise<Row[]>}
 */
export async function ticks(symbol, source, limit, beforeUs) {
  const answer = await ask('ticks', { symbol, source, limit, before_us: micros(beforeUs) });
  return answer.ticks;
}

/**
 * @param {number} fromUs
 * @param {number} toUs
 * @param {string | null} source
 * @returns {Promise<Gap[]>}
 */
export async function gaps(fromUs, toUs, source) {
  const answer = await ask('gaps', { from: micros(fromUs), to: micros(toUs), source, limit: 5000 });
  return answer.gaps;
}

/**
 * Newest first.
 * @param {string} symbol
 * @param {number | null} beforeUs older ones than the server has in memory; it needs a database for them
 * @returns {Promise<Alert[]>}
 */
export async function alerts(symbol, beforeUs) {
  const answer = await ask('alerts', { symbol, before_us: micros(beforeUs), limit: 1000 });
  return answer.alerts;
}

/**
 * @param {string} symbol
 * @returns {Promise<ForecastRow[]>}
 */
export async function forecasts(symbol) {
  const answer = await ask('forecasts', { symbol });
  return answer.forecasts;
}

/** @returns {Promise<{symbol: string, source: string, price_basis: string, points: [number, string][]}[]>} */
export function sparklines() {
  return ask('sparklines', { hours: 24, points: 48 });
}

/** @param {number | null | undefined} us */
function micros(us) {
  return us == null ? null : Math.round(us);
}
