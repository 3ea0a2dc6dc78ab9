import assert from 'node:assert/strict';
import test from 'node:test';

import { freshness } from '../page/state/freshness.js';

const NOW = 1_800_000_000_000_000;
const ago = (seconds) => NOW - seconds * 1e6;
const row = (seconds) => ({ symbol: 'BTC-USD', source: 'coinbase', received_at_us: ago(seconds) });
const ok = { source: 'coinbase', state: 'OK', at_us: ago(5), last_answer_at_us: ago(6) };
const gap = { source: 'coinbase', symbols: [], reason: 'DISCONNECTED', detail: '' };

function check(name, theRow, known, expected) {
  test(name, () => {
    const all = { nowUs: NOW, feedProblem: null, source: ok, gaps: [], ...known };
    assert.equal(freshness(theRow, all).state, expected);
  });
}

check('a price that moves is live', row(1), {}, 'live');
check('one that stands while its source answers is unchanged', row(40), {}, 'unchanged');
check('one that is the last answer is live', row(40), { source: { ...ok, last_answer_at_us: ago(40) } }, 'live');
check('a gap makes it unknown', row(1), { gaps: [gap] }, 'unknown');
check('a gap of another symbol does not', row(1), { gaps: [{ ...gap, symbols: ['ETH-USD'] }] }, 'live');
check('a gap of another source does not', row(1), { gaps: [{ ...gap, source: 'kraken' }] }, 'live');
check('so does a source whose health records have stopped, which the server tells', row(1), { source: { ...ok, state: 'SILENT' } }, 'unknown');
check('health records that are old by the clock of a fast replay do not', row(1), { source: { ...ok, at_us: ago(299) } }, 'live');
check('so does a source that fails', row(1), { source: { ...ok, state: 'FAILING' } }, 'unknown');
check('so does a page that is not connected', row(1), { feedProblem: 'x' }, 'unknown');
check('a source that never said anything is believed for a minute', row(50), { source: undefined }, 'live');
check('and no longer', row(70), { source: undefined }, 'unknown');
const implied = { ...row(1), symbol: 'BTC-BRL', source: 'implied', kind: 'FX_IMPLIED' };
check('an implied price is live', implied, { source: undefined }, 'live');
check('unless its rate is in a gap', implied, { source: undefined, gaps: [{ ...gap, source: 'bcb', symbols: ['USD-BRL'] }] }, 'unknown');
check('or its other price', implied, { source: undefined, gaps: [{ ...gap, symbols: ['BTC-USD'] }] }, 'unknown');
check('and not by what it is not made of', implied, { source: undefined, gaps: [{ ...gap, symbols: ['ETH-USD'] }] }, 'live');
