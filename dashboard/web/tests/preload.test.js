import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import test from 'node:test';

const page = new URL('../page/', import.meta.url);

test('every module is asked for at once, before one finds out that it needs another', () => {
  const html = readFileSync(new URL('index.html', page), 'utf8');
  const preloaded = [...html.matchAll(/rel="modulepreload" href="([^"]+)"/g)].map(([, path]) => path);
  const modules = readdirSync(page, { recursive: true }).filter((name) => name.endsWith('.js'));
  // Only types, what must run before the page is painted, and the dictionaries, of which that asks for one.
  const others = ['protocol.js', 'early.js', 'words/en.js', 'words/pt.js'];
  assert.deepEqual(preloaded.toSorted(), [...modules.filter((name) => !others.includes(name)), 'vendor/lightweight-charts.mjs'].sort());
});
