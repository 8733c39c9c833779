import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { judge, settled } from './judge.js';
import { ROOT, SCREENS } from './paths.js';
import { until } from './until.js';

/** In which the web client is complete. */
export const LANGUAGES = ['en', 'fr'];

/** A desktop, a laptop, a telephone. */
export const SIZES = [
  [1440, 900],
  [1280, 720],
  [390, 844],
];

/** Where there is little height: a telephone on its side, and a window of 1280 x 1024 at 400 %. */
export const LOW = [
  [844, 390],
  [320, 256],
];

/** The appearance is looked at in one size: colours do not depend on it. */
const DARK = [1280, 720];

/** The sentences of a language by key, as its catalogue has them: one a line. */
const sentences = Object.fromEntries(
  LANGUAGES.map((language) => {
    const catalogue = readFileSync(path.join(ROOT, `web-client/src/i18n/${language}.ts`), 'utf8');
    return [language, new Map([...catalogue.matchAll(/^ {2}'([^']+)': '(.+)',$/gm)].map(([, key, sentence]) => [key, sentence]))];
  }),
);

/** Whitespace of whatever width is the same: French has unbreakable ones. */
const plain = (text) => text.replace(/\s+/g, ' ');

/** What a sentence looks like on the page, whatever fills its gaps. */
function pattern(language, key) {
  const sentence = sentences[language].get(key);
  assert.ok(sentence !== undefined, `no sentence ${key} in ${language}`);
  const literal = (part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  return new RegExp(plain(sentence).split(/\{\w+\}/).map(literal).join('.+?'));
}

/**
 * Pictures of what the page shows, one a size, and one in the dark: target/screens/SCREEN-LANGUAGE-SIZE.png.
 *
 * The state must be reached: an element that matches `has` is there, and each of the sentences `says` (keys of the
 * catalogue) can be read. And `judge` must find no fault with it.
 *
 * @param {import('puppeteer-core').Page} page
 * @param {string} screen
 * @param {string} language
 * @param {{says?: string[], has?: string, sizes?: number[][], dark?: boolean}} state
 */
export async function picture(page, screen, language, { says = [], has = 'body', sizes = SIZES, dark = true }) {
  const looks = sizes.map((size) => ({ size, scheme: 'light' }));
  if (dark && sizes.includes(SIZES[1])) looks.push({ size: DARK, scheme: 'dark' });
  const faults = [];
  for (const { size, scheme } of looks) {
    const [width, height] = size;
    const name = [screen, language, `${width}x${height}`, ...(scheme === 'dark' ? ['dark'] : [])].join('-');
    await page.setViewport({ width, height });
    await page.emulateMediaFeatures([
      { name: 'prefers-color-scheme', value: scheme },
      // Nothing is caught in the middle of a movement.
      { name: 'prefers-reduced-motion', value: 'reduce' },
    ]);
    const read = async () => plain(await page.evaluate(() => document.body.innerText));
    const explain = async () => `${page.url()}: ${(await read()).slice(0, 600)}`;
    await until(`${name} has ${has}`, () => page.$(has), { explain });
    for (const key of says) await until(`${name} says ${key}`, async () => pattern(language, key).test(await read()), { explain });
    await until(`${name} has its pictures`, () => page.$$eval('video', (videos) => videos.every((video) => video.readyState >= video.HAVE_CURRENT_DATA)));
    await page.evaluate(settled);
    for (const fault of await page.evaluate(judge)) faults.push(`${name}: ${fault}`);
    await page.screenshot({ path: path.join(SCREENS, `${name}.png`), fullPage: true });
  }
  writeIndex();
  assert.deepEqual(faults, []);
}

/** All pictures on one page: target/screens/index.html. */
function writeIndex() {
  const names = readdirSync(SCREENS).filter((name) => name.endsWith('.png')).sort();
  const figures = names.map((name) => `<figure><a href="${name}"><img src="${name}" height="360" loading="lazy" alt=""></a><figcaption>${name}</figcaption></figure>`);
  const style = 'body{display:flex;flex-wrap:wrap;gap:16px;font:13px sans-serif;background:#888}figure{margin:0}img{display:block}';
  writeFileSync(path.join(SCREENS, 'index.html'), `<!doctype html><meta charset="utf-8"><title>Screens</title><style>${style}</style>\n${figures.join('\n')}\n`);
}
