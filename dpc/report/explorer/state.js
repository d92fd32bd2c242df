// What is chosen on the page, kept in the address; which cases a choice leaves.

/**
 * @typedef {{unprompted: boolean, base: boolean, caused: boolean, known: boolean, right: boolean,
 *   fired: boolean}} Facts
 * @typedef {{id: string, plan: string, only: string[], sort: string, find: string, show: Measure, layers: number[],
 *   token: number}} State
 */

/** @type {[string, (plan: string) => string, (facts: Facts) => boolean][]} */
const FILTERS = [
  ['wrong', () => 'Wrong with the prompt', (facts) => !facts.base],
  ['unprompted', () => 'Right without the prompt', (facts) => facts.unprompted],
  ['fired', (plan) => `${plan} fired`, (facts) => facts.fired],
  ['fixed', (plan) => `${plan} fixed it`, (facts) => facts.known && !facts.base && facts.right],
  ['broken', (plan) => `${plan} broke it`, (facts) => facts.known && facts.base && !facts.right],
  ['caused', () => 'Intervened on', (facts) => facts.caused],
];

/** @type {[string, string, (one: Case) => number, (one: Case) => string][]} */
const SORTS = [
  ['mixed', 'Patterns in turn', () => 0, (one) => `${one.tokens} tokens`],
  ['share', 'Affected share', (one) => -one.share, (one) => percent(one.share)],
  ['s_ifp', 'S_IFP', (one) => -(one.s_ifp ?? -1), (one) => (one.s_ifp === null ? '–' : one.s_ifp.toFixed(3))],
  ['nll', 'Mean NLL', (one) => -one.nll, (one) => one.nll.toFixed(3)],
  ['length', 'Length', (one) => -one.tokens, (one) => `${one.tokens} tokens`],
];

/**
 * What is known of question `at` of the cell, with plan number `plan`.
 * @param {Verdicts} cell
 * @param {number} at
 * @param {number} plan
 * @returns {Facts}
 */
function factsOf(cell, at, plan) {
  const digit = Number(cell.plans[plan][at]);
  const known = digit < 4;
  return {
    unprompted: cell.unprompted[at] === '1',
    base: cell.base[at] === '1',
    caused: cell.caused[at] === '1',
    known,
    right: known && digit % 2 === 1,
    fired: known && digit >= 2,
  };
}

/**
 * How many questions of the cell pass all filters named.
 * @param {Verdicts} cell
 * @param {number} plan
 * @param {string[]} only
 */
function countIn(cell, plan, only) {
  let count = 0;
  for (let at = 0; at < cell.base.length; at += 1) if (passes(factsOf(cell, at, plan), only)) count += 1;
  return count;
}

/**
 * @param {Facts} facts
 * @param {string[]} only
 */
function passes(facts, only) {
  return FILTERS.every(([name, , holds]) => !only.includes(name) || holds(facts));
}

/**
 * The places of the cases that are listed, in their order.
 * @param {Case[]} cases
 * @param {Verdicts} cell
 * @param {number} plan
 * @param {State} state
 */
function listed(cases, cell, plan, state) {
  const wanted = state.find.trim().toLowerCase();
  const places = cases.map((_, at) => at).filter((at) => passes(factsOf(cell, at, plan), state.only));
  const found = wanted ? places.filter((at) => searchable(cases[at]).includes(wanted)) : places;
  const key = (SORTS.find(([name]) => name === state.sort) ?? SORTS[0])[2];
  return found.sort((a, b) => key(cases[a]) - key(cases[b]) || a - b);
}

/** @type {WeakMap<Case, string>} */
const SEARCHABLE = new WeakMap();

/** @param {Case} one */
function searchable(one) {
  let text = SEARCHABLE.get(one);
  if (text === undefined) {
    const said = one.answers.map((answer) => answer.pieces.join(''));
    text = [one.id, one.question, ...said].join('\n').toLowerCase();
    SEARCHABLE.set(one, text);
  }
  return text;
}

/**
 * The state that an address means; what it does not name, or names wrongly, is as at first.
 * @param {string} address  Behind the #.
 * @param {About} about
 * @returns {State}
 */
function fromAddress(address, about) {
  const given = new URLSearchParams(address);
  const names = about.plans.map(([name]) => name);
  const plan = given.get('plan') ?? '';
  const show = /** @type {Measure} */ (given.get('show') ?? '');
  const known = FILTERS.map(([name]) => name);
  const sort = given.get('sort') ?? '';
  const token = given.get('token');
  return {
    id: given.get('case') ?? '',
    plan: names.includes(plan) ? plan : firstPlan(names),
    only: (given.get('only') ?? '').split(',').filter((name) => known.includes(name)),
    sort: SORTS.some(([name]) => name === sort) ? sort : 'mixed',
    find: given.get('find') ?? '',
    show: ['flow', 'share', 'attention'].includes(show) ? show : 'flow',
    layers: bandOf(given.get('layers') ?? '', about),
    token: token !== null && /^\d+$/.test(token) ? Number(token) : -1,
  };
}

/** @param {string[]} names */
function firstPlan(names) {
  return names.find((name) => name === 'dpc') ?? names[names.length - 1];
}

/**
 * @param {string} text
 * @param {About} about
 */
function bandOf(text, about) {
  const [first, last] = text.split('-').map(Number);
  return first >= 0 && first <= last && last < about.layers ? [first, last] : about.deep;
}

/**
 * The address of a state; what is as at first is left out.
 * @param {State} state
 * @param {About} about
 */
function toAddress(state, about) {
  const first = fromAddress('', about);
  const parts = new URLSearchParams();
  if (state.id) parts.set('case', state.id);
  if (state.plan !== first.plan) parts.set('plan', state.plan);
  if (state.only.length) parts.set('only', state.only.join(','));
  if (state.sort !== first.sort) parts.set('sort', state.sort);
  if (state.find) parts.set('find', state.find);
  if (state.show !== first.show) parts.set('show', state.show);
  if (state.layers.join() !== first.layers.join()) parts.set('layers', state.layers.join('-'));
  if (state.token >= 0) parts.set('token', String(state.token));
  return `#${parts}`;
}

/** @param {number} value */
function percent(value) {
  return `${(100 * value).toFixed(value >= 0.1 || value === 0 ? 0 : 1)} %`;
}

/** @param {number} value */
function significant(value) {
  if (value === 0) return '0';
  const text = value >= 0.001 && value < 10000 ? Number(value.toPrecision(3)).toString() : value.toExponential(2);
  return text.replace('-', '−').replace('e', ' e');
}

/** @param {number} value */
function whole(value) {
  return value.toLocaleString('en-US');
}
