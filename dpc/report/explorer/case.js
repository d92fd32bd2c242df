// One case: question and answers with their colours, and beside them what the numbers say.

/** @type {[Measure, string, string][]} */
const MEASURES = [
  ['flow', 'Flow', 'mean saliency from a prompt vector into the token, per layer'],
  ['share', 'Share', "the prompt's part of all saliency into the token"],
  ['attention', 'Attention', 'attention to the prompt, mean over heads'],
];

/** @param {Page} page */
function drawCase(page) {
  const one = page.cases[page.at];
  const planned = one.plans[page.plan];
  byId('case').replaceChildren(
    caseHead(page, one, planned),
    el(
      'div',
      { class: 'columns' },
      el('div', { class: 'reading' }, question(one), answers(page, one, planned), planTable(page, one)),
      el('aside', { class: 'side', 'aria-label': 'Numbers' }, ...side(), ...causes(page, one)),
    ),
  );
  drawNumbers(page);
}

/**
 * @param {Page} page
 * @param {Case} one
 * @param {Planned | null} planned
 */
function caseHead(page, one, planned) {
  const place = page.order.indexOf(page.at);
  const label = page.data.about.plans[page.plan][1];
  const told = [
    mark('Without the prompt', 'without the prompt', one.unprompted),
    mark('Prompt tuning', 'prompt tuning', one.right),
  ];
  if (planned) told.push(mark(label, label, planned[2] === 1));
  return el(
    'div',
    { class: 'head' },
    el('h2', { text: place < 0 ? 'Case outside the list' : `Case ${place + 1} of ${page.order.length}` }),
    el('span', { class: 'verdicts' }, ...told, el('span', { class: 'gold' }, 'gold ', el('b', { text: one.gold }))),
    el(
      'span',
      { class: 'tools' },
      el(
        'button',
        { type: 'button', id: 'previous', 'aria-keyshortcuts': 'k', onclick: () => page.step(-1) },
        '‹ ',
        el('kbd', { text: 'k' }),
      ),
      el(
        'button',
        { type: 'button', id: 'next', 'aria-keyshortcuts': 'j', onclick: () => page.step(1) },
        el('kbd', { text: 'j' }),
        ' ›',
      ),
      el('a', {
        class: 'link',
        href: toAddress(page.state, page.data.about),
        text: one.id,
        title: 'Link to this case',
      }),
    ),
  );
}

/** @param {Case} one */
function question(one) {
  return el(
    'section',
    { 'aria-labelledby': 'question-title' },
    el('h3', { id: 'question-title', text: 'Question' }),
    el('p', { id: 'question', class: 'tokens', text: one.question }),
    el('p', { id: 'question-note', class: 'note' }),
  );
}

/**
 * Prompt tuning's answer, coloured, and beside it the chosen plan's.
 * @param {Page} page
 * @param {Case} one
 * @param {Planned | null} planned
 */
function answers(page, one, planned) {
  const label = page.data.about.plans[page.plan][1];
  const other = planned ? one.answers[planned[0]] : null;
  const parts = other && other !== one.answers[0] ? firstDifference(one.answers[0].pieces, other.pieces) : -1;
  const tokens = one.answers[0].pieces.map((piece, t) => {
    const token = el('span', {
      role: 'option',
      id: `t${t}`,
      class: t === parts ? 'token parts' : 'token',
      text: piece || unseen(one.answers[0], t),
      'aria-label': /^\s+$/.test(piece) && 'white space',
    });
    token.dataset.t = String(t);
    return token;
  });
  const box = el(
    'div',
    { id: 'answer', class: 'tokens', role: 'listbox', tabindex: 0, 'aria-label': "Tokens of prompt tuning's answer" },
    ...tokens,
  );
  listenToTokens(page, box);
  return el(
    'div',
    { class: 'pair' },
    el(
      'section',
      { 'aria-labelledby': 'base-title' },
      el('h3', { id: 'base-title', text: 'Prompt tuning' }),
      verdict(one.answers[0], one.right),
      box,
    ),
    el(
      'section',
      { 'aria-labelledby': 'plan-title' },
      el('h3', { id: 'plan-title', text: label }),
      ...(planned && other
        ? [verdict(other, planned[2] === 1), otherAnswer(planned, other, parts, label)]
        : [el('p', { class: 'note', text: 'This plan was not tried on the question.' })]),
    ),
  );
}

/**
 * What stands for a token that adds no text: the end mark, or the first bytes of a letter.
 * @param {Answer} answer
 * @param {number} t
 */
function unseen(answer, t) {
  return t === answer.pieces.length - 1 && answer.stop === 'end' ? ' ∎' : '·';
}

/**
 * @param {Planned} planned
 * @param {Answer} other
 * @param {number} parts  The first token that differs from prompt tuning's, or -1.
 * @param {string} label
 */
function otherAnswer(planned, other, parts, label) {
  if (parts < 0) {
    const why = planned[1]
      ? 'Token for token the same answer.'
      : `${label} did not fire: prompt tuning's answer stands.`;
    return el('p', { class: 'note', id: 'same', text: why });
  }
  const text = (/** @type {string} */ piece, /** @type {number} */ t) => piece || unseen(other, t);
  const same = other.pieces.slice(0, parts).map(text).join('');
  const rest = other.pieces
    .slice(parts + 1)
    .map((piece, t) => text(piece, t + parts + 1))
    .join('');
  const first = parts < other.pieces.length ? text(other.pieces[parts], parts) : ' ∎';
  return el(
    'div',
    {},
    el(
      'p',
      { class: 'tokens other', id: 'other' },
      el('span', { class: 'same', text: same }),
      el('span', { class: 'parts', text: first }),
      rest,
    ),
    el('p', {
      class: 'note',
      id: 'parts-at',
      text: `The answers part at token ${parts + 1}${planned[3].length ? `; masked: ${spelledVectors(planned)}` : ''}.`,
    }),
  );
}

/** @param {Planned} planned */
function spelledVectors(planned) {
  return planned[3].map((j) => `p${j}`).join(', ');
}

/**
 * @param {Answer} answer
 * @param {boolean} right
 */
function verdict(answer, right) {
  const found = answer.extracted === null ? 'no answer found' : `answer ${answer.extracted}`;
  const cut = answer.stop === 'length' ? ' · cut at the token limit' : '';
  return el('p', {
    class: `verdict ${right ? 'right' : 'wrong'}`,
    text: `${right ? '✓ right' : '✗ wrong'}: ${found} · ${answer.pieces.length} tokens${cut}`,
  });
}

/**
 * Every plan's answer; a click compares with it.
 * @param {Page} page
 * @param {Case} one
 */
function planTable(page, one) {
  const rows = page.data.about.plans.map(([name, label], number) => {
    const planned = one.plans[number];
    const answer = planned ? one.answers[planned[0]] : null;
    const choose = el('button', {
      type: 'button',
      class: 'plain',
      'data-plan': name,
      'aria-pressed': String(number === page.plan),
      text: label,
      onclick: () => page.choosePlan(name),
    });
    if (!planned || !answer)
      return el('tr', {}, el('th', { scope: 'row' }, choose), el('td', { colspan: 4, text: 'not tried' }));
    const right = planned[2] === 1;
    return el(
      'tr',
      {},
      el('th', { scope: 'row' }, choose),
      el('td', { text: planned[1] ? 'fired' : '–' }),
      el('td', { text: spelledVectors(planned) || '–' }),
      el('td', { class: 'answer', text: answer.extracted ?? 'none' }),
      el('td', { class: right ? 'right' : 'wrong', text: right ? '✓ right' : '✗ wrong' }),
    );
  });
  const titles = ['Plan', 'Fired', 'Masked', 'Answer', 'Verdict'].map((text) => el('th', { scope: 'col', text }));
  return el(
    'details',
    { class: 'plans', open: matchMedia('(min-width: 761px)').matches },
    el('summary', { text: 'Every plan on this question' }),
    el(
      'div',
      { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Plans' },
      el('table', {}, el('thead', {}, el('tr', {}, ...titles)), el('tbody', {}, ...rows)),
    ),
  );
}

/**
 * @param {Page} page
 * @param {HTMLElement} box
 */
function listenToTokens(page, box) {
  /** @param {Event} event */
  const under = (event) => {
    const token = /** @type {HTMLElement} */ (event.target).closest('.token');
    return token instanceof HTMLElement ? Number(token.dataset.t) : -1;
  };
  box.addEventListener('pointerover', (event) => page.look(under(event)));
  box.addEventListener('pointerleave', () => page.look(-1));
  box.addEventListener('click', (event) => page.pick(under(event) === page.state.token ? -1 : under(event)));
  box.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    page.pick(Math.min(Math.max(page.state.token + step, 0), page.cases[page.at].tokens - 1));
  });
}
