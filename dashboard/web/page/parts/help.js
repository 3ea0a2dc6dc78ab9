// The help: keys and signs, and what of the page can be told to be quiet.

import { element, html, make } from '../dom.js';
import { remember, remembered } from '../state/remembered.js';
import { t } from '../words/words.js';

/** Keys of one letter get in the way of those who speak to their machine; a summary in the way of those who listen to it. */
export const SETTINGS = /** @type {const} */ (['letters', 'spoken']);

/** @param {SETTINGS[number]} setting */
export function isOn(setting) {
  return remembered(setting) !== 'off';
}

/** @type {[string, import('../words/words.js').Word][]} */
const KEYS = [
  ['?', 'key_help'], ['/', 'key_filter'], ['↑ ↓', 'key_up_down'], ['← →', 'key_left_right'], ['1 – 5', 'key_frames'], ['n', 'key_now'],
  ['l', 'key_line'], ['t', 'key_table'], ['d', 'key_theme'], ['p', 'key_pause'], ['.', 'key_step'], ['Esc', 'key_escape'],
];

/** @type {[string, import('../words/words.js').Word, import('../words/words.js').Word][]} */
const SIGNS = [
  ['●', 'fresh_live', 'help_live'], ['=', 'fresh_unchanged', 'help_unchanged'], ['?', 'fresh_unknown', 'help_unknown'],
  ['≈', 'implied', 'help_implied'],
];

export function helpDialog() {
  const dialog = element('help-dialog', HTMLDialogElement);
  const keys = make('dl', 'keys');
  for (const [key, word] of KEYS) {
    const name = make('dt');
    name.append(make('kbd', '', key));
    keys.append(name, make('dd', '', t(word)));
  }
  const signs = make('dl', 'keys');
  for (const [sign, name, word] of SIGNS) signs.append(make('dt', '', sign), make('dd', '', `${t(name)}: ${t(word)}`));
  html('help-body').append(
    make('h3', '', t('help_keys')), keys, ...SETTINGS.map(settingOf), make('h3', '', t('help_signs')), signs, make('p', 'quiet', t('help_delays')),
  );
  return () => (dialog.open ? dialog.close() : dialog.showModal());
}

/** @param {SETTINGS[number]} setting */
function settingOf(setting) {
  const label = make('label', 'setting');
  const box = make('input');
  box.type = 'checkbox';
  box.id = `setting-${setting}`;
  box.checked = isOn(setting);
  box.addEventListener('change', () => remember(setting, box.checked ? 'on' : 'off'));
  label.append(box, ` ${t(`setting_${setting}`)}`);
  return label;
}
