// Keys. A reader who writes into a field, scrolls a part of the page or has a dialog open keeps the keys.

/** @typedef {Record<string, () => void>} Keys */

/**
 * @param {Keys} keys by `KeyboardEvent.key`
 * @param {() => boolean} lettersWanted whether keys of one character do anything
 */
export function listen(keys, lettersWanted) {
  addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const action = keys[event.key];
    if (action === undefined || !isOurs(event) || (event.key.length === 1 && !lettersWanted())) return;
    event.preventDefault();
    // A letter that is held down is pressed once: a step a repetition would be more than the server takes.
    if (event.repeat && event.key.length === 1) return;
    action();
  });
}

/** @param {KeyboardEvent} event */
function isOurs({ key, target }) {
  const inDialog = document.querySelector('dialog[open]') !== null;
  if (key === 'Escape') return !inDialog;
  if (inDialog) return key === '?';
  if (!(target instanceof Element)) return true;
  // A select takes letters, too: they choose.
  if (target.matches('input:not([type=range], [type=checkbox]), textarea, select')) return false;
  return !(key.startsWith('Arrow') && target.matches('input[type=range], .scroll[tabindex="0"]'));
}
