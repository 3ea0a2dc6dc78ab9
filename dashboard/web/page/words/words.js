// The page's words in the reader's language, which early.js has chosen: of the dictionaries, all in one shape, one is loaded.
// Languages are changed by loading the page anew, so nothing here ever changes.

/** @typedef {keyof typeof import('./en.js').en} Word */

export const LANGUAGES = { en: 'EN', pt: 'PT' };

export const locale = document.documentElement.lang;
export const language = locale === 'pt-BR' ? 'pt' : 'en';
/** @type {Record<Word, string>} */
const words = language === 'pt' ? (await import('./pt.js')).pt : (await import('./en.js')).en;

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
  for (const element of document.querySelectorAll('[data-word]')) {
    element.textContent = t(/** @type {Word} */ (element.getAttribute('data-word')));
  }
  for (const attribute of ['aria-label', 'title', 'placeholder']) {
    for (const element of document.querySelectorAll(`[data-word-${attribute}]`)) {
      element.setAttribute(attribute, t(/** @type {Word} */ (element.getAttribute(`data-word-${attribute}`))));
    }
  }
}
