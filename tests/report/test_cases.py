"""The case page: which questions it shows, in which order, and how it cuts long texts."""

import pandas as pd

from dpc.config.settings import Figures
from dpc.report.figures import cases_figure as cases
from dpc.storage.hashing import hash_order
from tests.support.report_samples import REAL, TOY, outcome, settings


def hand_made(verdicts):
    """One question per (right without, right with, right under DPC)."""
    rows = []
    for number, right in enumerate(verdicts):
        for plan, good in zip(cases.PLANS, right, strict=True):
            rows.append(outcome(number, plan, good, True, False, TOY[0]))
    return pd.DataFrame(rows), [outcome(n, "dpc", True, True, False, "")["problem_id"] for n in range(len(verdicts))]


MENDED, NOT_MENDED, HELPED = (True, False, True), (True, False, False), (False, True, True)
BROKE, WRONG, RIGHT = (True, True, False), (False, False, False), (True, True, True)


def test_kinds_of_cases_take_turns_in_order():
    outcomes, ids = hand_made([WRONG, BROKE, HELPED, RIGHT, NOT_MENDED, MENDED])
    assert [problem for _, problem in cases.choose(outcomes, 6)] == [ids[n] for n in (5, 4, 2, 1, 0)]
    assert cases.choose(outcomes, 3)[0][0] == "Right without the prompt, wrong with it, right again with DPC"
    assert "Only 5 of the 6 requested cases" in cases.draw(outcomes, settings(figures=Figures(cases=6))).caption


def test_within_a_kind_the_hash_of_the_id_decides():
    outcomes, ids = hand_made([HELPED, NOT_MENDED, NOT_MENDED, NOT_MENDED])
    broken = sorted(ids[1:], key=hash_order)
    assert [problem for _, problem in cases.choose(outcomes, 4)] == [broken[0], ids[0], *broken[1:]]
    shuffled = outcomes.sample(frac=1, random_state=1)
    assert cases.choose(shuffled, 4) == cases.choose(outcomes, 4)


def test_long_texts_are_cut_and_say_so():
    assert cases.cut("one two three", 3) == "one two three"
    assert cases.cut("one two three", 2) == "one two … (cut)"
    assert cases.cut("one two\nthree", 2) == "one two … (cut)"
    assert cases.cut("one\n\ntwo\n", 2) == "one\n\ntwo"
    assert len(cases.cut(REAL * 3, 120).split()) == 122


def test_the_caption_says_what_is_counted_where_a_text_is_cut():
    outcomes, _ = hand_made([MENDED])
    caption = cases.draw(outcomes, settings(figures=Figures(max_case_tokens=7))).caption
    assert "cut after 7 words (figures.max_case_tokens, here words between spaces, not the model's tokens)" in caption
