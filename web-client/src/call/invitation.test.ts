import { describe, expect, it } from 'vitest';
import { readAddress } from './invitation';

const ORIGIN = 'https://meet.example.org';
const token = (claims: unknown) => `h.${btoa(JSON.stringify(claims)).replace(/\+/g, '-').replace(/\//g, '_').replace(/=/g, '')}.s`;
const FOR_SALLE = token({ video: { room: 'salle' } });

describe('a token in an address', () => {
  it.each([`/m/salle#token=${FOR_SALLE}`, `/m/salle?token=${FOR_SALLE}`])('is taken out: %s', (path) => {
    expect(readAddress(ORIGIN + path)).toEqual({ clean: '/m/salle', ticket: { room: 'salle', token: FOR_SALLE } });
  });

  it('leaves the rest where it was', () => {
    expect(readAddress(`${ORIGIN}/m/salle?name=Zo%C3%AB&token=${FOR_SALLE}#a=b`).clean).toBe('/m/salle?name=Zo%C3%AB#a=b');
    expect(readAddress(`${ORIGIN}/m/salle?autojoin=1#token=${FOR_SALLE}&a=b`).clean).toBe('/m/salle?autojoin=1#a=b');
  });

  it('says which room it is for, whatever the path says', () => {
    expect(readAddress(`${ORIGIN}/m/autre#token=${FOR_SALLE}`)).toEqual({ clean: '/m/salle', ticket: { room: 'salle', token: FOR_SALLE } });
  });

  it('does not change the path to what cannot be one, and is kept for it', () => {
    const odd = token({ video: { room: '../Salle 1' } });
    expect(readAddress(`${ORIGIN}/m/autre#token=${odd}`)).toEqual({ clean: '/m/autre', ticket: { room: 'autre', token: odd } });
    expect(readAddress(`${ORIGIN}/m/autre#token=nonsense`)).toEqual({ clean: '/m/autre', ticket: { room: 'autre', token: 'nonsense' } });
  });

  it('is taken out of every page, and used for meetings only', () => {
    expect(readAddress(`${ORIGIN}/?token=x`)).toEqual({ clean: '/', ticket: undefined });
    expect(readAddress(`${ORIGIN}/m/#token=x`)).toEqual({ clean: '/m/', ticket: undefined });
  });

  it('need not be there', () => {
    expect(readAddress(`${ORIGIN}/m/abcd-efgh-jkm?name=A#x`)).toEqual({ clean: '/m/abcd-efgh-jkm?name=A#x', ticket: undefined });
    expect(readAddress(`${ORIGIN}/m/salle#token=`)).toEqual({ clean: '/m/salle', ticket: undefined });
  });
});
