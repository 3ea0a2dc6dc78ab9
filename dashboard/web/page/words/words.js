// The page's words in the reader's language: dictionaries in one shape, chosen by the address, then by an earlier choice, then by the
// browser. Languages are changed by loading the page anew, so nothing here ever changes.

import { remembered } from '../state/remembered.js';
import { en } from './en.js';
import { pt } from './pt.js';

/** @typedef {keyof typeof en} Word */

export const LANGUAGES = { en: 'EN', pt: 'PT' };

/** @returns {'en' | 'pt'} */
function choose() {
  const asked = new URLSearchParams(location.search).get('lang') ?? remembered('lang') ?? navigator.language;
  return asked.toLowerCase().startsWith('pt') ? 'pt' : 'en';
}

export const language = choose();
export const locale = language === 'pt' ? 'pt-BR' : 'en';
const words = language === 'pt' ? pt : en;

/**
 * @param {Word} word
 * @param {Record<string, string | number>} [values] for the names in braces
 */
export function t(word, values = {}) {
  return words[word].replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/**
 * A word that the server chose (a state, a reason), in the reader's language where it is known.
 * @param {string} prefix
 * @param {string} name
 */
export function named(prefix, name) {
  const key = /** @type {Word} */ (`${prefix}_${name.toLowerCase()}`);
  return Object.hasOwn(words, key) ? words[key] : name.toLowerCase().replaceAll('_', ' ');
}

/** Puts the words where the page's elements ask for them. */
export function translatePage() {
  document.documentElement.lang = locale;
  for (const element of document.querySelectorAll('[data-word]')) {
    element.textContent = t(/** @type {Word} */ (element.getAttribute('data-word')));
  }
  for (const attribute of ['aria-label', 'title', 'placeholder']) {
    for (const element of document.querySelectorAll(`[data-word-${attribute}]`)) {
      element.setAttribute(attribute, t(/** @type {Word} */ (element.getAttribute(`data-word-${attribute}`))));
    }
  }
}
