// The list of cases on the left: filters with counts, search, order.

/**
 * @param {Page} page
 */
function drawFilters(page) {
  const { state, data, plan } = page;
  const label = data.about.plans[plan][1];
  const now = countIn(data.cell, plan, state.only);
  byId('filters').replaceChildren(
    ...FILTERS.filter(([name]) => name !== 'caused' || data.cell.caused.includes('1')).map(([name, text]) => {
      const on = state.only.includes(name);
      const count = on ? now : countIn(data.cell, plan, [...state.only, name]);
      const part = on || now === 0 ? '' : ` · ${percent(count / now)}`;
      return el(
        'button',
        {
          type: 'button',
          class: 'chip',
          'aria-pressed': String(on),
          'data-filter': name,
          onclick: () => page.toggle(name),
        },
        el('span', { text: text(label) }),
        el('span', { class: 'count', text: `${whole(count)}${part}` }),
      );
    }),
  );
  drawCounts(page, now);
}

/**
 * @param {Page} page
 * @param {number} now  Questions of the whole cell that pass the filters.
 */
function drawCounts(page, now) {
  const all = page.data.cell.base.length;
  const kept = page.cases.length;
  const matching = page.state.only.length
    ? `${whole(now)} of ${whole(all)} test questions match`
    : `${whole(all)} test questions`;
  const searched = page.state.find.trim() ? ' with that text' : '';
  const rest = kept < all ? ` (the page holds ${whole(kept)} of ${whole(all)})` : '';
  byId('counts').textContent = `${matching}; ${whole(page.order.length)} listed${searched}${rest}.`;
}

/**
 * @param {Page} page
 */
function drawList(page) {
  const sort = SORTS.find(([name]) => name === page.state.sort) ?? SORTS[0];
  byId('list').replaceChildren(...page.order.map((at) => listItem(page, at, sort[3](page.cases[at]))));
  markCurrent(page);
}

/**
 * @param {Page} page
 * @param {number} at
 * @param {string} value
 */
function listItem(page, at, value) {
  const one = page.cases[at];
  const facts = factsOf(page.data.cell, at, page.plan);
  const label = page.data.about.plans[page.plan][1];
  const verdicts = [
    mark('without the prompt', 'no prompt', facts.unprompted),
    mark('with the prompt', 'prompt', facts.base),
    ...(facts.known && facts.fired ? [mark(label, label.length > 10 ? 'plan' : label, facts.right)] : []),
  ];
  const line = el('span', { class: 'line' }, ...verdicts, el('span', { class: 'value', text: value }));
  const link = el(
    'a',
    {
      href: toAddress({ ...page.state, id: one.id, token: -1 }, page.data.about),
      'data-at': at,
      onclick: (event) => {
        event.preventDefault();
        page.open(at);
      },
    },
    line,
    el('span', { class: 'excerpt', text: one.question }),
  );
  return el('li', {}, link);
}

/**
 * @param {string} whose
 * @param {string} short
 * @param {boolean} right
 */
function mark(whose, short, right) {
  const said = `${whose}: ${right ? 'right' : 'wrong'}`;
  return el(
    'span',
    { class: `mark ${right ? 'right' : 'wrong'}`, title: said },
    el('span', { 'aria-hidden': 'true', text: `${right ? '✓' : '✗'} ${short}` }),
    el('span', { class: 'unseen', text: `${said}. ` }),
  );
}

/** @param {Page} page */
function markCurrent(page) {
  for (const link of byId('list').querySelectorAll('a')) {
    const is = Number(link.dataset.at) === page.at;
    if (is) {
      link.setAttribute('aria-current', 'true');
      link.scrollIntoView({ block: 'nearest' });
    } else link.removeAttribute('aria-current');
    link.tabIndex = is ? 0 : -1;
  }
}
