// The page as a whole: keeps the parts true to the market and the view. Every write to the screen is done in a frame.

/** @import {Connection, LinkState} from './link/connection.js' */
/** @import {Replay, Row, ServerMessage, Timeframe} from './protocol.js' */
/** @import {ChartView} from './chart_view.js' */

import * as api from './api.js';
import { button, element, html, setOptions, setText } from './dom.js';
import { formatAge, numbersOf } from './format.js';
import { nextFrame } from './frame.js';
import { AlertsFeed } from './parts/alerts.js';
import { helpDialog } from './parts/help.js';
import { listen } from './parts/keyboard.js';
import { ReplayBar, travelDialog } from './parts/replay.js';
import { shareDialog } from './parts/share_dialog.js';
import { SourcesStrip } from './parts/sources.js';
import { Status } from './parts/status.js';
import { RecentTicks } from './parts/ticks.js';
import { Tiles } from './parts/tiles.js';
import { Watchlist } from './parts/watchlist.js';
import { Clock } from './state/clock.js';
import { quoteOf, Rates } from './state/convert.js';
import { freshness } from './state/freshness.js';
import { Delays } from './state/delays.js';
import { keyOf, Market } from './state/market.js';
import { remember } from './state/remembered.js';
import { readView, TIMEFRAMES, writeView } from './state/view.js';
import { LANGUAGES, language, locale, t } from './words/words.js';

/** How often a screen reader is told where things stand. */
const SUMMARY_SECONDS = 30;
const SPARKLINES_SECONDS = 60;
/** What is shown to a reader who has chosen nothing, where there is such a thing. */
const USUAL = 'BTC-USD';

export class Page {
  market = new Market();
  clock = new Clock();
  numbers = numbersOf(locale);
  #delays = new Delays(this.clock);
  #isReplay;
  #view;
  #status = new Status();
  #watchlist = new Watchlist(this.numbers, (key) => this.choose(key));
  #tiles = new Tiles(this.numbers);
  #ticks = new RecentTicks(this.numbers);
  #alerts = new AlertsFeed((symbol, source) => this.#chooseSymbol(symbol, source));
  #sources = new SourcesStrip(this.numbers);
  /** @type {ChartView | null} */
  #chart = null;
  /** @type {ReplayBar | null} */
  #bar = null;
  /** @type {Connection | null} */
  #connection = null;
  /** @type {LinkState} */
  #link = { state: 'connecting', way: 'socket', retryAtMs: 0, why: '' };
  /** @type {Replay | null} */
  #replay = null;
  /** @type {string | null} */
  #refused = null;
  /** @type {number | null} */
  #heardUs = null;
  #rates = new Rates([]);
  #seconds = 0;
  #alertsSeen = 0;
  #wasOpen = false;
  /** @type {string | null} */
  #shownKey = null;
  #replayAddress = '';

  /** @param {boolean} isReplay */
  constructor(isReplay) {
    this.#isReplay = isReplay;
    this.#view = readView(location.search, isReplay);
    this.market.onTick = (row) => this.#takeTick(row);
  }

  /**
   * @param {Connection} connection
   * @param {string} replayAddress
   */
  begin(connection, replayAddress) {
    this.#connection = connection;
    if (this.#isReplay) {
      this.#bar = new ReplayBar(location.search, (message) => connection.send(message));
      this.#replayAddress = replayAddress;
    }
    this.#wireTools();
    this.#wireKeys();
    setInterval(() => this.#everySecond(), 1000);
    addEventListener('popstate', () => this.#followAddress());
    // The prices are wanted first; the chart's library comes after them.
    import('./chart_view.js').then(({ ChartView }) => {
      this.#chart = new ChartView(this, connection, this.#isReplay, (view, isStep) => this.#setView(view, isStep));
      this.#showChosen();
    });
  }

  /** @param {ServerMessage} message */
  take(message) {
    this.market.take(message);
    switch (message.type) {
      case 'pong':
        this.#delays.pong(message.sent_us, message.now_us);
        break;
      case 'heartbeat':
        if (!this.#isReplay) this.clock.heartbeat(message.now_us);
        break;
      case 'replay':
        this.#takeReplay(message);
        break;
      case 'snapshot':
        if (message.channel === 'ticks') this.#heardUs = this.clock.nowUs();
        if (message.reason === 'seek' && message.channel === 'ticks') this.#showChosen();
        if (message.candles) this.#chart?.take(message.candles);
        break;
      case 'update':
        if (message.ticks) this.#heardUs = this.clock.nowUs();
        if (message.candles) this.#chart?.take(message.candles);
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
    if (link.state === 'connecting') this.clock.forget();
    if (link.state === 'open') {
      // What the chart missed meanwhile is asked for.
      if (this.#wasOpen) this.#chart?.refresh();
      this.#wasOpen = true;
      this.#refused = null;
    } else if (link.state === 'waiting' && this.#isReplay && !this.#wasOpen) this.#askWhyRefused();
    this.#showStatus();
    nextFrame('ages', () => this.#showAges());
  }

  /** @param {string} key */
  choose(key) {
    const row = this.market.rows.get(key);
    if (row === undefined) return;
    const { symbol, source, compare } = this.#view;
    if (row.symbol === symbol && row.source === source) return;
    const kept = row.symbol === symbol && compare !== row.source ? compare : null;
    this.#setView({ symbol: row.symbol, source: row.source, compare: kept, fromUs: null }, true);
    this.#showChosen();
  }

  get view() {
    return this.#view;
  }

  /** The row that is looked at. */
  get chosen() {
    const { symbol, source } = this.#view;
    return symbol === null || source === null ? undefined : this.market.rows.get(keyOf({ symbol, source }));
  }

  /** Why nothing on the page can be believed to be current, if so. */
  get feedProblem() {
    if (this.#link.state !== 'open') return t('problem_connection');
    return this.market.feed.state === 'outage' ? `${t('problem_outage')}: ${this.market.feed.reason ?? ''}` : null;
  }

  #show() {
    const { rows, parts } = this.market.seen();
    if (parts.has('rows')) this.#rowsCameOrWent();
    this.#watchlist.take(this.market.rows, rows, parts.has('rows'));
    const chosen = this.chosen;
    if (parts.has('rows') || (chosen !== undefined && rows.has(keyOf(chosen)))) this.#showTiles();
    if (parts.has('alerts')) this.#showAlerts();
    if (parts.has('gaps') || parts.has('alerts')) this.#chart?.mark();
    if (parts.has('feed') || parts.has('rows')) this.#showStatus();
    if (parts.has('gaps') || parts.has('rows') || parts.has('feed')) this.#showAges();
    if (parts.has('sources')) this.#showSources();
  }

  #rowsCameOrWent() {
    this.#showCurrencies();
    if (this.chosen !== undefined) {
      if (this.#shownKey === keyOf(this.chosen)) this.#showSourceChoice();
      else this.#showChosen();
      return;
    }
    const { symbol } = this.#view;
    const first = symbol === null ? undefined : this.market.sourcesOf(symbol)[0];
    const fallback = this.#firstRow();
    // A link may name what is not there yet: it keeps the place until something comes.
    if (symbol !== null && first !== undefined) this.#setView({ source: first }, false);
    else if (symbol === null && fallback !== undefined) this.#setView({ symbol: fallback.symbol, source: fallback.source }, false);
    if (this.chosen !== undefined) this.#showChosen();
  }

  #firstRow() {
    const usual = [...this.market.rows.values()].filter((row) => row.symbol === USUAL).sort((a, b) => (a.source < b.source ? -1 : 1))[0];
    if (usual !== undefined) return usual;
    this.#watchlist.take(this.market.rows, new Set(), true);
    const key = this.#watchlist.firstKey;
    return key === null ? undefined : this.market.rows.get(key);
  }

  #showChosen() {
    const row = this.chosen;
    this.#shownKey = row === undefined ? null : keyOf(row);
    this.#watchlist.select(row === undefined ? null : keyOf(row));
    setText(html('selected-name'), row === undefined ? t('nothing_chosen') : row.symbol);
    this.#showSourceChoice();
    this.#showTiles();
    if (row === undefined) return;
    this.#ticks.show([row]);
    api.ticks(row.symbol, row.source, 40, this.#isReplay ? this.clock.nowUs() : null).then(
      (ticks) => {
        if (this.chosen !== undefined && keyOf(this.chosen) === keyOf(row)) this.#ticks.addOlder(ticks);
      },
      () => {},
    );
    this.#chart?.show(row);
  }

  #showSourceChoice() {
    const { symbol, source, compare } = this.#view;
    const sources = symbol === null ? [] : this.market.sourcesOf(symbol);
    const options = sources.map((name) => ({ value: name, text: name }));
    setOptions(element('source', HTMLSelectElement), options, source ?? '');
    const others = sources.filter((name) => name !== source).map((name) => ({ value: name, text: t('compare_to', { source: name }) }));
    setOptions(element('compare', HTMLSelectElement), [{ value: '', text: t('compare_none') }, ...others], compare ?? '');
    element('compare', HTMLSelectElement).disabled = others.length === 0;
  }

  #showTiles() {
    const row = this.chosen;
    const others = row === undefined ? [] : this.market.sourcesOf(row.symbol).flatMap((source) => {
      const other = this.market.rows.get(keyOf({ symbol: row.symbol, source }));
      return other === undefined || source === row.source ? [] : [other];
    });
    this.#tiles.show(row, others, this.#view.currency, this.#rates, this.clock.nowUs());
    document.title = row?.price == null ? 'tickstream' : `${this.numbers.price(row.price, row.tick_size)} ${row.symbol} · tickstream`;
  }

  #showCurrencies() {
    this.#rates = new Rates(this.market.rows.values());
    const quotes = new Set([...this.market.rows.values()].flatMap((row) => quoteOf(row.symbol) ?? []));
    const offered = this.#rates.offered([...quotes].slice(0, 20));
    const { currency } = this.#view;
    if (currency !== null && !offered.includes(currency)) offered.push(currency);
    const options = [{ value: '', text: t('currency_none') }, ...offered.map((name) => ({ value: name, text: name }))];
    setOptions(element('currency', HTMLSelectElement), options, currency ?? '');
    this.#watchlist.showIn(currency, this.#rates);
  }

  #showAlerts() {
    const { alerts } = this.market;
    this.#alerts.show(alerts, this.clock.nowUs());
    const newest = alerts[0];
    if (newest === undefined || newest.fired_at_us <= this.#alertsSeen) return;
    if (this.#alertsSeen > 0) setText(html('summary'), t('new_alert', { message: newest.message }));
    this.#alertsSeen = newest.fired_at_us;
  }

  #showStatus() {
    const isSimulated = [...this.market.rows.values()].some((row) => row.source === 'simulated');
    const { feed } = this.market;
    const now = { link: this.#link, feed, replay: this.#replay, heardUs: this.#heardUs, isSimulated, refused: this.#refused };
    this.#status.show(now, Date.now());
  }

  /** @param {Row} row */
  #judge(row) {
    const nowUs = this.clock.nowUs();
    const known = { nowUs, feedProblem: this.feedProblem, source: this.market.sources.get(row.source), gaps: this.market.openGaps() };
    return { ageSeconds: (nowUs - (row.event_time_us ?? nowUs)) / 1e6, freshness: freshness(row, known) };
  }

  #showAges() {
    this.#watchlist.showAges((row) => this.#judge(row));
  }

  #showSources() {
    const { browser, all } = this.#delays.hops();
    const { offsetUs } = this.clock;
    this.#sources.show(this.market.sources.values(), { browser, all, offsetUs, nowUs: this.clock.nowUs() });
  }

  #everySecond() {
    nextFrame('status', () => this.#showStatus());
    nextFrame('ages', () => this.#showAges());
    nextFrame('sources', () => this.#showSources());
    nextFrame('rates', () => {
      this.#rates = new Rates(this.market.rows.values());
      this.#watchlist.showIn(this.#view.currency, this.#rates);
    });
    if (this.#seconds % SPARKLINES_SECONDS === 1 && !this.#isReplay) {
      api.sparklines().then((lines) => this.#watchlist.showSparklines(lines), () => {});
    }
    if (this.#seconds % 2 === 0 && this.#connection?.bringsCandles === false && this.#link.state === 'open') this.#chart?.refresh();
    if (this.#seconds % 10 === 0) this.#chart?.mark();
    if (this.#seconds % SUMMARY_SECONDS === 3) this.#summarise();
    this.#seconds += 1;
  }

  #summarise() {
    const counts = { live: 0, unchanged: 0, unknown: 0 };
    for (const row of this.market.rows.values()) counts[this.#judge(row).freshness.state] += 1;
    const row = this.chosen;
    const chosen = row?.price == null ? '' : ` ${t('summary_chosen', {
      symbol: row.symbol, source: row.source, price: this.numbers.exact(row.price), age: formatAge(this.#judge(row).ageSeconds),
    })}`;
    setText(html('summary'), t('summary', { count: this.market.rows.size, ...counts }) + chosen);
  }

  /** @param {Row} row */
  #takeTick(row) {
    const { symbol, source } = this.#view;
    if (row.symbol === symbol && row.source === source) this.#ticks.add(row);
    if (!this.#isReplay) this.#delays.tick(row);
  }

  /** @param {Replay} replay */
  #takeReplay(replay) {
    this.#replay = replay;
    const speed = replay.speed === 'max' ? 0 : Number(replay.speed);
    this.clock.follow(replay.at_us, replay.state === 'playing' ? speed : 0);
    this.#bar?.show(replay);
    this.#showStatus();
  }

  /** A browser does not say why an upgrade was refused; the same address without one does. */
  async #askWhyRefused() {
    const answer = await fetch(this.#replayAddress).catch(() => null);
    const body = await answer?.json().catch(() => null);
    if (body?.error === undefined || answer?.status === 426) return;
    this.#refused = String(body.error);
    this.#showStatus();
  }

  /**
   * @param {string} symbol
   * @param {string | null} source
   */
  #chooseSymbol(symbol, source) {
    const found = source ?? this.market.sourcesOf(symbol)[0];
    if (found !== undefined) this.choose(keyOf({ symbol, source: found }));
  }

  /**
   * @param {Partial<import('./state/view.js').View>} changes
   * @param {boolean} isStep whether the browser's Back leads to what was before
   */
  #setView(changes, isStep) {
    this.#view = { ...this.#view, ...changes };
    const address = `${location.pathname}${writeView(this.#view, location.search, this.#isReplay)}`;
    if (address === location.pathname + location.search) return;
    if (isStep) history.pushState(null, '', address);
    else history.replaceState(null, '', address);
  }

  #followAddress() {
    this.#view = readView(location.search, this.#isReplay);
    this.#showCurrencies();
    this.#chart?.showControls();
    this.#showChosen();
  }

  #wireTools() {
    const currency = element('currency', HTMLSelectElement);
    currency.append(new Option(t('currency_none'), ''));
    currency.addEventListener('change', () => {
      this.#setView({ currency: currency.value === '' ? null : currency.value }, true);
      this.#watchlist.showIn(this.#view.currency, this.#rates);
      this.#showTiles();
    });
    const languages = element('language', HTMLSelectElement);
    setOptions(languages, Object.entries(LANGUAGES).map(([value, text]) => ({ value, text })), language);
    languages.addEventListener('change', () => {
      remember('lang', languages.value);
      const query = new URLSearchParams(location.search);
      query.set('lang', languages.value);
      location.search = query.toString();
    });
    element('source', HTMLSelectElement).addEventListener('change', (event) => {
      const source = /** @type {HTMLSelectElement} */ (event.target).value;
      this.choose(keyOf({ symbol: this.#view.symbol ?? '', source }));
    });
    element('compare', HTMLSelectElement).addEventListener('change', (event) => {
      const compare = /** @type {HTMLSelectElement} */ (event.target).value;
      this.#setView({ compare: compare === '' ? null : compare }, true);
      this.#showChosen();
    });
    button('theme').addEventListener('click', () => this.#toggleTheme());
    button('travel').addEventListener('click', travelDialog(() => this.clock.nowUs()));
    button('share').addEventListener('click', shareDialog(() => ({
      candles: this.#chart?.visibleCandles() ?? [],
      rows: this.#watchlist.shown,
      name: `${this.#view.symbol ?? 'chart'}_${this.#view.source ?? ''}_${this.#view.tf}`,
    })));
  }

  #wireKeys() {
    const help = helpDialog();
    button('help').addEventListener('click', help);
    /** @type {import('./parts/keyboard.js').Keys} */
    const keys = {
      '?': help,
      '/': () => this.#watchlist.focusFilter(),
      ArrowDown: () => this.#step(1),
      ArrowUp: () => this.#step(-1),
      ArrowLeft: () => this.#chart?.scrollBy(-20),
      ArrowRight: () => this.#chart?.scrollBy(20),
      Escape: () => {
        this.#watchlist.clearFilter();
        if (document.activeElement instanceof HTMLInputElement) document.activeElement.blur();
      },
      n: () => this.#chart?.goToNow(),
      l: () => button('style').click(),
      t: () => button('as-table').click(),
      d: () => this.#toggleTheme(),
      p: () => this.#bar?.togglePause(),
      '.': () => this.#bar?.step(),
    };
    for (const [i, tf] of TIMEFRAMES.entries()) keys[String(i + 1)] = () => this.setTimeframe(tf);
    listen(keys);
  }

  /** @param {Timeframe} tf */
  setTimeframe(tf) {
    if (tf === this.#view.tf) return;
    this.#setView({ tf, fromUs: null }, true);
    this.#chart?.showControls();
    const row = this.chosen;
    if (row !== undefined) this.#chart?.show(row);
  }

  /** @param {number} by */
  #step(by) {
    const key = this.#watchlist.neighbour(by);
    if (key === null) return;
    this.choose(key);
    this.#watchlist.reveal(key);
  }

  #toggleTheme() {
    const preferred = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
    const theme = (document.documentElement.dataset['theme'] ?? preferred) === 'dark' ? 'light' : 'dark';
    document.documentElement.dataset['theme'] = theme;
    remember('theme', theme);
    this.#chart?.takeColours();
  }
}
