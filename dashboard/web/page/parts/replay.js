// Time travel: the bar that steers a replay, and the dialog that begins one. A replay is this same page under another address.

/** @import {Replay} from '../protocol.js' */

import { button, element, html, setOptions, setText } from '../dom.js';
import { formatTime } from '../format.js';
import { readTime } from '../state/view.js';
import { named, t } from '../words/words.js';

const SPEEDS = ['0.5', '1', '2', '10', '60', '600', 'max'];

const SEEK_AFTER_MS = 250;

/** @param {string} speed */
function speedOption(speed) {
  return { value: speed, text: speed === 'max' ? t('fastest') : `×${speed}` };
}

export class ReplayBar {
  #bar = html('replay');
  #pause = button('replay-pause');
  #at = element('replay-at', HTMLTimeElement);
  #speed = element('replay-speed', HTMLSelectElement);
  #position = element('replay-position', HTMLInputElement);
  #state = html('replay-state');
  #send;
  /** @type {Replay | null} */
  #replay = null;
  #live = element('replay-live', HTMLAnchorElement);
  #seek = 0;
  #isDragged = false;
  #asked;
  /** Where the first one began. @type {number | null} */
  #beganUs = null;

  /**
   * @param {string} search the address'
   * @param {(message: object) => void} send
   */
  constructor(search, send) {
    this.#send = send;
    this.#asked = new URLSearchParams(search).get('from') ?? '';
    this.#bar.hidden = false;
    const asked = new URLSearchParams(search).get('speed') ?? '1';
    const speeds = SPEEDS.includes(asked) ? SPEEDS : [asked, ...SPEEDS];
    setOptions(this.#speed, speeds.map(speedOption), asked);
    this.#live.href = liveAddress();
    // What is looked at may have changed.
    for (const event of ['focus', 'pointerdown']) this.#live.addEventListener(event, () => (this.#live.href = liveAddress()));
    this.#pause.addEventListener('click', () => this.togglePause());
    button('replay-step').addEventListener('click', () => this.step());
    this.#speed.addEventListener('change', () => this.#say('speed', { speed: this.speed }));
    this.#position.addEventListener('input', () => {
      this.#isDragged = true;
      setText(this.#at, `${formatTime(this.#chosenUs, 0)} UTC`);
    });
    this.#position.addEventListener('change', () => {
      // A key that is held down changes it thirty times a second.
      clearTimeout(this.#seek);
      this.#seek = setTimeout(() => {
        this.#isDragged = false;
        this.#say('seek', { to_us: this.#chosenUs });
      }, SEEK_AFTER_MS);
    });
  }

  /** As the protocol has it: a number, or `max`. */
  get speed() {
    return this.#speed.value === 'max' ? 'max' : Number(this.#speed.value);
  }

  /** @param {Replay} replay */
  show(replay) {
    this.#replay = replay;
    const pauses = replay.state === 'playing';
    setText(this.#pause, pauses ? '❚❚' : '▶');
    this.#pause.setAttribute('aria-label', t(pauses ? 'pause' : 'play'));
    this.#pause.title = t(pauses ? 'pause' : 'play');
    this.#pause.disabled = replay.state === 'ended';
    this.#beganUs ??= replay.from_us;
    const state = named('replay', replay.state);
    setText(this.#state, isLater(this.#asked, this.#beganUs) ? `${state} · ${t('replay_oldest', { time: formatTime(this.#beganUs, 0) })}` : state);
    if (this.#isDragged) return;
    setText(this.#at, `${formatTime(replay.at_us, 0)} UTC`);
    const span = Math.max(1, replay.live_us - replay.from_us);
    this.#position.value = String(Math.round((1000 * (replay.at_us - replay.from_us)) / span));
    this.#position.setAttribute('aria-valuetext', formatTime(replay.at_us, 0));
  }

  togglePause() {
    this.#say(this.#replay?.state === 'playing' ? 'pause' : 'resume');
  }

  step() {
    this.#say('step');
  }

  get #chosenUs() {
    const { from_us = 0, live_us = 0 } = this.#replay ?? {};
    return Math.round(from_us + ((live_us - from_us) * Number(this.#position.value)) / 1000);
  }

  /**
   * @param {string} action
   * @param {object} [more]
   */
  #say(action, more = {}) {
    this.#send({ type: 'replay', action, ...more });
  }
}

/**
 * Whether a replay begins later than it was asked to, for want of anything older. What `-24h` was, the server's clock says.
 * @param {string} asked
 * @param {number} beganUs
 */
export function isLater(asked, beganUs) {
  const askedUs = readTime(asked);
  return askedUs !== null && beganUs - askedUs > (asked.startsWith('-') ? 300e6 : 2e6);
}

function liveAddress() {
  const live = new URLSearchParams(location.search);
  live.delete('from');
  live.delete('speed');
  return `.${live.size === 0 ? '' : `?${live}`}`;
}

/**
 * The dialog that leads to a replay.
 * @param {() => number} nowUs
 */
export function travelDialog(nowUs) {
  const dialog = element('travel-dialog', HTMLDialogElement);
  const from = element('travel-from', HTMLInputElement);
  const speed = element('travel-speed', HTMLSelectElement);
  setOptions(speed, SPEEDS.map(speedOption), '10');
  element('travel-form', HTMLFormElement).addEventListener('submit', (event) => {
    if (event.submitter?.getAttribute('value') !== 'go' || from.value === '') return;
    const query = new URLSearchParams(location.search);
    query.set('from', `${from.value}Z`);
    query.set('speed', speed.value);
    location.assign(`replay?${query.toString().replaceAll('%3A', ':')}`);
  });
  return () => {
    from.value = new Date(nowUs() / 1000 - 3_600_000).toISOString().slice(0, 16);
    dialog.showModal();
  };
}
