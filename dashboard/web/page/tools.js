// The choices in the header and above the chart: currency, source, comparison, language, theme; time travel and share.

/** @import {Page} from './page.js' */

import { button, element, setOptions } from './dom.js';
import { travelDialog } from './parts/replay.js';
import { shareDialog } from './parts/share_dialog.js';
import { keyOf } from './state/market.js';
import { remember } from './state/remembered.js';
import { LANGUAGES, language, t } from './words/words.js';

export class Tools {
  #currency = element('currency', HTMLSelectElement);
  #source = element('source', HTMLSelectElement);
  #compare = element('compare', HTMLSelectElement);

  /** @param {Page} page */
  constructor(page) {
    this.#currency.append(new Option(t('currency_none'), ''));
    this.#currency.addEventListener('change', () => page.showIn(this.#currency.value || null));
    this.#source.addEventListener('change', () => page.choose(keyOf({ symbol: page.view.symbol ?? '', source: this.#source.value })));
    this.#compare.addEventListener('change', () => page.compareWith(this.#compare.value || null));
    wireLanguage();
    button('theme').addEventListener('click', () => toggleTheme(page));
    button('travel').addEventListener('click', travelDialog(() => page.clock.nowUs()));
    button('share').addEventListener('click', shareDialog(() => page.shown));
  }

  /**
   * @param {import('./state/view.js').View} view
   * @param {string[]} sources of the symbol
   */
  showSources({ source, compare }, sources) {
    setOptions(this.#source, sources.map((name) => ({ value: name, text: name })), source ?? '');
    const others = sources.filter((name) => name !== source).map((name) => ({ value: name, text: t('compare_to', { source: name }) }));
    setOptions(this.#compare, [{ value: '', text: t('compare_none') }, ...others], compare ?? '');
    this.#compare.disabled = others.length === 0;
  }

  /**
   * @param {string | null} currency
   * @param {string[]} offered
   */
  showCurrencies(currency, offered) {
    const all = currency === null || offered.includes(currency) ? offered : [...offered, currency];
    const options = [{ value: '', text: t('currency_none') }, ...all.map((name) => ({ value: name, text: name }))];
    setOptions(this.#currency, options, currency ?? '');
  }
}

/** @param {Page} page */
export function toggleTheme(page) {
  const preferred = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
  const theme = (document.documentElement.dataset['theme'] ?? preferred) === 'dark' ? 'light' : 'dark';
  document.documentElement.dataset['theme'] = theme;
  remember('theme', theme);
  page.chart?.takeColours();
}

function wireLanguage() {
  const languages = element('language', HTMLSelectElement);
  setOptions(languages, Object.entries(LANGUAGES).map(([value, text]) => ({ value, text })), language);
  languages.addEventListener('change', () => {
    remember('lang', languages.value);
    const query = new URLSearchParams(location.search);
    query.set('lang', languages.value);
    location.search = query.toString();
  });
}
