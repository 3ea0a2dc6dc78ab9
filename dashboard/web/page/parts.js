// What stands around the prices and the chart, and what a reader does: it comes after the first prices are shown.

/** @import {Page} from './page.js' */

import { wireKeys } from './keys.js';
import { AlertsFeed } from './parts/alerts.js';
import { SourcesStrip } from './parts/sources.js';
import { RecentTicks } from './parts/ticks.js';
import { Tiles } from './parts/tiles.js';
import { Summary } from './summary.js';
import { Tools } from './tools.js';

export class Parts {
  tools;
  tiles;
  ticks;
  alerts;
  sources;
  summary;

  /** @param {Page} page */
  constructor(page) {
    this.tools = new Tools(page);
    this.tiles = new Tiles(page.numbers);
    this.ticks = new RecentTicks(page.numbers, () => page.clock.nowUs());
    this.alerts = new AlertsFeed((symbol, source) => page.chooseSymbol(symbol, source));
    this.sources = new SourcesStrip(page.numbers);
    this.summary = new Summary(page.numbers);
    wireKeys(page);
  }
}
