/**
 * What somebody downloads until the door of a meeting can be passed: JavaScript and CSS in brotli, without the font. Fails
 * above the limit. Run after `npm run build`.
 *
 * Everything counts that was built but what is drawn in the meeting and after it, which comes while one stands at the door,
 * and all languages but the largest, for one reads one.
 */
import { readdirSync, statSync } from 'node:fs';

const LIMIT = 200 * 1024;
const FOLDER = new URL('../dist/assets/', import.meta.url);
const LANGUAGE = /^(?:en|fr)-/;
const LATER = /^(?:meeting|out)-/;

const files = readdirSync(FOLDER)
  .filter((name) => /\.(?:js|css)\.br$/.test(name))
  .map((name) => ({ name: name.replace(/\.br$/, ''), bytes: statSync(new URL(name, FOLDER)).size }))
  .sort((a, b) => b.bytes - a.bytes);
const [spoken, ...unspoken] = files.filter(({ name }) => LANGUAGE.test(name));
const sum = (list) => list.reduce((total, { bytes }) => total + bytes, 0);
const inIt = files.filter(({ name }) => LATER.test(name));
const before = files.filter((file) => !inIt.includes(file) && !unspoken.includes(file));
const shown = (bytes) => `${(bytes / 1024).toFixed(1).padStart(6)} KB`;

if (!spoken || inIt.length === 0) throw new Error('the build does not look as expected: no language, or no meeting');
for (const { name, bytes } of before) console.log(`${shown(bytes)}  ${name}`);
console.log(`${shown(sum(before))}  before a meeting (${String(sum(before))} bytes), at most ${shown(LIMIT).trim()}`);
console.log(`${shown(sum(inIt))}  more in it and after it`);
if (sum(before) > LIMIT) {
  console.error('Too much: see what a new import brings along (vite build --sourcemap), or let it come later.');
  process.exitCode = 1;
}
