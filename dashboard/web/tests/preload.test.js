import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import test from 'node:test';

const page = new URL('../page/', import.meta.url);
const html = readFileSync(new URL('index.html', page), 'utf8');
const preloads = [...html.matchAll(/rel="modulepreload" href="([^"]+)"( fetchpriority="low")?/g)].map(([, path, low]) => ({ path, low: low !== undefined }));

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

test('every module is asked for at once, before one finds out that it needs another', () => {
  const modules = readdirSync(page, { recursive: true }).filter((name) => name.endsWith('.js'));
  // Only types, what must run before the page is painted, what a replay alone needs, and the dictionaries, of which early.js asks for one.
  const others = ['protocol.js', 'early.js', 'replaying.js', 'words/en.js', 'words/pt.js'];
  const wanted = [...modules.filter((name) => !others.includes(name)), 'vendor/lightweight-charts.mjs'];
  assert.deepEqual(preloads.map(({ path }) => path).sort(), wanted.sort());
});

test('what the first price needs is asked for before all else', () => {
  const first = needed('app.js');
  assert.deepEqual(preloads.slice(0, first.size).map(({ path }) => path).sort(), [...first].sort());
  assert.deepEqual(preloads.map(({ low }) => low), preloads.map((_, i) => i >= first.size));
});
