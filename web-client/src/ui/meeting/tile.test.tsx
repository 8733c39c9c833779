import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { calling, click, doing, draw, the, windowOf } from '../../../test/dom';
import type { Person, Picture } from '../../call/types';
import { Meeting } from './meeting';

const picture = (key: string, more: Partial<Picture> = {}): Picture => ({ key, media: { attach: () => undefined, detach: () => undefined }, mirrored: false, paused: false, ...more });

async function meeting(change: (person: Person) => Partial<Person>, query = 'people=4') {
  windowOf(1440, 800);
  const call = calling(query);
  const become = (how: (person: Person) => Partial<Person>) => call.people.patch({ list: call.people.getSnapshot().list.map((person) => ({ ...person, ...how(person) })) });
  become(change);
  await draw(<Meeting call={call} room="salle" />);
  return { call, become };
}

const tile = (identity: string) => the(`[data-testid="tile"][data-identity="${identity}"][data-source="camera"]`);

describe('a picture that stands still', () => {
  let frames = 0;
  const drawn = () => doing(() => frames++);
  const wait = (milliseconds: number) => doing(() => vi.advanceTimersByTime(milliseconds));

  beforeEach(() => {
    frames = 0;
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'Date'] });
    Object.assign(HTMLVideoElement.prototype, { getVideoPlaybackQuality: () => ({ totalVideoFrames: frames }) });
  });
  afterEach(() => {
    vi.useRealTimers();
    Reflect.deleteProperty(HTMLVideoElement.prototype, 'getVideoPlaybackQuality');
  });

  it('says so after two seconds, and no longer with the next frame; nobody seems to speak in it', async () => {
    await meeting(({ identity }) => (identity === 'p-1' ? { camera: picture('a'), muted: false } : {}));
    await drawn();
    await wait(1000);
    await drawn();
    await wait(2000);
    expect(tile('p-1').dataset.still).toBe('false');
    await wait(1000);
    expect(tile('p-1').dataset.still).toBe('true');
    expect(tile('p-1').querySelector('.tile-still')?.getAttribute('aria-label')).toBe('The picture stands still');
    await drawn();
    await wait(1000);
    expect(tile('p-1').dataset.still).toBe('false');
  });

  it('is none that has not begun, that the server pauses, that is one’s own, or that nobody sees', async () => {
    await meeting(({ identity }) => ({ camera: picture(identity, { paused: identity === 'p-2' }) }));
    await wait(5000);
    expect(tile('p-1').dataset.still).toBe('false');
    await drawn();
    await wait(1000);
    const hidden = vi.spyOn(document, 'hidden', 'get').mockReturnValue(true);
    await wait(5000);
    hidden.mockReturnValue(false);
    await wait(5000);
    expect([...document.querySelectorAll('[data-still="true"]')]).toEqual([]);
  });
});

describe('a shared screen', () => {
  const share = ({ identity }: Person): Partial<Person> => (identity === 'p-1' ? { share: picture('s') } : {});
  const shared = () => the('[data-source="screen_share"]');

  it('is looked at closely by a double tap, and as a whole by another', async () => {
    await meeting(share);
    await doing(() => shared().dispatchEvent(new MouseEvent('dblclick', { bubbles: true, clientX: 0, clientY: 0 })));
    expect(shared().dataset.zoomed).toBe('true');
    expect(shared().querySelector('video')?.style.transform).toBe('translate(0px, 0px) scale(2.5)');
    await doing(() => shared().dispatchEvent(new MouseEvent('dblclick', { bubbles: true })));
    expect(shared().querySelector('video')?.style.transform).toBe('');
  });

  it('is looked at closely by two fingers', async () => {
    await meeting(share);
    const finger = (type: string, pointerId: number, clientX: number) => doing(() => shared().dispatchEvent(new PointerEvent(type, { bubbles: true, pointerId, clientX, clientY: 0 })));
    await finger('pointerdown', 1, 100);
    await finger('pointerdown', 2, 200);
    await finger('pointermove', 2, 300);
    expect(shared().querySelector('video')?.style.transform).toContain('scale(2)');
    await finger('pointerup', 1, 100);
    await finger('pointermove', 2, 290);
    await finger('pointerup', 2, 290);
    expect(shared().querySelector('video')?.style.transform).toContain('scale(2)');
  });

  it('of oneself is no tile', async () => {
    await meeting(({ isLocal }) => (isLocal ? { share: picture('s') } : {}));
    expect(document.querySelector('[data-source="screen_share"]')).toBeNull();
  });
});

describe('a tile that moves', () => {
  const animate = vi.fn<() => { cancel: () => void }>(() => ({ cancel: () => undefined }));
  beforeEach(() => {
    animate.mockReset().mockReturnValue({ cancel: () => undefined });
    Object.assign(HTMLElement.prototype, { animate });
  });
  afterEach(() => void Reflect.deleteProperty(HTMLElement.prototype, 'animate'));

  it('has its new size at once, and is only drawn where it was', async () => {
    const { call } = await meeting(() => ({}));
    await click('[data-identity="p-1"] .tile-pin');
    expect(tile('p-1').className).toContain('tile--stage');
    const [frames] = animate.mock.calls[0] as unknown as [{ transform: string }[]];
    expect(frames.every(({ transform }) => /^translate\(.*\) scale\(.*\)$/.test(transform))).toBe(true);
    expect(frames.at(-1)?.transform).toMatch(/scale\(1, 1\)$/);
    expect(call.people.getSnapshot().list).toHaveLength(4);
  });

  it('does not, where there are more than nine, or less motion is asked for', async () => {
    await meeting(() => ({}), 'people=16');
    await click('[data-identity="p-1"] .tile-pin');
    expect(animate).not.toHaveBeenCalled();
    vi.spyOn(window, 'matchMedia').mockReturnValue({ matches: true } as MediaQueryList);
    document.body.replaceChildren();
    await meeting(() => ({}));
    await click('[data-identity="p-1"] .tile-pin');
    expect(animate).not.toHaveBeenCalled();
  });
});
