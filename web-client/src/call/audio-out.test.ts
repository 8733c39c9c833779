import { describe, expect, it } from 'vitest';
import { AudioOut, type Audible } from './audio-out';

/** A page with nothing but the elements that play, and tracks that know whether they are heard. */
function page() {
  const playing = new Set<string>();
  const attached: string[] = [];
  const host = { append: () => undefined, remove: () => undefined };
  const track = (name: string): Audible => {
    const element = { remove: () => playing.delete(name) } as unknown as HTMLMediaElement;
    return {
      attach: () => {
        playing.add(name);
        attached.push(name);
        return element;
      },
      detach: () => [element],
    };
  };
  return { out: new AudioOut(host), track, attached, heard: () => [...playing].sort() };
}

describe('the sound of the others', () => {
  it('is that of the tracks given, whoever came and went in between', () => {
    const { out, track, heard } = page();
    const [ada, ben, cas] = [track('ada'), track('ben'), track('cas')];
    out.play([ada, ben]);
    expect(heard()).toEqual(['ada', 'ben']);
    out.play([ben, cas]);
    expect(heard()).toEqual(['ben', 'cas']);
  });

  it('is not interrupted by being asked for again', () => {
    const { out, track, attached } = page();
    const ada = track('ada');
    out.play([ada]);
    out.play([ada]);
    out.play(new Set([ada]));
    expect(attached).toEqual(['ada']);
  });

  it('ends when the call does', () => {
    const { out, track, heard } = page();
    out.play([track('ada')]);
    out.close();
    expect(heard()).toEqual([]);
  });
});
