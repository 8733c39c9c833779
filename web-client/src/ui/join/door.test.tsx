import { beforeEach, describe, expect, it, vi } from 'vitest';
import { click, doing, draw, focus, press, the } from '../../../test/dom';
import { devices } from '../../call/devices';
import type { PreviewDevice, PreviewSnapshot } from '../../call/preview';
import { Store } from '../../call/store';
import { setPref } from '../../prefs';
import { Door } from './door';

vi.mock('../parts/level-meter', () => ({ LevelMeter: () => null }));

const OFF: PreviewDevice = { on: false, busy: false, problem: undefined };

async function door({ state = {}, fixedName, there = false, inside }: { state?: Partial<PreviewSnapshot>; fixedName?: string; there?: boolean; inside?: Store<number | undefined> } = {}) {
  const preview = Object.assign(new Store<PreviewSnapshot>({ stage: 'ready', microphone: OFF, camera: OFF, picture: undefined, sound: undefined, ...state }), {
    setMicrophone: vi.fn(() => Promise.resolve()),
    setCamera: vi.fn(() => Promise.resolve()),
    allow: vi.fn(() => Promise.resolve()),
    skip: vi.fn(),
    chooseDevice: () => Promise.resolve(),
    activeDevice: () => '',
  });
  const lookout = Object.assign(new Store(there), { takeOver: vi.fn() });
  const onJoin = vi.fn<(name: string) => void>();
  await draw(<Door preview={preview as unknown as Parameters<typeof Door>[0]['preview']} lookout={lookout} inside={inside} room="abcd-efgh-jkm" fixedName={fixedName} suggestedName={undefined} onJoin={onJoin} />);
  return { preview, lookout, onJoin };
}

/** Somebody types. */
const type = (text: string) =>
  doing(() => {
    const field = the('name-input') as HTMLInputElement;
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value')?.set?.call(field, text);
    field.dispatchEvent(new Event('input', { bubbles: true }));
  });
const submit = () => doing(() => the('.door-form').dispatchEvent(new Event('submit', { bubbles: true, cancelable: true })));

describe('the door', () => {
  beforeEach(() => setPref('name', ''));

  it('takes the focus', async () => {
    await door();
    expect(focus()).toBe('h1: Ready to join?');
  });

  it('lets in who has a name, and leads who has none to the field', async () => {
    const { onJoin } = await door();
    await submit();
    expect(onJoin).not.toHaveBeenCalled();
    expect(focus()).toBe('name-input');
    expect(the('name-input').getAttribute('aria-invalid')).toBe('true');
    await type('  Ada ');
    expect(the('name-input').getAttribute('aria-invalid')).toBe('false');
    await submit();
    expect(onJoin).toHaveBeenCalledWith('Ada');
  });

  it('keeps the name of an invitation', async () => {
    const { onJoin } = await door({ fixedName: 'Élodie' });
    expect((the('name-input') as HTMLInputElement).readOnly).toBe(true);
    await submit();
    expect(onJoin).toHaveBeenCalledWith('Élodie');
  });

  it('says one cause once, in card and picture, and takes it back with it', async () => {
    const blocked: PreviewDevice = { ...OFF, problem: 'browser-denied' };
    const { preview } = await door({ state: { microphone: blocked, camera: blocked } });
    expect(document.querySelectorAll('.problem')).toHaveLength(1);
    expect(the('.problem').textContent).toContain('Your browser blocks camera and microphone on this page');
    expect(document.querySelector('select[aria-label="Camera"]')).toBeNull();
    await doing(() => preview.patch({ microphone: { ...OFF, on: true }, camera: { ...OFF, on: true } }));
    expect(document.querySelector('.problem')).toBeNull();
  });

  it('keeps the place of what is picked from until there is something', async () => {
    devices.patch({ microphones: [], cameras: [], speakers: [] });
    await door({ state: { stage: 'looking' } });
    const place = the('.pickers');
    expect(place.children).toHaveLength(0);
    await doing(() => devices.patch({ cameras: [{ id: 'a', label: 'Front' }] }));
    expect(document.querySelectorAll('.pickers')).toHaveLength(1);
  });

  it('shows what only starts as starting, not as off, and takes no second click', async () => {
    const { preview } = await door({ state: { camera: { ...OFF, busy: true } } });
    expect(the('prejoin-camera').getAttribute('aria-busy')).toBe('true');
    await click('prejoin-camera');
    expect(preview.setCamera).not.toHaveBeenCalled();
    await click('prejoin-mic');
    expect(preview.setMicrophone).toHaveBeenCalledWith(true);
  });

  it('leads on to the devices once the question is answered', async () => {
    const { preview } = await door({ state: { stage: 'ask' } });
    await doing(() => the('.mirror-skip').focus());
    await doing(() => preview.patch({ stage: 'ready' }));
    expect(['prejoin-mic', 'h1: Ready to join?', 'body: ']).toContain(focus().replace(/^body: .*/s, 'body: '));
  });

  it('says how many are there already, in a place that was kept for it', async () => {
    const inside = new Store<number | undefined>(undefined);
    await door({ inside });
    expect(the('inside').textContent).toBe('');
    for (const [people, words] of [[0, 'Nobody is here yet.'], [1, '1 person is here.'], [3, '3 people are here.']] as const) {
      await doing(() => inside.set(people));
      expect(the('inside').textContent).toBe(words);
    }
  });

  it('has no place for it where the server would not say', async () => {
    await door();
    expect(document.querySelector('[data-testid="inside"]')).toBeNull();
  });

  it('says that another tab is in the meeting, and leaves it there if asked', async () => {
    const { lookout } = await door({ there: true });
    expect(the('other-tab').textContent).toContain('in another tab');
    await click('take-over');
    expect(lookout.takeOver).toHaveBeenCalled();
    await doing(() => lookout.set(false));
    expect(document.querySelector('[data-testid="other-tab"]')).toBeNull();
    await press('Tab');
  });
});
