"""The explorer in a real browser: what a reader does, and what he then sees, against the tables it was made from."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dpc.report.explorer import codes, page
from tests.explorer import browser
from tests.explorer.browser import DESK, PHONE, Explorer
from tests.explorer.conftest import Made, require
from tests.support.explorer_cells import HOSTILE, PARTS_AT, facts

FIRST_PICTURE_MS = 1000
ARROW_LEFT, ARROW_RIGHT, ESCAPE = "\ue012", "\ue014", "\ue00c"
"""As WebDriver writes these keys."""
HOLDS = {
    "wrong": lambda one: not one["base"],
    "unprompted": lambda one: one["unprompted"],
    "fired": lambda one: one["fired"],
    "fixed": lambda one: not one["base"] and one["dpc"],
    "broken": lambda one: one["base"] and not one["dpc"],
    "caused": lambda one: one["caused"],
}


@pytest.fixture(autouse=True)
def _without_a_complaint(explorer: Explorer) -> Any:
    """No test may leave an error in the console, or a request for anything but the page itself."""
    explorer.complaints(), explorer.asked_for()
    yield
    assert explorer.complaints() == []
    assert {url for url in explorer.asked_for() if not url.startswith(("file://", "data:", "about:", "blob:"))} == set()


def numbers_of(names: list[str]) -> list[int]:
    return sorted(int(name[-4:]) for name in names)


@pytest.mark.parametrize(
    "only", [["wrong"], ["unprompted"], ["fired"], ["fixed"], ["broken"], ["caused"], ["wrong", "unprompted", "fired"]]
)
def test_a_filter_leaves_the_cases_that_it_names(explorer: Explorer, made: Made, only: list[str]) -> None:
    explorer.open()
    kept = numbers_of(explorer.listed())
    assert len(kept) == made.size.kept
    for name in only:
        explorer.click(f'[data-filter="{name}"]')
    wanted = [n for n in range(made.size.questions) if all(HOLDS[name](facts(n)) for name in only)]
    assert numbers_of(explorer.listed()) == [n for n in wanted if n in kept]
    assert explorer.text("#counts").startswith(f"{len(wanted)} of {made.size.questions} test questions match")
    assert explorer.state()["only"] == ",".join(only)


def test_a_count_says_what_a_filter_would_leave_of_the_whole_cell(explorer: Explorer, made: Made) -> None:
    explorer.open("only=fired")
    fired = [n for n in range(made.size.questions) if facts(n)["fired"]]
    alone = [n for n in fired if facts(n)["unprompted"]]
    share = round(100 * len(alone) / len(fired))
    assert explorer.text('[data-filter="unprompted"] .count') == f"{len(alone)} · {share} %"


def test_search_finds_text_of_questions_and_answers(explorer: Explorer, made: Made) -> None:
    explorer.open()
    said = made.tables["generations"].set_index("problem_id")["text"]
    explorer.press("/")
    explorer.press("a", "<", "b", "\\")
    assert explorer.listed() == ["made-0000"]
    explorer.press(ESCAPE)
    explorer.open()
    explorer.press("/", *"clerk counted ")
    asked = made.tables["outcomes"].drop_duplicates("problem_id").set_index("problem_id")["question"]
    for name in explorer.listed():
        assert "clerk counted" in asked[name] + said[name] + " ".join(
            made.tables["outcomes"].query("problem_id == @name")["text"]
        )


@pytest.mark.parametrize(
    ("sort", "column"),
    [("share", "affected_share"), ("s_ifp", "s_ifp"), ("nll", "nll"), ("length", "rationale_tokens")],
)
def test_a_sort_puts_the_largest_first(explorer: Explorer, made: Made, sort: str, column: str) -> None:
    explorer.open(f"sort={sort}")
    values = made.tables["evidence"].set_index("problem_id")[column].loc[explorer.listed()]
    assert (values.diff().dropna() <= 1e-4).all()


@pytest.fixture(scope="module")
def kept(explorer: Explorer) -> list[str]:
    """The cases that the page holds."""
    explorer.open()
    return explorer.listed()


def row_of(made: Made, name: str) -> Any:
    return made.tables["saliency"].set_index("problem_id").loc[name]


def shown(explorer: Explorer, fact: str) -> float:
    text = explorer.text(f'[data-fact="{fact}"]')
    number = re.sub(r"[^\d.e-]", "", text.replace("−", "-").replace(" e", "e").partition("×")[0])
    return float(number) / (100 if "%" in text else 1)


def is_looked_at(explorer: Explorer, name: str, t: int) -> bool:
    return explorer.text("#token-title").startswith(f"Token {t + 1} ") and explorer.text(".link") == name


def test_numbers_of_fifty_tokens_are_the_tables_within_the_stated_error(explorer: Explorer, made: Made) -> None:
    """Shown with three digits, so half a percent is added to the error of a code; a share has the error of two."""
    explorer.open()
    names, rng = explorer.listed(), np.random.default_rng(0)
    rounding, one = 1.005, 1 + codes.ERROR
    for _ in range(50):
        name, layer = str(rng.choice(names)), int(rng.integers(made.size.layers))
        row = row_of(made, name)
        t = int(rng.integers(row["rationale_tokens"]))
        at = (layer, t)
        prompt, asked, said, attention = (
            np.reshape(row[column], (made.size.layers, -1))[at]
            for column in ("row_prompt", "row_question", "row_rationale", "row_attention")
        )
        explorer.js("location.hash = arguments[0]", f"case={name}&layers={layer}-{layer}&token={t}")
        browser.wait(partial(is_looked_at, explorer, name, t), "the token is looked at")
        wanted = {
            "flow": (prompt / made.size.vectors, one), "share": (prompt / (prompt + asked + said), one**2),
            "attention": (attention, one), "nll": (row["nll"][t], one), "entropy": (row["entropy"][t], one),
        }  # fmt: skip
        for fact, (value, error) in wanted.items():
            found = shown(explorer, fact)
            assert value / (error * rounding) <= found <= value * error * rounding, (name, at, fact)


def test_moving_the_slider_moves_numbers_and_colours(explorer: Explorer, made: Made, kept: list[str]) -> None:
    explorer.open(f"case={kept[3]}&token=5")
    before = explorer.one("#t5").value_of_css_property("background-color")
    first = explorer.one("#first-layer")
    for _ in range(3):
        first.send_keys(ARROW_LEFT)
    assert explorer.state()["layers"] == "0-4"
    flow_LT = np.reshape(row_of(made, kept[3])["row_prompt"], (made.size.layers, -1))
    assert shown(explorer, "flow") == pytest.approx(flow_LT[0:5, 5].mean() / made.size.vectors, rel=codes.ERROR + 0.005)
    assert explorer.text("#layers-title") == "Layers 0 to 4"
    assert explorer.one("#t5").value_of_css_property("background-color") != before
    explorer.click('[data-band="shallow"]')
    assert explorer.state()["layers"] == "0-2"


@pytest.mark.parametrize("measure", ["flow", "share", "attention"])
def test_the_darkest_token_is_the_one_with_the_most(
    explorer: Explorer, made: Made, kept: list[str], measure: str
) -> None:  # fmt: skip
    explorer.open(f"case={kept[6]}&layers=2-2")
    explorer.click(f'[data-measure="{measure}"]')
    row = row_of(made, kept[6])
    prompt, asked, said, attention = (
        np.reshape(row[column], (made.size.layers, -1))[2]
        for column in ("row_prompt", "row_question", "row_rationale", "row_attention")
    )
    values = {"flow": prompt, "share": prompt / (prompt + asked + said), "attention": attention}[measure]
    light = explorer.js(
        "return [...document.querySelectorAll('#answer .token')].map((one) => "
        "getComputedStyle(one).backgroundColor.match(/\\d+/g).map(Number).reduce((a, b) => a + b))"
    )
    assert values[int(np.argmin(light))] >= values.max() / (1 + codes.ERROR) ** 3
    assert np.corrcoef(np.argsort(np.argsort(light)), np.argsort(np.argsort(values)))[0, 1] < -0.95


def test_a_token_says_from_which_vectors_its_flow_came(explorer: Explorer, made: Made, kept: list[str]) -> None:
    explorer.open(f"case={kept[9]}&token=4")
    band = np.reshape(row_of(made, kept[9])["band"], (-1, made.size.vectors))[4]
    said = explorer.text("#contributors")
    largest = np.argsort(-band)[:6]
    assert re.findall(r"p(\d+)", said) == [str(j) for j in largest]
    parts = [float(part) for part in re.findall(r"([\d.]+) %", said)]
    assert parts[:6] == pytest.approx(100 * band[largest] / band.sum(), rel=2 * codes.ERROR + 0.02, abs=0.6)
    assert sum(parts) == pytest.approx(100, abs=6)


def test_the_trigger_is_told_as_it_decided(explorer: Explorer, made: Made, kept: list[str]) -> None:
    flow = made.tables["flow"].set_index("problem_id")
    for name in kept[:2]:
        explorer.open(f"case={name}")
        values, former = flow.loc[name, "token_flow"], int(flow.loc[name, "former"])
        affected = np.flatnonzero(values > values[:former].mean())
        marked = explorer.js(
            "return [...document.querySelectorAll('.trigger .bar')].map((bar) => bar.classList.contains('affected'))"
        )
        assert np.flatnonzero(marked).tolist() == [t for t in affected.tolist() if t >= former]
        share = made.tables["evidence"].set_index("problem_id").loc[name, "affected_share"]
        note = explorer.text("#trigger-note")
        assert f"Affected share {100 * share:.{0 if share >= 0.1 else 1}f} %; R 25 %" in note


def test_the_located_vector_is_marked_and_its_nearest_token_named(
    explorer: Explorer, made: Made, kept: list[str]
) -> None:
    explorer.open(f"case={kept[4]}")
    column = made.tables["flow"].set_index("problem_id").loc[kept[4], "column_saliency"]
    (located,) = explorer.all(".vector.located")
    largest = int(np.argmax(column))
    assert located.get_attribute("data-j") == str(largest)
    assert re.match(f"p{largest}: c = .*; located, z = .*Nearest tokens: “", explorer.text("#vector-note"))
    explorer.one("#strip").send_keys(ARROW_LEFT if largest else ARROW_RIGHT)
    assert explorer.text("#vector-note").startswith(f"p{largest - 1 if largest else 1}: c = ")


def changed(made: Made, name: str) -> dict[str, dict[str, float]]:
    """What table `causal` holds of a question, by test and target."""
    rows = made.tables["causal"].query("problem_id == @name")
    return {test: dict(zip(own["target"], own["value"], strict=True)) for test, own in rows.groupby("test")}


def digits(value: float) -> str:
    """Three digits and a sign, as the page writes what lies between 0.001 and 1000."""
    return f"{value:+.3g}".replace("-", "−")


def cells_of(explorer: Explorer, name: str) -> list[list[str]]:
    """The rows of the table that is named so."""
    return explorer.js(
        "const rows = document.querySelector(`[aria-label=\"${arguments[0]}\"]`).querySelectorAll('tbody tr');"
        "return [...rows].map((row) => [...row.children].map((one) => one.textContent))",
        name,
    )


def test_a_case_shows_its_own_causes(explorer: Explorer, made: Made, kept: list[str]) -> None:
    name = next(name for name in kept if {"mask", "path"} <= changed(made, name).keys())
    explorer.open(f"case={name}")
    found = changed(made, name)
    effects = [found["mask"][str(j)] for j in range(made.size.vectors)]
    worst = int(np.argmax(effects))
    assert explorer.text("#mask-note").startswith(f"Masking p{worst} costs most, {digits(effects[worst])} nats")
    rank = pd.Series(effects).corr(pd.Series(found["saliency"]).reset_index(drop=True), method="spearman")
    assert f"these bars: c {rank:.2f}".replace("-", "−") in explorer.text("#mask-note")
    heights = explorer.js(
        "return [...document.querySelectorAll('.effects .bar')].map((one) => one.height.baseVal.value)"
    )
    assert np.allclose(heights / np.max(heights), np.abs(effects) / np.max(np.abs(effects)), atol=0.02)
    words = {0.0: "✗ wrong", 1.0: "✓ right"}
    doses = {row[0]: row[1:] for row in cells_of(explorer, "Change of the loss and new answer by dose")}
    assert doses["located × 1.5"] == [
        digits(found["dose_loss"]["located:1.5"]),
        words[found["dose_right"]["located:1.5"]],
    ]
    assert doses["another × 1"] == ["0", words[0.0]]
    assert doses["noise as at 0.25"] == [digits(found["dose_loss"]["noise:0.25"]), "–"]
    assert len(explorer.all(".doses circle")) == 14
    cuts = {row[0]: row[1:] for row in cells_of(explorer, "Knock-out")}
    values = (digits(found["cut_loss"]["deep:prompt"]), digits(found["cut_gold"]["deep:prompt"]))
    assert cuts["prompt, deep"] == [*values, words[found["cut_right"]["deep:prompt"]]]
    own, deep = found["path"]["own"], found["path"]["deep"]
    assert cells_of(explorer, "Path")[2][:2] == ["deep layers", digits(deep)]
    assert cells_of(explorer, "Path")[0] == ["none", digits(own), "–"]
    forced = {1.0: "goes right", 0.0: "stays wrong"}[found["divergence"]["prompted"]]
    assert f"part at token {PARTS_AT + 1}," in explorer.text("#divergence")
    assert f"the prompted answer {forced}" in explorer.text("#divergence")
    assert cells_of(explorer, "Sink")[1][2] == digits(found["sink_mask"]["prompt_first:extra"])


def test_outside_the_sample_a_case_says_so_and_a_broken_one_shows_that_alone(
    explorer: Explorer, made: Made, kept: list[str]
) -> None:
    tests = {name: changed(made, name).keys() for name in kept}
    explorer.open(f"case={next(name for name in kept if not tests[name])}")
    assert "not one of the 21 questions intervened on" in explorer.text("#no-causes")
    explorer.open(f"case={next(name for name in kept if tests[name] == {'path', 'divergence'})}")
    titles = [one.text for one in explorer.all(".cause h3")]
    assert titles == ["Path: the prompt’s states from another seed’s prompt", "First divergence"]


def test_without_the_prompt_the_answer_shown_is_the_one_that_was_graded(explorer: Explorer, made: Made) -> None:
    """Strictly none has an answer there, as the form was never told."""
    rows = made.tables["outcomes"].query("plan == 'no_prompt'").set_index("problem_id")
    explorer.open("only=unprompted&plan=no_prompt")
    assert rows["extracted"].isna().all()
    read = rows.loc[explorer.listed()[0], "extracted_lenient"]
    row = explorer.js("return document.querySelector('.plans [data-plan=\"no_prompt\"]').closest('tr').textContent")
    assert row.endswith(f"{read}✓ right")
    assert explorer.text("#plan-title + .verdict").startswith(f"✓ right: answer {read} ·")


def test_plans_stand_side_by_side_from_the_token_where_they_part(explorer: Explorer) -> None:
    explorer.open("only=fired")  # and made anew
    assert explorer.text("#parts-at").startswith(f"The answers part at token {PARTS_AT + 1}; masked: p")
    base = explorer.js("return [...document.querySelectorAll('#answer .token')].map((one) => one.textContent)")
    assert explorer.text("#other .same") == "".join(base[:PARTS_AT])
    assert (
        explorer.js("return [...document.querySelectorAll('#answer .token')].findIndex((one) => one.matches('.parts'))")
        == PARTS_AT
    )
    assert "cut at the token limit" in explorer.text("#plan-title + .verdict")
    explorer.click('.plans [data-plan="prompt_tuning"]')
    assert explorer.text("#same") == "Prompt tuning did not fire: prompt tuning's answer stands."
    assert explorer.state()["plan"] == "prompt_tuning"


def test_keys_walk_through_the_cases_and_open_the_help(explorer: Explorer) -> None:
    explorer.open("only=fired")
    names = explorer.listed()
    explorer.press("j", "j", "k")
    assert explorer.state()["case"] == names[1]
    assert explorer.one("#list [aria-current]").get_attribute("data-at") is not None
    explorer.press("?")
    assert explorer.one("#help").is_displayed()
    explorer.press(ESCAPE)
    assert not explorer.one("#help").is_displayed()
    explorer.one("#answer").send_keys(ARROW_RIGHT, ARROW_RIGHT)
    assert explorer.text("#token-title").startswith("Token 2 of ")


def test_an_address_brings_back_what_was_seen(explorer: Explorer) -> None:
    explorer.open("only=fired&sort=nll&show=share&layers=1-2&plan=always")
    explorer.press("j")
    explorer.one("#t3").click()
    seen = explorer.state(), explorer.listed(), explorer.text("#token"), explorer.text("#plan-title")
    explorer.open(explorer.driver.current_url.partition("#")[2])
    assert (explorer.state(), explorer.listed(), explorer.text("#token"), explorer.text("#plan-title")) == seen
    assert seen[0].keys() == {"case", "only", "sort", "show", "layers", "plan", "token"}


@pytest.mark.parametrize(
    "state", ["case=nobody&plan=none&sort=x&show=y&layers=9-99&token=-3&only=,,", "layers=2-1&token=99999", "%%%=&&"]
)
def test_an_address_that_means_nothing_shows_the_page_as_at_first(explorer: Explorer, state: str) -> None:
    explorer.open()
    first = explorer.listed(), explorer.text("#layers-title")
    explorer.open(state)
    assert (explorer.listed(), explorer.text("#layers-title")) == first


def test_markup_in_a_question_or_an_answer_is_shown_not_obeyed(explorer: Explorer, made: Made) -> None:
    explorer.open("case=made-0000")
    assert explorer.text("#question").startswith(HOSTILE)
    assert HOSTILE.startswith(explorer.text("#answer")) or explorer.text("#answer").startswith(HOSTILE)
    assert explorer.driver.title == "small · halls · paper · seed 0 · made"
    assert explorer.all("#bold") == []
    assert len(explorer.all("script")) == 2


@pytest.mark.parametrize(("size", "scheme"), [(DESK, "light"), (DESK, "dark"), (PHONE, "light"), (PHONE, "dark")])
def test_axe_finds_nothing_and_nothing_sticks_out(explorer: Explorer, size: tuple[int, int], scheme: str) -> None:
    require(browser.no_tools())
    for state in ("only=fired&token=3", "case=made-0000&show=share&only=wrong"):
        explorer.open(state, size, scheme)
        assert explorer.accessibility() == []
        assert explorer.js("return document.documentElement.scrollWidth") <= size[0]
    explorer.press("?")
    assert explorer.accessibility() == []


def test_the_index_is_accessible_and_says_where_its_links_work(explorer: Explorer, tmp_path: Path) -> None:
    require(browser.no_tools())
    cell = {
        "names": ["m", "d", "r", 0],
        "link": "m/d/r/seed0/explorer.html",
        "questions": 2000,
        "accuracies": [0.5, None],
    }
    file = tmp_path / "explorer.html"
    file.write_text(page.index("made", [{**cell, "fired": 0.1, "fixed": 3, "broken": None}], ["Prompt tuning", "DPC"]))
    for size, scheme in ((DESK, "light"), (PHONE, "dark")):
        explorer.look_like(size, scheme)
        explorer.driver.get(file.as_uri())
        assert explorer.accessibility() == []
        assert not explorer.one("#elsewhere").is_displayed()
    explorer.driver.get("about:blank")
    frame = "const frame = document.createElement('iframe'); frame.srcdoc = arguments[0]; document.body.append(frame)"
    explorer.js(frame, file.read_text())
    explorer.driver.switch_to.frame(0)
    assert browser.wait(lambda: explorer.one("#elsewhere").is_displayed(), "the note in a report's copy")
    explorer.driver.switch_to.default_content()


@pytest.mark.proof
def test_the_first_picture_of_a_large_cell_stands_within_a_second(explorer: Explorer, large: Made) -> None:
    """Of three tries the best: other tests share the machine."""
    assert large.page.stat().st_size <= 8e6
    wide = Explorer(explorer.driver, large.page)
    assert min(wide.open() for _ in range(3)) < FIRST_PICTURE_MS
    assert (len(wide.listed()), len(wide.all("#answer .token")), len(wide.all(".vector"))) == (300, 300, 100)
