// The page as a whole: keeps the parts true to the market and the view. Every write to the screen is done in a frame.

/** @import {Connection, LinkState} from './link/connection.js' */
/** @import {Row, ServerMessage, Timeframe} from './protocol.js' */
/** @import {ChartView} from './chart_view.js' */
/** @import {Parts} from './parts.js' */
/** @import {Replaying} from './replaying.js' */

import * as api from './api.js';
import { Choice } from './choice.js';
import { element, html, setText } from './dom.js';
import { numbersOf } from './format.js';
import { nextFrame } from './frame.js';
import { Status } from './parts/status.js';
import { Watchlist } from './parts/watchlist.js';
import { Clock } from './state/clock.js';
import { quoteOf, Rates } from './state/convert.js';
import { freshness } from './state/freshness.js';
import { Delays } from './state/delays.js';
import { keyOf, Market } from './state/market.js';
import { locale, t } from './words/words.js';

/** How often a screen reader is told where things stand. */
const SUMMARY_SECONDS = 30;
const SPARKLINES_SECONDS = 60;
const TILES_EVERY_MS = 150;
/** How long all else waits for the first prices: where there are none, the page has much to say besides. */
const PRICES_FIRST_MS = 500;
const AGAIN_MS = 3000;

/** @param {number} ms */
const later = (ms) => new Promise((done) => setTimeout(done, ms));

/**
 * A module that is asked for while the server is away comes when it is back.
 * @template T
 * @param {() => Promise<T>} bring
 * @returns {Promise<T>}
 */
async function patiently(bring) {
  for (;;) {
    try {
      return await bring();
    } catch (error) {
      console.warn(`asked for again in ${AGAIN_MS / 1000} s: ${error}`);
      await later(AGAIN_MS);
    }
  }
}

export class Page {
  market = new Market();
  clock = new Clock();
  numbers = numbersOf(locale);
  watchlist = new Watchlist(this.numbers, (key) => this.choose(key));
  /** @type {Parts | null} */
  #parts = null;
  /** @type {ChartView | null} */
  chart = null;
  /** @type {Replaying | null} */
  replaying = null;
  #delays = new Delays(this.clock);
  #isReplay;
  #choice;
  #status = new Status();
  /** @type {Connection | null} */
  #connection = null;
  /** @type {LinkState} */
  #link = { state: 'connecting', way: 'socket', retryAtMs: 0, why: '' };
  #rates = new Rates([]);
  #seconds = 0;
  #tilesMs = 0;
  #wasOpen = false;
  /** Whether a snapshot has come since the ticks were asked for. */
  #missedTicks = false;
  /** @type {string | null} */
  #shownKey = null;
  /** @type {() => void} */
  #tellOfPrices = () => {};
  /** @type {Promise<void>} */
  #firstPrices = new Promise((done) => {
    this.#tellOfPrices = done;
  });

  /** @param {boolean} isReplay */
  constructor(isReplay) {
    this.#isReplay = isReplay;
    this.#choice = new Choice(this.market, isReplay);
    this.market.onTick = (row, before) => this.#takeTick(row, before);
  }

  /**
   * @param {Connection} connection
   * @param {Replaying | null} replaying
   */
  begin(connection, replaying) {
    this.#connection = connection;
    this.replaying = replaying;
    setInterval(() => this.#everySecond(), 1000);
    addEventListener('popstate', () => this.#followAddress());
    this.#bringOthers(connection);
  }

  /** The prices are wanted first; what is around them comes next, and the chart's library, which is the largest, last. @param {Connection} connection */
  async #bringOthers(connection) {
    await Promise.race([this.#firstPrices, later(PRICES_FIRST_MS)]);
    document.head.append(element('later', HTMLTemplateElement).content);
    const { Parts } = await patiently(() => import('./parts.js'));
    this.#parts = new Parts(this);
    this.#showCurrencies();
    this.#showChosen();
    this.#showAlerts();
    this.#showSources();
    const { ChartView } = await patiently(() => import('./chart_view.js'));
    this.chart = new ChartView(this, connection, this.#isReplay);
    this.#showChosen();
    html('prices').setAttribute('data-ready', '');
  }

  /** @param {ServerMessage} message */
  take(message) {
    this.market.take(message);
    switch (message.type) {
      case 'pong':
        // A replay's server tells the time that is replayed.
        if (!this.#isReplay) this.#delays.pong(message.sent_us, message.now_us);
        break;
      case 'heartbeat':
        if (!this.#isReplay) this.clock.heartbeat(message.now_us);
        break;
      case 'replay':
        this.replaying?.take(message, this.clock);
        this.#showStatus();
        break;
      case 'snapshot':
        if (message.channel === 'ticks') this.#missedTicks = true;
        if (message.reason === 'seek' && message.channel === 'ticks') this.#showChosen();
        if (message.candles) this.chart?.take(message.candles);
        if (message.gone) this.chart?.forget(message.gone, message.tf);
        break;
      case 'update':
        if (message.candles) this.chart?.take(message.candles);
        if (message.gone) this.chart?.forget(message.gone, message.tf);
        break;
      case 'error':
        console.warn(`${message.code}: ${message.message}`);
        break;
    }
    if (this.market.changed.size > 0 || this.market.changedRows.size > 0) nextFrame('market', () => this.#show());
  }

  /** @param {LinkState} link */
  takeState(link) {
    this.#link = link;
    // Another connection may be another server, and this machine's clock may have been set meanwhile.
    if (link.state === 'connecting') {
      this.clock.forget();
      this.replaying?.goOn();
    }
    if (link.state === 'open') {
      // What the chart missed meanwhile is asked for.
      if (this.#wasOpen) this.chart?.refresh(true);
      this.#wasOpen = true;
      if (this.replaying) this.replaying.refused = null;
    } else if (link.state === 'waiting' && !this.#wasOpen) this.replaying?.askWhyRefused().then(() => this.#showStatus());
    this.#showStatus();
    nextFrame('ages', () => this.#showAges());
  }

  get view() {
    return this.#choice.view;
  }

  /** The row that is looked at. */
  get chosen() {
    return this.#choice.row;
  }

  /** What the address asked for as a time and is none; asking forgets it. */
  get oddTime() {
    const { odd } = this.#choice;
    this.#choice.odd = null;
    return odd;
  }

  /** Why nothing on the page can be believed to be current, if so. */
  get feedProblem() {
    if (this.#link.state !== 'open') return t('problem_connection');
    return this.market.feed.state === 'outage' ? `${t('problem_outage')}: ${this.market.feed.reason ?? ''}` : null;
  }

  /** What can be taken away as a file. */
  get shown() {
    const { symbol, tf } = this.view;
    return {
      candles: this.chart?.visibleCandles() ?? [],
      rows: this.watchlist.shown,
      name: `${symbol ?? 'chart'}_${this.chosen?.source ?? ''}_${tf}`,
      link: this.replaying?.link ?? location.href,
    };
  }

  /** @param {string} key */
  choose(key) {
    if (this.#choice.take(key)) this.#showChosen();
  }

  /**
   * @param {Partial<import('./state/view.js').View>} changes
   * @param {boolean} isStep whether the browser's Back leads to what was before
   */
  setView(changes, isStep) {
    this.#choice.set(changes, isStep);
  }

  /** @param {Timeframe} tf */
  setTimeframe(tf) {
    if (tf === this.view.tf) return;
    this.setView({ tf, fromUs: null }, true);
    this.chart?.showControls();
    const row = this.chosen;
    if (row !== undefined) this.chart?.show(row);
  }

  /** @param {string | null} currency */
  showIn(currency) {
    this.setView({ currency }, true);
    this.watchlist.showIn(currency, this.#rates);
    this.#showTiles();
  }

  /** @param {string | null} compare */
  compareWith(compare) {
    this.setView({ compare }, true);
    this.#showChosen();
  }

  /** To the row so many places below. @param {number} by */
  step(by) {
    const key = this.watchlist.neighbour(by);
    if (key === null) return;
    this.choose(key);
    this.watchlist.reveal(key);
  }

  #show() {
    const { rows, parts } = this.market.seen();
    if (parts.has('rows')) {
      this.#rowsCameOrWent();
      requestAnimationFrame(this.#tellOfPrices);
    }
    this.watchlist.take(this.market.rows, rows, parts.has('rows'));
    const chosen = this.chosen;
    if (parts.has('rows')) this.#showTiles();
    else if (chosen !== undefined && rows.has(keyOf(chosen))) this.#showTilesSoon();
    if (parts.has('alerts')) this.#showAlerts();
    if (parts.has('gaps') || parts.has('alerts')) this.chart?.mark();
    if (parts.has('feed') || parts.has('rows')) this.#showStatus();
    if (parts.has('gaps') || parts.has('rows') || parts.has('feed')) this.#showAges();
    if (parts.has('sources')) this.#showSources();
  }

  #rowsCameOrWent() {
    this.#showCurrencies();
    if (this.chosen !== undefined && this.#shownKey === keyOf(this.chosen)) {
      this.#showSourceChoice();
      return;
    }
    if (this.chosen === undefined) {
      this.#choice.settle(() => {
        this.watchlist.take(this.market.rows, new Set(), true);
        return this.watchlist.firstKey;
      });
    }
    if (this.chosen !== undefined) this.#showChosen();
  }

  #showChosen() {
    const row = this.chosen;
    this.#shownKey = row === undefined ? null : keyOf(row);
    this.watchlist.select(row === undefined ? null : keyOf(row));
    setText(html('selected-name'), row === undefined ? t('nothing_chosen') : row.symbol);
    this.#showSourceChoice();
    this.#showTiles();
    if (row === undefined) return;
    this.#parts?.ticks.show(row);
    this.#loadTicks();
    this.chart?.show(row);
  }

  /** The newest ticks as the server has them: a snapshot tells the last one only. */
  #loadTicks() {
    this.#missedTicks = false;
    const row = this.chosen;
    if (row === undefined || this.#parts === null) return;
    api.ticks(row.symbol, row.source, 40, this.#isReplay ? this.clock.nowUs() : null).then(
      (ticks) => {
        const newest = this.chosen;
        if (newest === undefined || keyOf(newest) !== keyOf(row)) return;
        this.#parts?.ticks.join(ticks);
        this.#parts?.ticks.add({ ...newest, skipped: 0 });
      },
      () => {},
    );
  }

  #showSourceChoice() {
    const { symbol } = this.view;
    const source = this.chosen?.source ?? this.view.source;
    this.#parts?.tools.showSources({ ...this.view, source }, symbol === null ? [] : this.market.sourcesOf(symbol));
  }

  /** No more often than they can be read. */
  #showTilesSoon() {
    nextFrame('tiles', () => {
      if (performance.now() - this.#tilesMs < TILES_EVERY_MS) return true;
      this.#showTiles();
      return false;
    });
  }

  #showTiles() {
    this.#tilesMs = performance.now();
    const row = this.chosen;
    const others = row === undefined ? [] : this.market.sourcesOf(row.symbol).flatMap((source) => {
      const other = this.market.rows.get(keyOf({ symbol: row.symbol, source }));
      return other === undefined || source === row.source ? [] : [other];
    });
    this.#parts?.tiles.show(row, others, this.view.currency, this.#rates, this.clock.nowUs());
  }

  /** The one thing that is read of a page in the background, where no frame comes. */
  #showTitle() {
    const row = this.chosen;
    const sign = row !== undefined && this.#judge(row).freshness.state === 'unknown' ? '? ' : '';
    const title = row?.price == null ? 'tickstream' : `${sign}${this.numbers.price(row.price, row.tick_size)} ${row.symbol} · tickstream`;
    if (document.title !== title) document.title = title;
  }

  #showCurrencies() {
    this.#rates = this.#ratesNow();
    const quotes = new Set([...this.market.rows.values()].flatMap((row) => quoteOf(row.symbol) ?? []));
    const { currency } = this.view;
    this.#parts?.tools.showCurrencies(currency, this.#rates.offered([...quotes].slice(0, 20)));
    this.watchlist.showIn(currency, this.#rates);
  }

  #ratesNow() {
    return new Rates(this.market.rows.values(), this.clock.nowUs(), (row) => this.#judge(row).freshness.state !== 'unknown');
  }

  #showAlerts() {
    this.#parts?.alerts.show(this.market.alerts, this.clock.nowUs());
    this.#parts?.summary.takeAlerts(this.market.alerts);
  }

  #showStatus() {
    const isSimulated = [...this.market.rows.values()].some((row) => row.source === 'simulated');
    const { state = null, refused = null } = this.replaying ?? {};
    this.#status.show({ link: this.#link, feed: this.market.feed, replay: state, asOfUs: this.market.asOfUs, isSimulated, refused }, Date.now());
  }

  /** @param {Row} row */
  #judge(row) {
    const nowUs = this.clock.nowUs();
    const known = { nowUs, feedProblem: this.feedProblem, source: this.market.sources.get(row.source), gaps: this.market.openGaps() };
    return { ageSeconds: (nowUs - (row.event_time_us ?? nowUs)) / 1e6, freshness: freshness(row, known) };
  }

  #showAges() {
    this.watchlist.showAges((row) => this.#judge(row));
  }

  #showSources() {
    if (this.#parts === null) return;
    const { browser, all } = this.#delays.hops();
    const { offsetUs } = this.clock;
    this.#parts.sources.show(this.market.sources.values(), { browser, all, offsetUs, nowUs: this.clock.nowUs() });
  }

  #everySecond() {
    this.#showTitle();
    if (this.#missedTicks) this.#loadTicks();
    nextFrame('status', () => this.#showStatus());
    nextFrame('ages', () => this.#showAges());
    nextFrame('sources', () => this.#showSources());
    nextFrame('rates', () => {
      this.#rates = this.#ratesNow();
      this.watchlist.showIn(this.view.currency, this.#rates);
      this.#showTilesSoon();
    });
    if (this.#seconds % SPARKLINES_SECONDS === 1 && !this.#isReplay) {
      api.sparklines().then((lines) => this.watchlist.showSparklines(lines), () => {});
    }
    if (this.#seconds % 2 === 0 && this.#connection?.bringsCandles === false && this.#link.state === 'open') this.chart?.refresh(false);
    // Past midnight an alert's time needs its day.
    if (this.#seconds % 60 === 7) nextFrame('alerts', () => this.#showAlerts());
    if (this.#seconds % 10 === 0) this.chart?.mark();
    if (this.#seconds % SUMMARY_SECONDS === 3) this.#parts?.summary.tell(this.market.rows, this.chosen, (row) => this.#judge(row));
    this.#seconds += 1;
  }

  /**
   * @param {Row} row
   * @param {Row | undefined} before
   */
  #takeTick(row, before) {
    if (keyOf(row) === this.#shownKey) this.#parts?.ticks.add(row);
    // A row is sent again where an older tick came late, or was taken back.
    const isNew = before === undefined || (row.event_id !== before.event_id && (row.event_time_us ?? 0) >= (before.event_time_us ?? 0));
    if (isNew && !this.#isReplay) this.#delays.tick(row);
  }

  /**
   * @param {string} symbol
   * @param {string | null} source
   */
  chooseSymbol(symbol, source) {
    const found = source ?? this.market.sourcesOf(symbol)[0];
    if (found !== undefined) this.choose(keyOf({ symbol, source: found }));
  }

  #followAddress() {
    this.#choice.follow();
    this.#showCurrencies();
    this.chart?.showControls();
    this.#showChosen();
  }
}
