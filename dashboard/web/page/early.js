// Runs before the page is painted, so that a chosen theme does not flash in late and no word is waited for, and opens the socket, so
// that the first prices are here by the time that the modules are. Not a module: those run later.
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
  if (location.pathname.endsWith('/replay')) return;
  try {
    const url = new URL('ws', document.baseURI);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(url);
    /** What it has said until link/socket.js takes it over. @type {string[]} */
    const heard = [];
    socket.onmessage = (event) => heard.push(event.data);
    socket.onopen = () => {
      for (const channel of ['ticks', 'gaps', 'alerts', 'health']) socket.send(JSON.stringify({ type: 'subscribe', channel }));
    };
    Object.assign(globalThis, { earlySocket: { socket, heard } });
  } catch {
    // Whoever asks next is told why.
  }
})();
