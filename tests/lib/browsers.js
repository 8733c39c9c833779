import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import puppeteer from 'puppeteer-core';

/**
 * The flags let a browser without screen, camera and sound card take part: fake devices, loopback candidates, and no
 * throttling of a window that is not in front. Nothing reaches beyond this machine.
 */
const CHROMIUM = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--use-fake-ui-for-media-stream',
  '--use-fake-device-for-media-stream',
  '--mute-audio',
  '--autoplay-policy=no-user-gesture-required',
  '--disable-background-timer-throttling',
  '--disable-renderer-backgrounding',
  '--disable-backgrounding-occluded-windows',
  '--allow-loopback-in-peer-connection',
  '--disable-features=WebRtcHideLocalIpsWithMdns',
  '--window-size=1280,800',
  '--lang=en',
];

const FIREFOX = {
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  'media.autoplay.default': 0,
  'media.autoplay.blocking_policy': 0,
  'media.peerconnection.ice.loopback': true,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  'media.getdisplaymedia.enabled': true,
  // The codec for H.264 would be fetched from outside.
  'media.gmp-manager.updateEnabled': false,
  'media.gmp-provider.enabled': false,
  'intl.accept_languages': 'en',
  'dom.min_background_timeout_value': 4,
  'widget.windows.window_occlusion_tracking.enabled': false,
};

/** @returns {Promise<import('puppeteer-core').Browser>} */
export async function launchChromium(extra = [], options = {}) {
  return puppeteer.launch({
    browser: 'chrome',
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: [...CHROMIUM, ...extra],
    defaultViewport: { width: 1280, height: 800 },
    protocolTimeout: 120_000,
    ...options,
  });
}

/**
 * Firefox's fake microphone hums one tone for the whole browser. It reaches a server on this machine by an ordinary
 * address only. `preferences` are set on top of those that all tests need.
 */
export async function launchFirefox(tone, options = {}, preferences = {}) {
  if (!process.env.CONFORMANCE_ADDRESS) throw new Error('Firefox needs the network of tests/isolated: ./isolated node --test …');
  const profile = mkdtempSync(path.join(tmpdir(), 'conclave-firefox-'));
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr',
    headless: true,
    userDataDir: profile,
    extraPrefsFirefox: { ...FIREFOX, 'media.navigator.audio.fake_frequency': tone, ...preferences },
    defaultViewport: { width: 1280, height: 800 },
    protocolTimeout: 120_000,
    ...options,
  });
  const close = browser.close.bind(browser);
  browser.close = async () => {
    await close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  };
  return browser;
}
