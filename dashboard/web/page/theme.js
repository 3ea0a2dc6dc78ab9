// Runs before the page is painted, so that a chosen theme does not flash in late. Not a module: those run later.
'use strict';

(() => {
  try {
    const theme = localStorage.getItem('tickstream.theme');
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
  } catch {
    // A browser that keeps nothing shows its own preference.
  }
})();
