// Keys. A reader who writes into a field or has a dialog open keeps the keys.

/** @typedef {Record<string, () => void>} Keys */

/** @param {Keys} keys by `KeyboardEvent.key` */
export function listen(keys) {
  addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const target = event.target instanceof Element ? event.target : null;
    const isWriting = target?.matches('input:not([type=range]), textarea') === true;
    const steersField = target?.matches('select, input[type=range]') === true && event.key.startsWith('Arrow');
    const inDialog = document.querySelector('dialog[open]') !== null;
    if (event.key !== 'Escape' && (isWriting || steersField || (inDialog && event.key !== '?'))) return;
    if (event.key === 'Escape' && inDialog) return;
    const action = keys[event.key];
    if (action === undefined) return;
    event.preventDefault();
    action();
  });
}
