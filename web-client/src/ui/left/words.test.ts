import { describe, expect, it } from 'vitest';
import type { Left } from '../../call/types';
import { translator } from '../../i18n';
import { textOf } from './words';

const left = (alone: boolean | undefined): Left => ({ reason: 'left', detail: undefined, wasIn: true, alone });

describe('who leaves', () => {
  it('is told of the others only what is known of them', () => {
    const told = [false, true, undefined].map((alone) => textOf(left(alone), translator('en')));
    expect(told).toEqual(['It goes on for the others. You can come back.', 'Nobody else was there. You can come back.', 'You can come back whenever you like.']);
  });
});
