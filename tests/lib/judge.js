/**
 * What is wrong with a page as it is drawn, as far as a program can tell without a picture to compare with. Runs in the page.
 *
 * Nothing sticks out of the window; of what one scrolls, only downwards. Whatever can be clicked can be hit, and none lies on
 * another. All text is seen whole, but where it ends in dots; none lies under something else.
 *
 * @returns {string[]}
 */
export function judge() {
  const found = new Set();
  const INTERACTIVE = 'button, a[href], input, select, textarea, summary, [tabindex="0"]';
  // What opens above the rest may lie on it. News may lie on a name for a moment, never on what one clicks.
  const ABOVE = '.popover-panel, .panel';
  const NEWS = '.notices, .card';
  const dialog = document.querySelector('dialog[open]');
  const root = dialog ?? document.body;
  const name = (element) => `${element.tagName.toLowerCase()} "${(element.ariaLabel ?? element.textContent ?? '').trim().replace(/\s+/g, ' ').slice(0, 40)}"`;
  const px = (number) => Math.round(number);

  const parents = (element) => {
    const list = [];
    for (let parent = element.parentElement; parent && parent !== document.documentElement; parent = parent.parentElement) list.push(parent);
    return list;
  };
  const isDrawn = (element) => {
    if (!element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) return false;
    const box = element.getBoundingClientRect();
    if (box.width <= 1 || box.height <= 1 || element.closest('.sr-only, .skip-link:not(:focus)')) return false;
    // What is clipped away is there for who listens.
    return ![element, ...parents(element)].some((one) => getComputedStyle(one).clipPath !== 'none');
  };
  const scrolls = (style) => /auto|scroll/.test(style.overflowY);
  /** The part of a box that whatever scrolls leaves to be seen; `undefined` where one would have to scroll. */
  const inView = (element, box) => {
    for (const parent of parents(element)) {
      if (!scrolls(getComputedStyle(parent))) continue;
      const view = parent.getBoundingClientRect();
      if (box.top < view.top - 1 || box.bottom > view.bottom + 1) return false;
    }
    return box.top >= -1 && box.bottom <= innerHeight + 1;
  };
  const inScroller = (element) => parents(element).some((parent) => scrolls(getComputedStyle(parent)));
  /** What is between a place and one who looks at it, if it belongs to neither. */
  const over = (element, x, y) => {
    const hit = document.elementFromPoint(Math.min(Math.max(x, 0), innerWidth - 1), Math.min(Math.max(y, 0), innerHeight - 1));
    if (!hit || element.contains(hit) || hit.contains(element)) return undefined;
    const label = element.closest('label');
    if (label?.contains(hit)) return undefined;
    const above = hit.closest(ABOVE);
    if (above && !above.contains(element)) return undefined;
    return element.closest('.tile-label') && hit.closest(NEWS) ? undefined : hit;
  };
  const sticksOut = (element, box, what) => {
    if (box.left < -1 || box.right > innerWidth + 1) found.add(`${what} sticks out: ${px(box.left)} to ${px(box.right)} px`);
    // Of a meeting nothing scrolls but what is made for it; other pages scroll as a whole.
    const fixed = element.closest('.meeting') && !inScroller(element);
    if (fixed && (box.top < -1 || box.bottom > innerHeight + 1)) found.add(`${what} sticks out: ${px(box.top)} to ${px(box.bottom)} px down`);
  };

  /** What of a box one cannot see, nor scroll to. */
  const cut = (chain, box, what) => {
    for (const parent of chain) {
      const style = getComputedStyle(parent);
      const edge = parent.getBoundingClientRect();
      const beside = /hidden|clip/.test(style.overflowX) && (box.left < edge.left - 1 || box.right > edge.right + 1);
      const below = /hidden|clip/.test(style.overflowY) && (box.top < edge.top - 3 || box.bottom > edge.bottom + 3);
      if (beside || below) found.add(`${what} is cut off by ${name(parent)} .${parent.className}`);
      if (scrolls(style)) return;
    }
  };

  if (document.documentElement.scrollWidth > innerWidth) found.add(`the page is ${document.documentElement.scrollWidth} px wide`);

  const targets = [...root.querySelectorAll(INTERACTIVE)].filter(isDrawn);
  for (const element of targets) {
    const box = element.getBoundingClientRect();
    sticksOut(element, box, name(element));
    cut(parents(element), box, name(element));
    if (!inView(element, box) || getComputedStyle(element).pointerEvents === 'none') continue;
    const [x, y, inset] = [box.left + box.width / 2, box.top + box.height / 2, 3];
    const places = [[x, y], [box.left + inset, y], [box.right - inset, y], [x, box.top + inset], [x, box.bottom - inset]];
    // What holds other buttons is hit where they are not.
    if (element.querySelector(INTERACTIVE)) continue;
    for (const [left, top] of places) {
      const hit = over(element, left, top);
      if (hit) found.add(`${name(element)} lies under ${name(hit)} .${hit.className}`);
    }
  }

  const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    const element = text.parentElement;
    if (text.data.trim() === '' || !element || /^(OPTION|SCRIPT|STYLE|NOSCRIPT)$/.test(element.tagName) || element.closest('svg') || !isDrawn(element)) continue;
    const range = document.createRange();
    range.selectNodeContents(text);
    const what = `the text "${text.data.trim().slice(0, 40)}"`;
    const chain = [element, ...parents(element)];
    const dotted = chain.find((one) => getComputedStyle(one).textOverflow === 'ellipsis');
    // A name that ends in dots is still one while some letters of it are left.
    if (dotted && dotted.clientWidth < 24 && dotted.scrollWidth > dotted.clientWidth + 1) found.add(`${what} is nothing but dots`);
    for (const box of range.getClientRects()) {
      if (box.width < 1) continue;
      if (!dotted) sticksOut(element, box, what);
      if (!dotted) cut(chain, box, what);
      if (!inView(element, box) || getComputedStyle(element).pointerEvents === 'none') continue;
      const right = dotted ? Math.min(box.right, dotted.getBoundingClientRect().right) : box.right;
      const hit = over(element, (box.left + right) / 2, box.top + box.height / 2);
      if (hit) found.add(`${what} lies under ${name(hit)} .${hit.className}`);
    }
  }

  return [...found];
}

/** In the page: fonts are there, movements are over, and what they led to is drawn. */
export async function settled() {
  await document.fonts.ready;
  const ending = document.getAnimations().filter((one) => one.effect.getComputedTiming().endTime !== Infinity);
  await Promise.allSettled(ending.map((one) => one.finished));
  for (let frame = 0; frame < 3; frame++) await new Promise((drawn) => requestAnimationFrame(drawn));
}
