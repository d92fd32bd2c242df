// What was changed in a case, and what came of it: curves and numbers of table `causal`.

/**
 * A section for every test that was made on the case; one line where none was; nothing where the cell has none.
 * @param {Page} page
 * @param {Case} one
 * @returns {HTMLElement[]}
 */
function causes(page, one) {
  const caused = [...page.data.cell.caused].filter((digit) => digit === '1').length;
  if (caused === 0) return [];
  const found = one.causes;
  if (!found) {
    const text = `Nothing was changed here: this is not one of the ${whole(caused)} questions intervened on.`;
    return [cause('Causes', el('p', { class: 'note', id: 'no-causes', text }))];
  }
  const parts = [];
  if (found.mask) parts.push(masks(found, one));
  if (found.dose_loss) parts.push(doses(found, one));
  if (found.cut_loss) parts.push(cuts(found));
  if (found.path) parts.push(path(found.path));
  if (found.divergence) parts.push(parting(found.divergence, one));
  if (found.sink_mask) parts.push(sinks(found.sink_mask));
  return parts;
}

/**
 * @param {string} title
 * @param {Node[]} parts
 */
function cause(title, ...parts) {
  return el('section', { class: 'cause' }, el('h3', { text: title }), ...parts);
}

/** @param {number} value */
function signed(value) {
  const sign = value > 0 ? '+' : value < 0 ? '−' : '';
  return `${sign}${significant(Math.abs(value))}`;
}

/** @param {number | undefined} value  1 or 0 */
function rightOrWrong(value) {
  if (value === undefined) return '–';
  return value ? '✓ right' : '✗ wrong';
}

/**
 * @param {string} name  What the table says, for those who do not see it.
 * @param {string[]} titles
 * @param {string[][]} rows
 */
function numbersTable(name, titles, rows) {
  const head = titles.map((text, column) => el('th', { scope: 'col', class: column ? 'number' : '', text }));
  const body = rows.map(([first, ...rest]) =>
    el('tr', {}, el('th', { scope: 'row', text: first }), ...rest.map((text) => el('td', { class: 'number', text }))),
  );
  return el(
    'div',
    { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': name },
    el('table', {}, el('thead', {}, el('tr', {}, ...head)), el('tbody', {}, ...body)),
  );
}

/**
 * @param {string} name
 * @param {string[]} titles
 * @param {string[][]} rows
 */
function asNumbers(name, titles, rows) {
  return el('details', {}, el('summary', { text: 'As numbers' }), numbersTable(name, titles, rows));
}

/** @type {[string, string][]} */
const MEASURES_OF_VECTORS = [
  ['saliency', 'c'],
  ['attention', 'attention'],
  ['value_flow', 'value flow'],
  ['gradient', 'gradient × vector'],
  ['norm', 'norm'],
];

/**
 * Every vector masked in turn.
 * @param {Causes} found
 * @param {Case} one
 */
function masks(found, one) {
  const effects = Object.keys(found.mask).map((_, j) => found.mask[j]);
  const worst = effects.indexOf(Math.max(...effects));
  const agreement = found.agreement ?? {};
  const ranks = MEASURES_OF_VECTORS.filter(([name]) => name in agreement).map(
    ([name, label]) => `${label} ${agreement[name].toFixed(2).replace('-', '−')}`,
  );
  const most =
    effects[worst] > 0
      ? `Masking p${worst} costs most, ${signed(effects[worst])} nats per token of the answer.`
      : 'No vector is missed: the answer’s loss rises under no mask.';
  const told = `${most} Located: p${one.located}, ${signed(effects[one.located])}.`;
  const ranked = ranks.length ? ` Rank correlation with these bars: ${ranks.join(', ')}.` : '';
  const rows = effects.map((value, j) => [`p${j}${j === one.located ? ', located' : ''}`, signed(value)]);
  return cause(
    'Each vector masked: change of the answer’s loss',
    effectBars(effects, one.located, told),
    el('p', { class: 'note', id: 'mask-note', text: told + ranked }),
    asNumbers('Change of the loss with each vector masked', ['Vector', 'Nats per token'], rows),
  );
}

/**
 * Bars up from the line where the loss rises, down where it falls.
 * @param {number[]} effects
 * @param {number} located
 * @param {string} label
 */
function effectBars(effects, located, label) {
  const high = 64;
  const top = Math.max(...effects, 0);
  const range = top - Math.min(...effects, 0) || 1;
  const step = WIDE / effects.length;
  /** @param {number} value */
  const y = (value) => 2 + ((top - value) / range) * (high - 4);
  const bars = effects.map((value, j) =>
    svg(
      'rect',
      {
        class: `bar${j === located ? ' located' : ''}`,
        x: (j * step + step * 0.08).toFixed(2),
        y: Math.min(y(value), y(0)).toFixed(2),
        width: (step * 0.84).toFixed(2),
        height: Math.max(Math.abs(y(value) - y(0)), 0.6).toFixed(2),
      },
      svg('title', { text: `p${j}: ${signed(value)}` }),
    ),
  );
  return svg(
    'svg',
    {
      viewBox: `0 0 ${WIDE} ${high}`,
      class: 'effects',
      role: 'img',
      preserveAspectRatio: 'none',
      'aria-label': `Change of the loss with each vector masked. ${label}`,
    },
    ...bars,
    svg('line', { class: 'zero', x1: 0, x2: WIDE, y1: y(0).toFixed(2), y2: y(0).toFixed(2) }),
  );
}

/** @type {[string, string, string][]} */
const DOSED = [
  ['located', 'located vector × dose', 'located ×'],
  ['random', 'another vector × dose', 'another ×'],
  ['noise', 'located vector, as much noise', 'noise as at'],
];

/**
 * What each dose did to one kind of vector; at dose 1 nothing is changed.
 * @param {Causes} found
 * @param {Case} one
 * @param {string} what
 */
function doseCurve(found, one, what) {
  const points = Object.entries(found.dose_loss)
    .filter(([target]) => target.startsWith(`${what}:`))
    .map(([target, loss]) => ({ dose: Number(target.split(':')[1]), loss, right: found.dose_right?.[target] }));
  if (!points.length) return [];
  const right = found.dose_right && what !== 'noise' ? Number(one.right) : undefined;
  return [...points, { dose: 1, loss: 0, right }].sort((a, b) => a.dose - b.dose);
}

/**
 * Doses of the located and another vector: loss as curves, answers as marks.
 * @param {Causes} found
 * @param {Case} one
 */
function doses(found, one) {
  const curves = DOSED.map(([name, label, short]) => ({
    name,
    label,
    short,
    points: doseCurve(found, one, name),
  })).filter((curve) => curve.points.length);
  const rows = curves.flatMap(({ short, points }) =>
    points.map(({ dose, loss, right }) => [`${short} ${dose}`, signed(loss), rightOrWrong(right)]),
  );
  const legend = curves.map(({ name, label }) =>
    el(
      'span',
      {},
      svg('svg', { viewBox: '0 0 22 8', class: 'sample' }, svg('path', { class: name, d: 'M0 4H22' })),
      label,
    ),
  );
  return cause(
    'Dose of a vector: change of the answer’s loss',
    doseChart(curves),
    el('div', { class: 'key', id: 'dose-key' }, ...legend, el('span', { text: '● answers right  ○ wrong' })),
    asNumbers('Change of the loss and new answer by dose', ['Prompt', 'Nats per token', 'Answer'], rows),
  );
}

/** @param {{name: string, label: string, points: {dose: number, loss: number, right?: number}[]}[]} curves */
function doseChart(curves) {
  const high = 128;
  const box = { left: 64, right: WIDE - 8, top: 8, bottom: high - 20 };
  const losses = curves.flatMap(({ points }) => points.map(({ loss }) => loss));
  const [low, top] = [Math.min(...losses), Math.max(...losses)];
  const range = top - low || 1;
  const last = Math.max(...curves.flatMap(({ points }) => points.map(({ dose }) => dose)));
  /** @param {number} dose */
  const x = (dose) => box.left + (dose / last) * (box.right - box.left);
  /** @param {number} loss */
  const y = (loss) => box.top + ((top - loss) / range) * (box.bottom - box.top);
  const drawn = curves.flatMap(({ name, points }) => [
    svg('path', {
      class: name,
      d: points.map(({ dose, loss }, at) => `${at ? 'L' : 'M'}${at2(x(dose))} ${at2(y(loss))}`).join(''),
    }),
    ...points
      .filter(({ right }) => right !== undefined)
      .map(({ dose, loss, right }) =>
        svg('circle', { class: `${name}${right ? '' : ' wrong'}`, cx: at2(x(dose)), cy: at2(y(loss)), r: 3.2 }),
      ),
  ]);
  const ticks = [0, 0.5, 1, 1.5].filter((dose) => dose <= last);
  const clear = y(0) - y(top) > 12 && y(low) - y(0) > 12;
  const levels = [...new Set([top, ...(clear ? [0] : []), low])];
  const told = curves.map(({ label, points }) => {
    const worst = points.reduce((most, point) => (Math.abs(point.loss) > Math.abs(most.loss) ? point : most));
    return `${label}: at most ${signed(worst.loss)} at dose ${worst.dose}`;
  });
  return svg(
    'svg',
    {
      viewBox: `0 0 ${WIDE} ${high}`,
      class: 'doses',
      role: 'img',
      'aria-label': `Change of the loss by dose. ${told.join('; ')}.`,
    },
    svg('line', { class: 'zero', x1: box.left, x2: box.right, y1: at2(y(0)), y2: at2(y(0)) }),
    ...ticks.map((dose) => svg('text', { x: x(dose), y: high - 5, 'text-anchor': 'middle', text: String(dose) })),
    ...levels.map((loss) => svg('text', { x: box.left - 7, y: y(loss) + 4, 'text-anchor': 'end', text: signed(loss) })),
    ...drawn,
  );
}

/** @param {number} value */
function at2(value) {
  return value.toFixed(2);
}

/** @param {Causes} found */
function cuts(found) {
  const rows = Object.keys(found.cut_loss).map((target) => {
    const [band, what] = target.split(':');
    const gold = found.cut_gold?.[target];
    return [
      `${what}, ${band}`,
      signed(found.cut_loss[target]),
      gold === undefined ? '–' : signed(gold),
      rightOrWrong(found.cut_right?.[target]),
    ];
  });
  return cause(
    'Knock-out: the latter half does not see …',
    numbersTable('Knock-out', ['Hidden, layers', 'Loss', 'log P(gold)', 'Answer'], rows.sort()),
    el('p', {
      class: 'note',
      text: 'Changes: loss of the latter half in nats per token, log P of the gold answer in nats. As many question tokens are hidden for comparison.',
    }),
  );
}

/** @param {{[target: string]: number}} odds */
function path(odds) {
  const { own, ...others } = odds;
  const rows = Object.entries(others).map(([band, value]) => [`${band} layers`, signed(value), signed(value - own)]);
  return cause(
    'Path: the prompt’s states from another seed’s prompt',
    numbersTable('Path', ['Taken over', 'Log-odds', 'Change'], [['none', signed(own), '–'], ...rows]),
    el('p', { class: 'note', text: 'Log P of the answer without the prompt, which is right, less log P of this one.' }),
  );
}

/**
 * @param {{[target: string]: number}} found
 * @param {Case} one
 */
function parting(found, one) {
  const t = found.place;
  const here = one.answers[0].pieces[t] || unseen(one.answers[0], t);
  const [mended, spoiled] = [found.prompted === 1, found.unprompted === 0];
  const text =
    `The answers with and without the prompt part at token ${t + 1}, here “${here}”. With the other’s token forced there, ` +
    `the prompted answer ${mended ? 'goes right' : 'stays wrong'}; with this one forced, the answer without the prompt ` +
    `${spoiled ? 'goes wrong' : 'stays right'}.`;
  return cause('First divergence', el('p', { class: 'note', id: 'divergence', text }));
}

/** @param {{[target: string]: number}} found */
function sinks(found) {
  const orders = [...new Set(Object.keys(found).map((target) => target.split(':')[0]))];
  const rows = orders.map((order) => [
    order.replace('_', ' '),
    signed(found[`${order}:plain`]),
    signed(found[`${order}:extra`]),
  ]);
  return cause(
    'Sink: the first vector masked',
    numbersTable('Sink', ['Order', 'As it is', 'Neutral token first'], rows),
    el('p', { class: 'note', text: 'Change of the answer’s loss, nats per token.' }),
  );
}
