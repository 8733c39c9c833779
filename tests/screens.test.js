/**
 * Every screen in each size, appearance and language, in Chromium and Firefox: what a program can see is wrong without a
 * picture to compare with (`lib/judge.js`), and contrasts. `make screens` makes pictures for people.
 */
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { launchChromium, launchFirefox } from './lib/browsers.js';
import { AXE, serveHarness } from './lib/harness.js';
import { judge, settled } from './lib/judge.js';
import { SCREENS as FOLDER } from './lib/paths.js';
import { LANGUAGES, SIZES } from './lib/pictures.js';

/** By name: what the harness is asked for, what is clicked then, and what must be there. */
const SCREENS = {
  home: { query: 'screen=home', has: '[data-testid="start-meeting"]' },
  door: { query: 'screen=door&other=1', has: '[data-testid="inside"]' },
  'door-blocked': { query: 'screen=door&problem=browser-denied', has: '.problem' },
  alone: { query: 'people=1', has: '.card' },
  two: { query: 'people=2&weak=1', has: '[data-layout="duo"]' },
  crowd: { query: 'people=25&video=6', has: '[data-layout="grid"]' },
  shared: { query: 'people=6&video=3&share=1&notice=1', has: '[data-source="screen_share"]' },
  sharing: { query: 'people=4&own=1&problem=in-use', has: '.toast--problem' },
  chat: { query: 'people=4&chat=12', click: 'toggle-chat', has: '[data-testid="chat-message"]' },
  people: { query: 'people=25&video=6', click: 'toggle-people', has: '.people-row' },
  menu: { query: 'people=3', click: 'more', has: '[role="menu"]' },
  settings: { query: 'people=3', click: 'more', then: '.menu-item:nth-last-child(2)', has: 'dialog[open]' },
  left: { query: 'left=removed', has: '[data-testid="left-reason"]' },
  returning: { query: 'returning=restart', has: 'h1' },
};
const THEMES = ['light', 'dark'];

let harness;
before(async () => {
  harness = await serveHarness();
});
after(() => harness.stop());

const LAUNCH = {
  Chromium: () => launchChromium(['--force-prefers-reduced-motion']),
  Firefox: () => launchFirefox(440, {}, { 'ui.prefersReducedMotion': 1 }),
};

describe('each screen fits and can be read, in every size, appearance and language', { concurrency: true }, () => {
  for (const [browserName, launch] of Object.entries(LAUNCH)) {
    test(`in ${browserName}`, { timeout: 6 * 60_000 }, async (t) => {
      const browser = await launch();
      t.after(() => browser.close());
      const page = await browser.newPage();
      const errors = [];
      page.on('pageerror', (error) => errors.push(String(error)));
      const faults = [];
      let looks = 0;
      const began = performance.now();
      for (const [screen, { query, click, then, has }] of Object.entries(SCREENS)) {
        await page.setViewport({ width: SIZES[0][0], height: SIZES[0][1] });
        await page.goto(harness.url(query));
        for (const selector of [click && `[data-testid="${click}"]`, then].filter(Boolean)) {
          await page.waitForSelector(selector);
          // By script: a button under a passing notice is still a button.
          await page.$eval(selector, (button) => button.click());
        }
        await page.waitForSelector(has);
        await page.addScriptTag({ path: AXE });
        for (const theme of THEMES) {
          for (const language of LANGUAGES) {
            await page.evaluate(async (now) => {
              window.__set.theme(now.theme);
              await window.__set.language(now.language);
            }, { theme, language });
            for (const [width, height] of SIZES) {
              await page.setViewport({ width, height });
              await page.evaluate(settled);
              const found = await page.evaluate(judge);
              // Colours do not depend on words.
              if (language === LANGUAGES[0]) found.push(...(await page.evaluate(contrasts)));
              looks += 1;
              const name = `${screen}-${language}-${width}x${height}-${theme}`;
              if (found.length > 0) await page.screenshot({ path: path.join(FOLDER, `fault-${browserName}-${name}.png`) });
              faults.push(...found.map((fault) => `${name}: ${fault}`));
            }
          }
        }
      }
      t.diagnostic(`${looks} looks in ${((performance.now() - began) / 1000).toFixed(0)} s`);
      assert.deepEqual(faults, [], `pictures of them are in ${FOLDER}`);
      assert.deepEqual(errors, []);
    });
  }
});

/** In the page: text that is hard to read on what is behind it. */
async function contrasts() {
  const { violations } = await window.axe.run(document, { runOnly: ['color-contrast', 'target-size'], resultTypes: ['violations'] });
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html, any }) => `${id}: ${html.slice(0, 120)} ${any[0]?.message ?? ''}`));
}
