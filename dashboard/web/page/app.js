// Wires the page: messages into what is known, what is known into the table, the chart and the words around them.

/** @import {Row, ServerMessage} from './protocol.js' */

import { PriceChart } from './chart.js';
import { Connection } from './connection.js';
import { direction, formatAge, formatChange, groupDigits } from './format.js';
import { freshness } from './freshness.js';
import { Prices } from './prices.js';
import { PriceTable } from './table.js';

/** How often a screen reader is told where things stand. */
const SUMMARY_SECONDS = 30;

/**
 * @template {Element} T
 * @param {string} id
 * @param {new () => T} type
 */
function element(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`the page has no ${type.name} #${id}`);
  return found;
}

const connectionBadge = element('connection', HTMLElement);
const simulatedBanner = element('simulated', HTMLElement);
const feedBanner = element('feed', HTMLElement);
const emptyNote = element('empty', HTMLElement);
const summary = element('summary', HTMLElement);
const selectedName = element('selected-name', HTMLElement);
const selectedPrice = element('selected-price', HTMLElement);
const selectedDetail = element('selected-detail', HTMLElement);

const prices = new Prices();
const chart = new PriceChart(element('chart', HTMLElement));
const table = new PriceTable(element('prices', HTMLTableSectionElement), select);

/** @type {string | null} */
let selectedKey = null;
let connected = false;
let secondsToSummary = 3;

/** @param {string} key */
function select(key) {
  selectedKey = key;
  table.select(key);
  showSelected();
  const row = prices.rows.get(key);
  if (row !== undefined) chart.load(row).catch((error) => console.warn('the chart has no history', error));
}

function showSelected() {
  const row = selectedKey === null ? undefined : prices.rows.get(selectedKey);
  if (row?.price == null) {
    selectedName.textContent = 'No symbol chosen';
    selectedPrice.textContent = '';
    delete selectedPrice.dataset['price'];
    selectedDetail.textContent = '';
    document.title = 'tickstream';
    return;
  }
  selectedName.textContent = `${row.symbol} · ${row.source}`;
  selectedPrice.textContent = groupDigits(row.price);
  selectedPrice.dataset['price'] = row.price;
  selectedDetail.dataset['direction'] = direction(row.change_pct);
  const basis = row.change_basis === null ? '' : row.change_basis === '24h' ? ' over 24 hours' : ' since the chart’s start';
  selectedDetail.textContent = row.change_pct === null ? '' : formatChange(row.change_pct) + basis;
  document.title = `${groupDigits(row.price)} ${row.symbol} · tickstream`;
}

/** @param {ServerMessage} message */
function onMessage(message) {
  const changed = prices.take(message);
  if (changed === 'all') {
    table.showAll(prices.rows);
    const stillThere = selectedKey !== null && prices.rows.has(selectedKey);
    const next = stillThere ? selectedKey : (firstKey() ?? null);
    // After a reconnect or a loss the chart has a hole that only the history can fill.
    if (next !== null) select(next);
  } else {
    for (const key of changed) showChanged(key);
  }
  if (changed.length > 0) {
    if (selectedKey === null) {
      const first = firstKey();
      if (first !== undefined) select(first);
    }
    showBanners();
  }
  if (changed === 'all' || message.type === 'heartbeat' || message.type === 'gap') showAges();
  if (message.type === 'error') console.warn(`${message.code}: ${message.message}`);
}

/** @param {string} key */
function showChanged(key) {
  const row = prices.rows.get(key);
  if (row === undefined) table.remove(key);
  else {
    table.show(row);
    showAge(key, row);
    if (key === selectedKey) chart.update(row);
  }
  if (key === selectedKey) showSelected();
}

function firstKey() {
  return [...prices.rows.keys()].sort()[0];
}

function showBanners() {
  simulatedBanner.hidden = ![...prices.rows.values()].some((row) => row.source === 'simulated');
  emptyNote.hidden = prices.rows.size > 0;
}

/** Why nothing on the page can be believed to be current, if so. */
function feedProblem() {
  if (!connected) return 'the page is not connected';
  return prices.feed.state === 'outage' ? `the server cannot read Kafka: ${prices.feed.reason}` : null;
}

/**
 * @param {string} key
 * @param {Row} row
 */
function showAge(key, row) {
  const known = {
    nowUs: prices.nowUs(),
    feedProblem: feedProblem(),
    source: prices.sources.get(row.source),
    gaps: prices.gaps.values(),
  };
  const fresh = freshness(row, known);
  table.showAge(key, prices.ageSeconds(row), fresh);
  return fresh.state;
}

function showAges() {
  const counts = { live: 0, unchanged: 0, unknown: 0 };
  for (const [key, row] of prices.rows) counts[showAge(key, row)] += 1;
  const problem = connected ? feedProblem() : null;
  feedBanner.hidden = problem === null;
  if (problem !== null) feedBanner.textContent = `${problem}. Prices may be old.`;
  return counts;
}

function everySecond() {
  const counts = showAges();
  secondsToSummary -= 1;
  if (secondsToSummary > 0) return;
  secondsToSummary = SUMMARY_SECONDS;
  const row = selectedKey === null ? undefined : prices.rows.get(selectedKey);
  const chosen = row?.price == null ? '' : ` ${row.symbol} ${row.price}, ${formatAge(prices.ageSeconds(row))} old.`;
  summary.textContent =
    `${prices.rows.size} prices: ${counts.live} live, ${counts.unchanged} unchanged, ${counts.unknown} unknown.${chosen}`;
}

/**
 * @param {'connecting' | 'open' | 'waiting'} state
 * @param {number} [retryMs]
 */
function onState(state, retryMs = 0) {
  connected = state === 'open';
  const words = {
    connecting: 'connecting',
    open: 'connected',
    waiting: `reconnecting in ${Math.ceil(retryMs / 1000)} s`,
  };
  connectionBadge.dataset['state'] = state;
  connectionBadge.textContent = words[state];
  showAges();
}

const url = new URL('ws', document.baseURI);
url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
new Connection(url.href, onMessage, onState).connect();
setInterval(everySecond, 1000);
