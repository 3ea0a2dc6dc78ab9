// Runs before the page is painted, so that a chosen theme does not flash in late and no word is waited for. Not a module: those run
// later.
'use strict';

(() => {
  const root = document.documentElement;
  const remembered = (/** @type {string} */ name) => {
    try {
      return localStorage.getItem(`tickstream.${name}`);
    } catch {
      // A browser that keeps nothing shows its own preference.
      return null;
    }
  };
  const theme = remembered('theme');
  if (theme === 'light' || theme === 'dark') root.dataset['theme'] = theme;
  // By the address, then by an earlier choice, then by the browser.
  const language = new URLSearchParams(location.search).get('lang') ?? remembered('lang') ?? navigator.language;
  const isPortuguese = language.toLowerCase().startsWith('pt');
  root.lang = isPortuguese ? 'pt-BR' : 'en';
  const words = document.createElement('link');
  words.rel = 'modulepreload';
  words.href = `words/${isPortuguese ? 'pt' : 'en'}.js`;
  document.head.append(words);
})();
