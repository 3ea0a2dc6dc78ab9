import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import test from 'node:test';

const page = new URL('../page/', import.meta.url);
const html = readFileSync(new URL('index.html', page), 'utf8');
const [head, later] = html.split('<template id="later">');
const preloads = (text) => [...text.matchAll(/rel="modulepreload" href="([^"]+)"/g)].map(([, path]) => path);

/** A module and all that it cannot begin without. */
function needed(path, found = new Set()) {
  if (found.has(path)) return found;
  found.add(path);
  const source = readFileSync(new URL(path, page), 'utf8');
  for (const [, other] of source.matchAll(/^(?:import|export)[^;]*?from '(\.[^']+)'/gm)) {
    needed(new URL(other, new URL(path, page)).href.slice(page.href.length), found);
  }
  return found;
}

test('every module is asked for before another one finds out that it needs it', () => {
  const modules = readdirSync(page, { recursive: true }).filter((name) => name.endsWith('.js'));
  // Only types, what must run before the page is painted, what a replay alone needs, and the dictionaries, of which early.js asks for one.
  const others = ['protocol.js', 'early.js', 'replaying.js', 'words/en.js', 'words/pt.js'];
  const wanted = [...modules.filter((name) => !others.includes(name)), 'vendor/lightweight-charts.mjs'];
  assert.deepEqual([...preloads(head), ...preloads(later)].sort(), wanted.sort());
});

test('what the first price needs is asked for before all else', () => {
  assert.deepEqual(preloads(head).sort(), [...needed('app.js')].sort());
});
