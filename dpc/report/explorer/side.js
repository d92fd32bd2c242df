// Beside the case: colours and layers to choose, the token that is looked at, the trigger, the prompt's vectors.

function side() {
  return [
    el(
      'section',
      { id: 'colour' },
      el('h3', { text: 'Colour' }),
      el('div', { id: 'measures', role: 'group', 'aria-label': 'Colour shows' }),
      el('p', { id: 'measure-note', class: 'note' }),
      el('div', { id: 'legend', class: 'legend' }),
    ),
    el(
      'section',
      { id: 'layers' },
      el('h3', { id: 'layers-title', text: 'Layers' }),
      el('div', { id: 'curve' }),
      el('div', { id: 'band', class: 'band-slider' }),
      el('div', { id: 'presets', class: 'presets' }),
    ),
    el('section', { id: 'token-box' }, el('h3', { id: 'token-title', text: 'Token' }), el('div', { id: 'token' })),
    el(
      'section',
      { id: 'trigger-box' },
      el('h3', { text: 'Trigger' }),
      el('div', { id: 'trigger' }),
      el('p', { id: 'trigger-note', class: 'note' }),
    ),
    el(
      'section',
      { id: 'vectors-box' },
      el('h3', { text: 'Prompt vectors' }),
      el('div', { id: 'vectors' }),
      el('p', { id: 'vector-note', class: 'note' }),
    ),
  ];
}

/** @param {Page} page */
function drawNumbers(page) {
  if (!page.numbers) return;
  drawMeasures(page);
  drawSlider(page);
  drawColours(page);
  drawToken(page);
  drawVectors(page);
}

/** @param {Page} page */
function drawMeasures(page) {
  byId('measures').replaceChildren(
    ...MEASURES.map(([name, label]) =>
      el('button', {
        type: 'button',
        class: 'segment',
        'data-measure': name,
        'aria-pressed': String(name === page.state.show),
        text: label,
        onclick: () => page.show(name),
      }),
    ),
  );
  const chosen = MEASURES.find(([name]) => name === page.state.show) ?? MEASURES[0];
  byId('measure-note').textContent = `${chosen[1]}: ${chosen[2]}.`;
}

/** @param {Page} page */
function drawSlider(page) {
  const last = page.data.about.layers - 1;
  const ends = ['First layer', 'Last layer'].map((label, end) =>
    el('input', {
      type: 'range',
      min: 0,
      max: last,
      step: 1,
      value: page.state.layers[end],
      'aria-label': label,
      id: end ? 'last-layer' : 'first-layer',
      oninput: (event) => page.moveBand(end, Number(/** @type {HTMLInputElement} */ (event.target).value)),
    }),
  );
  byId('band').replaceChildren(...ends);
  const { deep, shallow } = page.data.about;
  /** @type {[string, number[]][]} */
  const presets = [
    ['deep', deep],
    ['shallow', shallow],
    ['all', [0, last]],
  ];
  byId('presets').replaceChildren(
    ...presets.map(([name, band]) =>
      el('button', {
        type: 'button',
        class: 'plain',
        'data-band': name,
        text: `${name} ${band[0]}–${band[1]}`,
        onclick: () => page.setBand(band),
      }),
    ),
  );
}

/**
 * Colours of all tokens under the chosen measure and layers, the ramp's ends, and the curve.
 * @param {Page} page
 */
function drawColours(page) {
  const { state, numbers } = page;
  if (!numbers) return;
  const [first, last] = state.layers;
  const values = valuesOf(numbers, state.show, first, last);
  const asked = ofQuestion(numbers, state.show, first, last);
  const largest = Math.max(...values, asked ?? 0);
  for (const token of byId('answer').querySelectorAll('.token')) {
    const one = /** @type {HTMLElement} */ (token);
    paint(one, place(state.show, values[Number(one.dataset.t)], largest));
  }
  const box = byId('question');
  if (asked === null) box.removeAttribute('style');
  else paint(box, place(state.show, asked, largest));
  byId('question-note').textContent =
    asked === null
      ? 'Not coloured: the tables hold no share for question tokens.'
      : `One colour: the mean over its tokens, ${significant(asked)}. The tables hold no single question tokens.`;
  drawLegend(state.show, largest);
  drawCurve(page);
}

/**
 * @param {Measure} measure
 * @param {number} largest
 */
function drawLegend(measure, largest) {
  const steps = Array.from({ length: 24 }, (_, at) => {
    const step = el('span', { class: 'step' });
    step.style.backgroundColor = shade(at / 23).back;
    return step;
  });
  const middle = measure === 'flow' ? largest / 4 : largest / 2;
  const ends = [0, middle, largest].map((value) => el('span', { text: spelled(measure, value) }));
  byId('legend').replaceChildren(
    el('div', { class: 'steps', 'aria-hidden': 'true' }, ...steps),
    el('div', { class: 'ends' }, ...ends),
  );
}

/**
 * @param {Measure} measure
 * @param {number} value
 */
function spelled(measure, value) {
  return measure === 'flow' ? significant(value) : `${significant(100 * value)} %`;
}

/** @param {Page} page */
function drawCurve(page) {
  const { state, numbers } = page;
  if (!numbers) return;
  const whose = page.looked >= 0 ? `token ${page.looked + 1}` : 'mean over the answer';
  const values = byLayer(numbers, state.show, page.looked);
  const label = MEASURES.find(([name]) => name === state.show)?.[1] ?? '';
  byId('curve').replaceChildren(
    layerCurve(
      values,
      state.layers,
      `${label} by layer, ${whose}; largest ${spelled(state.show, Math.max(...values))}`,
    ),
    el(
      'div',
      { class: 'ends' },
      el('span', { text: '0' }),
      el('span', { text: whose }),
      el('span', { text: String(numbers.layers - 1) }),
    ),
  );
  byId('layers-title').textContent = `Layers ${state.layers[0]} to ${state.layers[1]}`;
}

/** @param {Page} page */
function drawToken(page) {
  const { numbers, looked: t } = page;
  if (!numbers) return;
  const coded = page.data.numbers[page.at];
  const box = byId('answer');
  for (const token of box.querySelectorAll('[aria-selected], .looked')) token.classList.remove('looked');
  for (const token of box.querySelectorAll('.token'))
    token.setAttribute(
      'aria-selected',
      String(Number(/** @type {HTMLElement} */ (token).dataset.t) === page.state.token),
    );
  if (page.state.token >= 0) box.setAttribute('aria-activedescendant', `t${page.state.token}`);
  else box.removeAttribute('aria-activedescendant');
  if (t >= 0) document.getElementById(`t${t}`)?.classList.add('looked');
  byId('token-title').textContent = t >= 0 ? `Token ${t + 1} of ${numbers.tokens}` : 'Token';
  byId('token').replaceChildren(
    ...(t >= 0
      ? tokenNumbers(page, numbers, t)
      : [el('p', { class: 'note', text: 'Point at a token of prompt tuning’s answer, or tap it.' })]),
  );
  drawTrigger(page, numbers, coded, t);
}

/**
 * @param {Page} page
 * @param {Numbers} numbers
 * @param {number} t
 */
function tokenNumbers(page, numbers, t) {
  const [first, last] = page.state.layers;
  const coded = page.data.numbers[page.at];
  /** @type {[string, string, string][]} */
  const rows = MEASURES.map(([name, label]) => [name, label, spelled(name, valueAt(numbers, name, t, first, last))]);
  rows.push(
    ['nll', 'NLL', significant(numbers.arrays.nll[t])],
    ['entropy', 'Entropy', significant(numbers.arrays.entropy[t])],
  );
  if (coded.beta) {
    const ratio = significant(numbers.arrays.compared[t] / coded.beta);
    rows.push(['beta', 'Trigger', `${ratio} × β${numbers.affected[t] ? ', affected' : ''}`]);
  }
  const { parts, others } = contributionsTo(numbers, t);
  const told = parts
    .filter((one) => one.part > 0)
    .map((one) => el('li', {}, el('b', { text: `p${one.vector}` }), ` ${percent(one.part)}`));
  if (others > 0.005) told.push(el('li', { text: `others ${percent(others)}` }));
  const [from, to] = page.data.about.band;
  return [
    el('p', {
      class: 'piece',
      text: page.cases[page.at].answers[0].pieces[t] || unseen(page.cases[page.at].answers[0], t),
    }),
    el(
      'dl',
      { class: 'facts' },
      ...rows.flatMap(([name, label, value]) => [
        el('dt', { text: label }),
        el('dd', { text: value, 'data-fact': name }),
      ]),
    ),
    el('p', { class: 'note', text: `From which vectors (layers ${from} to ${to}):` }),
    el('ul', { class: 'parts-list', id: 'contributors' }, ...told),
  ];
}

/**
 * @param {Page} page
 * @param {Numbers} numbers
 * @param {Coded} coded
 * @param {number} t
 */
function drawTrigger(page, numbers, coded, t) {
  byId('trigger').replaceChildren(triggerChart(numbers, coded, t, (token) => page.pick(token)));
  byId('trigger-note').textContent = triggerSaid(page.cases[page.at], page.data.about, numbers, coded);
}

/** @type {{[baseline: string]: string}} */
const USUAL = {
  former: "the former half's mean",
  constant: 'the mean of right calibration answers',
  detrend: "the former half's mean, all divided by what is usual at their place",
};

/**
 * @param {Case} one
 * @param {About} about
 * @param {Numbers} numbers
 * @param {Coded} coded
 */
function triggerSaid(one, about, numbers, coded) {
  if (coded.beta === null) return 'Nothing to compare with: the answer has no former half, or no baseline was fitted.';
  const affected = numbers.affected.reduce((sum, is) => sum + is, 0);
  const limit = about.share === null ? 'no R gains on calibration: DPC never fires here' : `R ${percent(about.share)}`;
  const why = one.eligible ? '' : ` DPC may not fire: fewer than ${about.min_tokens} tokens, or no answer.`;
  const usual = USUAL[about.baseline];
  const also = about.fires_by === 'share' ? '' : ' Accumulation has to be significant, too.';
  const what = about.granularity === 'step' ? ', as means of steps,' : '';
  return `${affected} of ${numbers.tokens - (coded.latter ?? 0)} latter tokens${what} lie above β = ${about.kappa} × ${usual} (${significant(coded.beta)}). Affected share ${percent(one.share)}; ${limit}.${also}${why}`;
}

/** @param {Page} page */
function drawVectors(page) {
  const { numbers, looked } = page;
  if (!numbers) return;
  const one = page.cases[page.at];
  const masked = one.plans[page.plan]?.[3] ?? [];
  const values = numbers.arrays.column;
  const largest = Math.max(...values) || 1;
  const given = new Map(
    looked >= 0 ? contributionsTo(numbers, looked).parts.map((part) => [part.vector, part.part]) : [],
  );
  const most = Math.max(...given.values(), 1e-9);
  const bars = Array.from(values, (value, j) => {
    const bar = el('span', {
      role: 'option',
      id: `v${j}`,
      class: `vector${j === one.located ? ' located' : ''}${masked.includes(j) ? ' masked' : ''}`,
      'aria-selected': String(j === page.vector),
      'aria-label': `p${j}`,
    });
    const height = el('span', { class: 'height' });
    height.style.height = `${(100 * value) / largest}%`;
    const part = el('span', { class: 'given' });
    part.style.height = `${(100 * (given.get(j) ?? 0)) / most}%`;
    bar.append(height, part);
    bar.dataset.j = String(j);
    return bar;
  });
  const box = el(
    'div',
    {
      id: 'strip',
      class: 'strip',
      role: 'listbox',
      tabindex: 0,
      'aria-label': 'Prompt vectors by c',
      'aria-orientation': 'horizontal',
      'aria-activedescendant': `v${page.vector}`,
    },
    ...bars,
  );
  /** @param {Event} event */
  const under = (event) =>
    Number(
      /** @type {HTMLElement | null} */ (/** @type {HTMLElement} */ (event.target).closest('.vector'))?.dataset.j ??
        page.vector,
    );
  box.addEventListener('pointerover', (event) => sayVector(page, under(event)));
  box.addEventListener('pointerleave', () => sayVector(page, page.vector));
  box.addEventListener('click', (event) => page.pickVector(under(event)));
  box.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    page.pickVector(Math.min(Math.max(page.vector + step, 0), values.length - 1));
  });
  const near = page.data.about.words.map((words) => words[0] ?? '');
  const isNamed = values.length <= 12 && near.some(Boolean);
  const words = isNamed ? [el('div', { class: 'words' }, ...near.map((text) => el('span', { text })))] : [];
  byId('vectors').replaceChildren(box, ...words);
  sayVector(page, page.vector);
}

/**
 * @param {Page} page
 * @param {number} j
 */
function sayVector(page, j) {
  const { numbers } = page;
  if (!numbers) return;
  const one = page.cases[page.at];
  const sum = numbers.arrays.column.reduce((total, value) => total + value, 0);
  const masked = one.plans[page.plan]?.[3] ?? [];
  const facts = [
    `p${j}: c = ${significant(numbers.arrays.column[j])}, ${percent(sum > 0 ? numbers.arrays.column[j] / sum : 0)} of all`,
  ];
  if (j === one.located) facts.push(`located, z = ${one.z === null ? '–' : one.z.toFixed(1)}`);
  if (masked.includes(j)) facts.push(`masked by ${page.data.about.plans[page.plan][1]}`);
  const near = page.data.about.words[j].map((word) => `“${word}”`).join(' ');
  byId('vector-note').textContent = `${facts.join('; ')}.${near && ` Nearest tokens: ${near}.`}`;
}
