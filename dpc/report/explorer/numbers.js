// The arithmetic of the page: codes back to numbers, and what is read off them. Nothing here touches the page.
// Axes of a case's arrays: L layer, T rationale token, N prompt vector, K contributor; the last axis is fastest.

/**
 * @typedef {{study: string, model: string, dataset: string, recipe: string, seed: number, layers: number,
 *   vectors: number, shallow: number[], deep: number[], band: number[], kappa: number, baseline: string,
 *   granularity: string, min_tokens: number, share: number | null, rule: string, fires_by: string, sections: [string, string][],
 *   per_decade: number, contributors: number, plans: [string, string][], words: string[][]}} About
 * @typedef {{unprompted: string, base: string, caused: string, plans: string[]}} Verdicts
 * @typedef {{[test: string]: {[target: string]: number}}} Causes
 * @typedef {{block: string, largest: number[], beta: number | null, latter: number | null}} Coded
 * @typedef {{pieces: string[], extracted: string | null, stop: string}} Answer
 * @typedef {[number, number, number, number[]]} Planned  answer, fired, right, masked vectors
 * @typedef {{id: string, question: string, gold: string, unprompted: boolean, right: boolean, eligible: boolean,
 *   share: number, s_ifp: number | null, nll: number, tokens: number, located: number,
 *   z: number | null, answers: Answer[], plans: (Planned | null)[], causes: Causes | null}} Case
 * @typedef {{about: About, cell: Verdicts, texts: string, numbers: Coded[]}} Data
 * @typedef {{[name: string]: Float64Array}} Arrays
 * @typedef {{arrays: Arrays, contributors: Uint16Array, affected: Uint8Array, tokens: number, layers: number,
 *   vectors: number, kept: number}} Numbers
 * @typedef {'flow' | 'share' | 'attention'} Measure
 */

const LARGEST_CODE = 255;

/**
 * Compressed bytes, written as base64.
 * @param {string} text
 * @returns {Promise<Uint8Array>}
 */
async function inflate(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * Undo differences of codes, modulo 256: each is to the one `back` places before it, where there is one.
 * @param {Uint8Array} codes
 * @param {number} back
 * @param {number} [row]  Length of rows that begin anew.
 */
function summed(codes, back, row = codes.length) {
  for (let at = 0; at < codes.length; at += 1) {
    if (at % row >= back) codes[at] += codes[at - back];
  }
}

/**
 * The numbers of a case.
 * @param {Uint8Array} bytes
 * @param {About} about
 * @param {number} tokens
 * @param {number[]} largest  The largest number of each section.
 * @returns {Numbers}
 */
function decoded(bytes, about, tokens, largest) {
  const kept = about.contributors;
  const sizes = { L: about.layers, T: tokens, N: about.vectors, K: kept };
  /** @type {{[name: string]: Uint8Array}} */
  const codes = {};
  let at = 0;
  for (const [name, axes] of about.sections) {
    const size = [...axes].reduce((product, axis) => product * sizes[/** @type {'L'} */ (axis)], 1);
    codes[name] = bytes.slice(at, at + size);
    at += size;
  }
  summed(codes.flow, tokens);
  summed(codes.attention, 1, tokens);
  summed(codes.contribution, kept);
  codes.total = codes.total.map((code, place) => code + codes.flow[place]);
  /** @type {Arrays} */
  const arrays = {};
  about.sections.forEach(([name], place) => {
    const scale = powers(about.per_decade, largest[place]);
    arrays[name] = Float64Array.from(codes[name], (code) => scale[code]);
  });
  const places = tokens * kept;
  const contributors = Uint16Array.from({ length: places }, (_, k) => bytes[at + k] + 256 * bytes[at + places + k]);
  const affected = bytes.slice(at + 2 * places);
  return { arrays, contributors, affected, tokens, kept, layers: about.layers, vectors: about.vectors };
}

/**
 * The number that each code stands for.
 * @param {number} perDecade
 * @param {number} largest
 * @returns {Float64Array}
 */
function powers(perDecade, largest) {
  return Float64Array.from({ length: LARGEST_CODE + 1 }, (_, code) =>
    code === 0 ? 0 : largest * 10 ** ((code - LARGEST_CODE) / perDecade),
  );
}

/**
 * Sum of an array [L, T] over layers `first` to `last`, for token `t`.
 * @param {Numbers} numbers
 * @param {string} name
 * @param {number} t
 * @param {number} first
 * @param {number} last
 */
function overLayers(numbers, name, t, first, last) {
  let total = 0;
  for (let layer = first; layer <= last; layer += 1) total += numbers.arrays[name][layer * numbers.tokens + t];
  return total;
}

/**
 * What a measure says of token `t` over layers `first` to `last`. flow: mean saliency per layer and prompt vector.
 * share: the prompt's part of all saliency into the token. attention: mean attention to the prompt.
 * @param {Numbers} numbers
 * @param {Measure} measure
 * @param {number} t
 * @param {number} first
 * @param {number} last
 */
function valueAt(numbers, measure, t, first, last) {
  if (measure === 'attention') return overLayers(numbers, 'attention', t, first, last) / (last - first + 1);
  const flow = overLayers(numbers, 'flow', t, first, last);
  if (measure === 'flow') return flow / ((last - first + 1) * numbers.vectors);
  const total = overLayers(numbers, 'total', t, first, last);
  return total > 0 ? Math.min(flow / total, 1) : 0;
}

/**
 * What a measure says of each token.
 * @param {Numbers} numbers
 * @param {Measure} measure
 * @param {number} first
 * @param {number} last
 */
function valuesOf(numbers, measure, first, last) {
  return Array.from({ length: numbers.tokens }, (_, t) => valueAt(numbers, measure, t, first, last));
}

/**
 * A measure layer by layer: of one token, or the mean over all where `t` is -1.
 * @param {Numbers} numbers
 * @param {Measure} measure
 * @param {number} t
 */
function byLayer(numbers, measure, t) {
  return Array.from({ length: numbers.layers }, (_, layer) =>
    t >= 0 ? valueAt(numbers, measure, t, layer, layer) : mean(valuesOf(numbers, measure, layer, layer)),
  );
}

/**
 * What a measure says of the question's tokens on average; the tables hold no share for them, and no single tokens.
 * @param {Numbers} numbers
 * @param {Measure} measure
 * @param {number} first
 * @param {number} last
 * @returns {number | null}
 */
function ofQuestion(numbers, measure, first, last) {
  if (measure === 'share') return null;
  const layers = numbers.arrays[measure === 'flow' ? 'question' : 'question_attention'].slice(first, last + 1);
  return mean(layers) / (measure === 'flow' ? numbers.vectors : 1);
}

/**
 * The vectors with the most saliency into token `t`, each with its part of the prompt's; and the part of all others.
 * @param {Numbers} numbers
 * @param {number} t
 */
function contributionsTo(numbers, t) {
  const whole = numbers.arrays.received[t];
  const parts = [];
  for (let at = t * numbers.kept; at < (t + 1) * numbers.kept; at += 1) {
    const part = whole > 0 ? numbers.arrays.contribution[at] / whole : 0;
    parts.push({ vector: numbers.contributors[at], part });
  }
  const told = parts.reduce((sum, one) => sum + one.part, 0);
  return { parts, others: numbers.vectors > numbers.kept ? Math.max(0, 1 - told) : 0 };
}

/**
 * The first place where two answers differ; -1 where they are the same.
 * @param {string[]} one
 * @param {string[]} other
 */
function firstDifference(one, other) {
  const shorter = Math.min(one.length, other.length);
  for (let at = 0; at < shorter; at += 1) if (one[at] !== other[at]) return at;
  return one.length === other.length ? -1 : shorter;
}

/** @param {ArrayLike<number>} values */
function mean(values) {
  let total = 0;
  for (let at = 0; at < values.length; at += 1) total += values[at];
  return values.length ? total / values.length : 0;
}
