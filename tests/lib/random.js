/** Numbers that depend on the seed only (SplitMix32). Print the seed of a run: it is the way to have it again. */
export function random(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
  return {
    below: (limit) => Math.floor((next() / 2 ** 32) * limit),
    pick: (list) => list[Math.floor((next() / 2 ** 32) * list.length)],
    chance: (probability) => next() / 2 ** 32 < probability,
    bytes: (length) => Uint8Array.from({ length }, () => next() & 0xff),
  };
}

/** The seed of this run: from the environment, or new. */
export function chooseSeed() {
  const seed = process.env.SEED ? Number(process.env.SEED) : Math.floor(Math.random() * 2 ** 31);
  console.log(`seed ${seed} (SEED=${seed} repeats this run)`);
  return seed;
}
