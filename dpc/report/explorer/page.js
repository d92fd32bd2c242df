// The page itself: what is chosen, what a choice draws anew, keys, and the beginning.

class Page {
  /**
   * @param {Data} data
   * @param {Case[]} cases
   */
  constructor(data, cases) {
    this.data = data;
    this.cases = cases;
    this.state = fromAddress(location.hash.slice(1), data.about);
    /** @type {number[]} */
    this.order = [];
    this.at = 0;
    this.plan = 0;
    /** @type {Numbers | null} */
    this.numbers = null;
    this.looked = -1;
    this.vector = 0;
  }

  /** Draw everything by the state. */
  async draw() {
    this.plan = this.data.about.plans.findIndex(([name]) => name === this.state.plan);
    this.order = listed(this.cases, this.data.cell, this.plan, this.state);
    const wanted = this.cases.findIndex((one) => one.id === this.state.id);
    this.at = wanted >= 0 ? wanted : (this.order[0] ?? 0);
    this.state.id = this.cases[this.at].id;
    /** @type {HTMLSelectElement} */ (byId('plan')).value = this.state.plan;
    /** @type {HTMLSelectElement} */ (byId('sort')).value = this.state.sort;
    const find = /** @type {HTMLInputElement} */ (byId('find'));
    if (find.value !== this.state.find) find.value = this.state.find;
    drawFilters(this);
    drawList(this);
    await this.drawCase();
  }

  async drawCase() {
    const at = this.at;
    const one = this.cases[at];
    const coded = this.data.numbers[at];
    if (this.state.token >= one.tokens) this.state.token = -1;
    this.looked = this.state.token;
    this.vector = one.located;
    this.remember();
    const bytes = await inflate(coded.block);
    if (at !== this.at) return; // another case was asked for meanwhile
    this.numbers = decoded(bytes, this.data.about, one.tokens, coded.largest);
    drawCase(this);
    document.documentElement.dataset.shown = one.id;
  }

  remember() {
    history.replaceState(null, '', toAddress(this.state, this.data.about));
  }

  /** @param {number} at */
  open(at) {
    this.at = at;
    this.state.id = this.cases[at].id;
    this.state.token = -1;
    markCurrent(this);
    return this.drawCase();
  }

  /** @param {number} by */
  step(by) {
    if (!this.order.length) return;
    const place = this.order.indexOf(this.at);
    const next = place < 0 ? 0 : Math.min(Math.max(place + by, 0), this.order.length - 1);
    this.open(this.order[next]);
  }

  /** The list has changed: keep the case where it is still listed, else open the first. */
  relist() {
    this.order = listed(this.cases, this.data.cell, this.plan, this.state);
    if (this.order.length && !this.order.includes(this.at)) this.state.id = this.cases[this.order[0]].id;
    return this.draw();
  }

  /** @param {string} name */
  toggle(name) {
    const { only } = this.state;
    this.state.only = only.includes(name) ? only.filter((one) => one !== name) : [...only, name];
    this.relist().then(() => focusAgain(`[data-filter="${name}"]`));
  }

  /** @param {string} name */
  choosePlan(name) {
    this.state.plan = name;
    this.plan = this.data.about.plans.findIndex(([one]) => one === name);
    const inTable = document.activeElement?.hasAttribute('data-plan');
    this.relist().then(() => inTable && focusAgain(`[data-plan="${name}"]`));
  }

  /** @param {Measure} measure */
  show(measure) {
    this.state.show = measure;
    this.remember();
    drawMeasures(this);
    focusAgain(`[data-measure="${measure}"]`);
    this.recolour();
  }

  /**
   * An end of the band was moved; the other end goes along where it would be passed.
   * @param {number} end
   * @param {number} layer
   */
  moveBand(end, layer) {
    const band = [...this.state.layers];
    band[end] = layer;
    band[1 - end] = end ? Math.min(band[0], layer) : Math.max(band[1], layer);
    this.setBand(band);
  }

  /** @param {number[]} band */
  setBand(band) {
    this.state.layers = band;
    this.remember();
    for (const [end, id] of ['first-layer', 'last-layer'].entries()) {
      const input = /** @type {HTMLInputElement} */ (byId(id));
      if (Number(input.value) !== band[end]) input.value = String(band[end]);
    }
    this.recolour();
  }

  recolour() {
    drawColours(this);
    drawToken(this);
  }

  /** @param {number} t */
  look(t) {
    const looked = t >= 0 ? t : this.state.token;
    if (looked === this.looked) return;
    this.looked = looked;
    drawToken(this);
    drawCurve(this);
    drawVectors(this);
  }

  /** @param {number} t */
  pick(t) {
    this.state.token = t;
    this.looked = -2;
    this.remember();
    this.look(t);
  }

  /** @param {number} j */
  pickVector(j) {
    this.vector = j;
    drawVectors(this);
    byId('strip').focus();
  }
}

/** @param {string} selector */
function focusAgain(selector) {
  const found = document.querySelector(selector);
  if (found instanceof HTMLElement) found.focus();
}

/** @param {Page} page */
function listenToKeys(page) {
  const help = /** @type {HTMLDialogElement} */ (byId('help'));
  const find = byId('find');
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    if (event.target instanceof HTMLInputElement && event.target.type === 'search') {
      if (event.key === 'Escape') find.blur();
      return;
    }
    /** @type {{[key: string]: () => void}} */
    const keys = {
      j: () => page.step(1),
      k: () => page.step(-1),
      '/': () => find.focus(),
      '?': () => help.showModal(),
      Escape: () => page.pick(-1),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  byId('help-button').addEventListener('click', () => help.showModal());
}

/** @param {Page} page */
function listenToChoices(page) {
  const { about } = page.data;
  byId('plan').append(...about.plans.map(([name, label]) => el('option', { value: name, text: label })));
  byId('sort').append(...SORTS.map(([name, label]) => el('option', { value: name, text: label })));
  byId('plan').addEventListener('change', (event) =>
    page.choosePlan(/** @type {HTMLSelectElement} */ (event.target).value),
  );
  byId('sort').addEventListener('change', (event) => {
    page.state.sort = /** @type {HTMLSelectElement} */ (event.target).value;
    page.relist();
  });
  byId('find').addEventListener('input', (event) => {
    page.state.find = /** @type {HTMLInputElement} */ (event.target).value;
    page.relist();
  });
  byId('theme').addEventListener('click', () => {
    document.documentElement.dataset.theme = theme() === 'dark' ? 'light' : 'dark';
    drawColours(page);
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => drawColours(page));
  addEventListener('hashchange', () => {
    page.state = fromAddress(location.hash.slice(1), about);
    page.draw();
  });
}

/** @param {Data} data */
function sayWhatItIs(data) {
  const { about, cell } = data;
  const all = cell.base.length;
  /** @param {string} digits */
  const right = (digits) => percent([...digits].filter((digit) => digit === '1' || digit === '3').length / all);
  const dpc = about.plans.findIndex(([name]) => name === 'dpc');
  const told = [
    `${whole(all)} test questions`,
    `right without the prompt ${right(cell.unprompted)}`,
    `with it ${right(cell.base)}`,
  ];
  if (dpc >= 0) told.push(`under DPC ${right(cell.plans[dpc])}`);
  byId('summary').textContent = told.join(' · ');
  const error = 100 * (10 ** (0.5 / about.per_decade) - 1);
  const paragraphs = [
    'Colours show what flows from the prompt into each token of prompt tuning’s own answer: the value stands at the row that predicts the token. The darkest colour (in the dark: the brightest) is the largest value of the case; flow is shown by its square root.',
    `Flow and attention are means over the chosen layers. The trigger looks at layers ${about.deep.join(' to ')} (deep), c of the prompt vectors at layers ${about.shallow.join(' to ')} (shallow), whatever the slider says.`,
    `Numbers are kept within ${error.toFixed(1)} % of the tables; a share has two of them. A number below a hundred-millionth of the case’s largest is shown as 0. For every token the ${about.contributors} vectors with the most saliency are kept.`,
    'NLL and entropy are in nats. The heights of the trigger’s bars are square roots.',
    'Without the prompt an answer counts as right by the lenient reading, as it was never told the form; else by the strict one.',
    `Where a cell has more questions than the page holds: ${about.rule}. Counts beside the filters are of the whole cell.`,
  ];
  byId('help-text').replaceChildren(...paragraphs.map((text) => el('p', { text })));
}

async function begin() {
  /** @type {Data} */
  const data = JSON.parse(byId('data').textContent ?? '');
  /** @type {Case[]} */
  const cases = JSON.parse(new TextDecoder().decode(await inflate(data.texts)));
  sayWhatItIs(data);
  const page = new Page(data, cases);
  listenToChoices(page);
  listenToKeys(page);
  await page.draw();
  requestAnimationFrame(() => {
    document.documentElement.dataset.ready = String(Math.round(performance.now()));
  });
}

begin();
