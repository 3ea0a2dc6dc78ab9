// What each key does.

/** @import {Page} from './page.js' */

import { button } from './dom.js';
import { helpDialog, isOn } from './parts/help.js';
import { listen } from './parts/keyboard.js';
import { TIMEFRAMES } from './state/view.js';
import { toggleTheme } from './tools.js';

/** @param {Page} page */
export function wireKeys(page) {
  const help = helpDialog();
  button('help').addEventListener('click', help);
  /** @type {import('./parts/keyboard.js').Keys} */
  const keys = {
    '?': help,
    '/': () => page.watchlist.focusFilter(),
    ArrowDown: () => page.step(1),
    ArrowUp: () => page.step(-1),
    ArrowLeft: () => page.chart?.scrollBy(-20),
    ArrowRight: () => page.chart?.scrollBy(20),
    Escape: () => {
      page.watchlist.clearFilter();
      const { activeElement } = document;
      if (activeElement instanceof HTMLInputElement || activeElement instanceof HTMLSelectElement) activeElement.blur();
    },
    n: () => page.chart?.goToNow(),
    l: () => button('style').click(),
    t: () => button('as-table').click(),
    d: () => toggleTheme(page),
    p: () => page.replaying?.bar.togglePause(),
    '.': () => page.replaying?.bar.step(),
  };
  for (const [i, tf] of TIMEFRAMES.entries()) keys[String(i + 1)] = () => page.setTimeframe(tf);
  listen(keys, () => isOn('letters'));
}
