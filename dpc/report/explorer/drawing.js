// Elements and small charts. Texts are always set as text, never as markup.

/**
 * @typedef {{[name: string]: string | number | boolean | EventListener}} Attributes
 */

/**
 * A new element. `on...` attributes are listeners, `text` is its text; an attribute that is false is left out.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes} [attributes]
 * @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  attribute(made, attributes);
  made.append(...children);
  return made;
}

/**
 * A new element of a drawing.
 * @param {string} tag
 * @param {Attributes} [attributes]
 * @param {Node[]} children
 * @returns {SVGElement}
 */
function svg(tag, attributes = {}, ...children) {
  const made = /** @type {SVGElement} */ (document.createElementNS('http://www.w3.org/2000/svg', tag));
  attribute(made, attributes);
  made.append(...children);
  return made;
}

/**
 * @param {Element} element
 * @param {Attributes} attributes
 */
function attribute(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else if (name === 'text') element.textContent = String(value);
    else if (value !== false) element.setAttribute(name, value === true ? '' : String(value));
  }
}

/** @param {string} id */
function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

// One hue, lightness falling (or, in the dark, rising) all the way: read alike with any kind of colour vision.
/** @type {{[theme: string]: [number, number, number][]}} */
const RAMPS = {
  light: [
    [255, 255, 255],
    [214, 230, 244],
    [158, 202, 225],
    [84, 151, 200],
    [24, 92, 158],
    [8, 48, 107],
  ],
  dark: [
    [22, 26, 32],
    [20, 48, 82],
    [24, 82, 138],
    [52, 126, 190],
    [120, 180, 228],
    [205, 230, 250],
  ],
};

/** @returns {'light' | 'dark'} */
function theme() {
  const chosen = document.documentElement.dataset.theme;
  if (chosen === 'light' || chosen === 'dark') return chosen;
  return matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
}

/**
 * Background and letters of a place on the ramp, 0 to 1; letters are black or white, whichever stands out more.
 * @param {number} place
 */
function shade(place) {
  const ramp = RAMPS[theme()];
  const at = Math.min(Math.max(place, 0), 1) * (ramp.length - 1);
  const below = Math.min(Math.floor(at), ramp.length - 2);
  const mixed = ramp[below].map((from, part) => Math.round(from + (at - below) * (ramp[below + 1][part] - from)));
  return { back: `rgb(${mixed.join(' ')})`, letters: luminance(mixed) > 0.179 ? '#000' : '#fff' };
}

/** @param {number[]} colour  Red, green and blue, 0 to 255; relative luminance as WCAG defines it. */
function luminance(colour) {
  const [r, g, b] = colour.map((part) => (part <= 10 ? part / 3294 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/**
 * Where a value stands on the ramp. Flow has a long tail: its square root is shown.
 * @param {Measure} measure
 * @param {number} value
 * @param {number} largest
 */
function place(measure, value, largest) {
  if (largest <= 0) return 0;
  return measure === 'flow' ? Math.sqrt(value / largest) : value / largest;
}

/**
 * @param {HTMLElement} element
 * @param {number} at
 */
function paint(element, at) {
  const { back, letters } = shade(at);
  element.style.backgroundColor = back;
  element.style.color = letters;
}

const WIDE = 320;

/**
 * A curve over layers, with the chosen band behind it.
 * @param {number[]} values
 * @param {number[]} band
 * @param {string} label
 */
function layerCurve(values, band, label) {
  const high = 56;
  const largest = Math.max(...values);
  const step = WIDE / values.length;
  const points = values.map((value, layer) => {
    const y = largest > 0 ? high - 2 - (value / largest) * (high - 6) : high - 2;
    return `${((layer + 0.5) * step).toFixed(1)},${y.toFixed(1)}`;
  });
  return svg(
    'svg',
    { viewBox: `0 0 ${WIDE} ${high}`, class: 'curve', role: 'img', 'aria-label': label, preserveAspectRatio: 'none' },
    svg('rect', { class: 'band', x: band[0] * step, y: 0, width: (band[1] - band[0] + 1) * step, height: high }),
    svg('polyline', { points: points.join(' '), class: 'line' }),
  );
}

/**
 * What the trigger compares, token by token, with beta; affected tokens stand out. Heights are square roots.
 * @param {Numbers} numbers
 * @param {Coded} coded
 * @param {number} chosen  The token that is looked at, or -1.
 * @param {(token: number) => void} pick
 */
function triggerChart(numbers, coded, chosen, pick) {
  const high = 84;
  const values = numbers.arrays.compared;
  const beta = coded.beta ?? 0;
  const largest = Math.max(beta, ...values) || 1;
  const step = WIDE / values.length;
  /** @param {number} value */
  const y = (value) => high - Math.sqrt(value / largest) * (high - 4);
  const bars = Array.from(values, (value, t) =>
    svg('rect', {
      class: `bar${numbers.affected[t] ? ' affected' : ''}${t === chosen ? ' chosen' : ''}`,
      x: (t * step + step * 0.08).toFixed(2),
      y: y(value).toFixed(2),
      width: (step * 0.84).toFixed(2),
      height: Math.max(high - y(value), 0.6).toFixed(2),
    }),
  );
  const lines =
    coded.beta === null
      ? []
      : [
          svg('line', {
            class: 'half',
            x1: (coded.latter ?? 0) * step,
            x2: (coded.latter ?? 0) * step,
            y1: 0,
            y2: high,
          }),
          svg('line', { class: 'beta', x1: 0, x2: WIDE, y1: y(beta), y2: y(beta) }),
        ];
  const chart = svg(
    'svg',
    {
      viewBox: `0 0 ${WIDE} ${high}`,
      class: 'trigger',
      role: 'img',
      preserveAspectRatio: 'none',
      'aria-label': 'Flow into each token, as the trigger compares it',
    },
    ...bars,
    ...lines,
  );
  chart.addEventListener('click', (event) => {
    const box = chart.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    pick(Math.min(values.length - 1, Math.max(0, Math.floor(share * values.length))));
  });
  return chart;
}
