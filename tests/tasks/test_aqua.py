"""AQuA: which letter a text gives as its answer."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpc.errors import DpcError
from dpc.tasks import get_task
from tests.support.formatting import behind_mark, wrapped
from tests.support.gold_rows import accepted_by_others, missed, rows_of, sample
from tests.support.paths import needs_data

task = get_task("aqua")

ROW = {
    "question": "What is 2 + 3?",
    "options": ["A)3", "B)4", "C)5", "D)6", "E)7"],
    "rationale": "2 + 3 = 5\nAnswer: C",
    "correct": "C",
}
WITHOUT_LETTER = {
    "dev.jsonl": [3, 20, 40, 79, 108, 114, 120, 137, 201, 217, 221, 249],
    "test.jsonl": [4, 44, 51, 71, 88, 100, 104, 131, 172, 185, 187, 197],
}
"""Rows whose rationale names no option, or not by its letter: every gold text that is not graded right."""

Case = tuple[str, str | None, str | None]
"""A text, its strict and its lenient reading."""


def behind(letter: str, *contents: str) -> list[Case]:
    """Return a case for each content of a line `#### …`; both readings are `letter`."""
    return [(f"#### {content}", letter, letter) for content in contents]


def said(letter: str | None, *texts: str) -> list[Case]:
    """Return a case for each text without a mark that counts: only the lenient reading is `letter`."""
    return [(text, None, letter) for text in texts]


WRAPPED = [
    *behind(
        "B",
        "B",
        "**B**",
        "*B*",
        "__B__",
        "`B`",
        "**(B)**",
        "**B) 21**",
        "<b>B</b>",
        "<answer>B</answer>",
        "| B |",
        "Ｂ",
    ),
    *behind(
        "B",
        '"B"',
        "“B”",
        "'B'",
        "(B)",
        "((B))",
        "[B]",
        "{B}",
        "<B>",
        "B.",
        "B,",
        "B!",
        "B)",
        "✅ B",
        "→ B",
        "-> B",
        ": B",
    ),
    *behind(
        "B", "$B$", r"\boxed{B}", r"$\boxed{B}$", r"\boxed{(B)}", r"\(\boxed{\text{B}}\)", r"\boxed{\textbf{(B) }21}"
    ),
    *behind("B", r"\text{B}", r"\textbf{(B)}", r"\mathrm{B}", r"\(B\)", r"\[ B \]"),
    *behind("B", "b", "(b)", "b)", "b.", "b) 21", "b. 21", "option (b)", "**b**", r"\boxed{b}", "The answer is b"),
    *behind(
        "B", "B) 21", "(B) 21", "B: 21", "B - 21", "B = 21", "B) 21 km/h", "B) $21", "B (21 km)", "B) None of these"
    ),
    *behind(
        "B", "B </s>", "B<|im_end|>", "B #### B", "B, not C", "B and not C", "B since it fits", "B because 3 * 7 = 21"
    ),
    *behind("B", "B is correct", "B is the correct answer", "B, because A is wrong"),
    *behind("A", "A", "a", "(a)", "A) 3", "A is correct", "A because 3 + 4"),
]
LABELLED = [
    *behind(
        "B",
        "Answer: B",
        "**Answer: B**",
        "**Answer:** B",
        "ANSWER: (B)",
        "ans: b",
        "Answer - B",
        "Answer B",
        "Answer (B)",
    ),
    *behind("B", "Final Answer: **B**", "The answer is B", "Therefore, the answer is B.", "So the answer is (b)"),
    *behind(
        "B", "The correct answer is (B).", "Correct answer: B", "Option B", "Choice (B)", "The correct option is B"
    ),
    *behind("B", "Correct option: B", "The correct choice is B"),
    *(
        (text, "B", "B")
        for text in ("####B", "####\nB", "####\n\n**B**", "##### B", "x #### B", "**#### B**", "> #### B")
    ),
    (r"\#\#\#\# B", "B", "B"),
    ("#### Final Answer\nB", "B", "B"),
    ("#### **Answer**\n(B) 21", "B", "B"),
    ("#### Answer\nThe answer is B.", "B", "B"),
    ("#### Final Answer:\n\n\\[ \\boxed{B} \\]", "B", "B"),
]
SEVERAL_MARKS = [
    ("x\n#### (B)\nQ: #### C", "B", "B"),
    ("Answer: A\n#### B", "B", "B"),
    ("#### B\n#### C", "B", "B"),
    ("#### B Question: C?", "B", "B"),
    ("#### B) None of these\nQuestion: x\n#### C", "B", "B"),
    ("#### B\n\nExplanation: C is too big. D", "B", "B"),
    ("#### B\n#### Verification\nC is not", "B", "B"),
    ("#### Step 1: rate\nA train moves.\n#### Step 2: time\n3 h\n#### B", "B", "B"),
    ("#### A man walks\nso C.\n#### C", "C", "C"),
    ("#### Analysis\nOption A fails.\n#### Answer: B", "B", "B"),
    ("#### A. Understand\n3 km\n#### B. Compute\nThe answer is D.", None, "D"),
    ("#### C. Understand\n3 km\nThe answer is D.", None, "D"),
    *said(None, "#### A lot", "#### A train travels", "#### F", "#### 21", "#### Because", "####", "#### E^2 + 1"),
    *said("C", "#### B or C", "### C"),
]
SAID = [
    *said(
        "B",
        "The answer is (B).",
        "Correct answer - B",
        "Option B",
        "The answer is B since it fits.",
        "The answer is (b).",
    ),
    *said(
        "B",
        "The answer is b.",
        "The answer is **b**.",
        "Answer: $B",
        "answer → B",
        "The best answer is B",
        "B",
        "(b)",
        "B) 21",
    ),
    *said(
        "B", 'The answer is "B".', "The answer is 'B'.", "The answer is `B`.", "The answer is [B].", "The answer is – B"
    ),
    *said(
        "B",
        "The answer is therefore B) 21",
        "The answer to the question is B",
        "I'd say B",
        "Answer (B)",
        "Answer : Option B",
    ),
    *said(
        "C",
        r"\boxed{C}",
        r"$\boxed{\text{C}}$ is my choice, though D is close.",
        r"\boxed{\text{(C) }21}",
        "Answer: c) 21",
    ),
    *said(
        "C", "So it must be C) 21.", "Hence C) 21", "It is C) 21.", "which gives C) 21", "**Answer: C) 21**", "Thus, C."
    ),
    *said(
        "C",
        "Hence the correct option is **C**.",
        "(C) is the correct answer",
        "I choose C.",
        "We select option (C) since",
    ),
    *said(
        "C", "The answer is C: 21", "The answer is C because D = 12 is too much.", "The answer is C, while A is close"
    ),
    *said(
        "C",
        "Final answer\n\nC",
        "### Final Answer\n**C**",
        "The answer is 21 (C).",
        "The answer is 21, which is option C.",
    ),
    *said("D", "answer = D", "The answer is D = 12", "Answer is option (D): 12", "ans. d", "Ans: 2/5 D", "It is D"),
    *said(
        "D", "A man sells C = 5 pens.\nThus D", "Therefore, among A through E, the answer is D.", "I choose (d) because"
    ),
    *said(
        "E",
        "ANSWER:E",
        "Answer: 5\nE)",
        "The answer is E (none of these).",
        "The correct answer would be E) none of these",
    ),
    *said("A", "answer is a", "The answer is A.", "The answer is A because 3 fits", "Answer: A) 12", "Answer A"),
    *said("A", "Only B and D fit; 863 becomes 368\nAnswer:A"),
]
REJECTED = [
    *said("B", "The answer is B. Option (C) is wrong because it forgets tax.", "The answer is B. It is not C"),
    *said(
        "B",
        "(B), not (C)",
        "The answer is B. Cannot be C.",
        "My final answer is B, as C ignores tax",
        "B is the answer, not C.",
    ),
    *said(
        "C",
        "So the answer is C and not D.",
        "The answer is not B but C.",
        "The answer is not B, but rather C.",
        "Not B, so C",
    ),
    *said("C", "B is wrong.\nC is right.", "D is incorrect, C is correct", "Option A and B are wrong, so it is C."),
    *said(
        "C",
        "The answer cannot be B. It is (C).",
        "The correct choice is C, not D.",
        "I would pick C over D.",
        "C is right, D wrong",
    ),
    *said("C", "Therefore, (C) is correct, (D) is not.", "Final Answer: **C**\n\nD is too big."),
    *said("C", "The answer is C.\n\nOption A: too small.\nOption D: too big.", "Answer: C. Check: A) 3 no, B) 4 no."),
    *said("C", "The answer is **(C) 21**. A, B, D and E are wrong."),
    *said(
        "D", "Option A is wrong. The answer is D.", "Answer: A. No, the answer is D.", "C is not correct, D is correct."
    ),
    *said(
        None,
        "The answer is not B.",
        "Option B is incorrect.",
        "B is not the answer.",
        "We rule out A and B.",
        "The answer isn't B.",
    ),
]
RESTATED = [
    *said("C", "A) 3\nB) 4\nC) 5\nD) 6\nE) 7\nThe answer is C.", "(A) 3 (B) 4 (C) 5 (D) 6 (E) 7. So (C)."),
    *said(None, "Options: (A) 3 (B) 4 (C) 5 (D) 6 (E) 7\n3 + 2 = 5", "A) 3\nB) 4\nC) 5\nD) 6\nE) 7"),
    *said("B", "The answer is B.\nQ: next?\nThe answer is D.", "Answer: B\n\nQuestion: what?\nAnswer: D", "(A) or (B)"),
]
NO_LETTER = said(
    None,
    "The answer is a number. A man bought it.",
    "The answer is A lot of work.",
    "x = 12",
    "",
    "triangle ABC",
    "Vitamin C helps.",
)
CASES = [*WRAPPED, *LABELLED, *SEVERAL_MARKS, *SAID, *REJECTED, *RESTATED, *NO_LETTER]


class TestParse:
    def test_parse(self) -> None:
        problem = task.parse(ROW)
        assert problem.question == "What is 2 + 3?\nA)3\nB)4\nC)5\nD)6\nE)7"
        assert problem.rationale == "2 + 3 = 5\nAnswer: C\n#### C"
        assert (problem.answer, problem.steps) == ("C", 2)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"correct": "F"}, "field 'correct' is 'F'; expected one letter from A to E"),
            ({"correct": "AB"}, "field 'correct' is 'AB'"),
            ({"options": ["A)1"]}, "field 'options' is 1 options; expected a list of five"),
            ({"options": "A)1"}, r"field 'options' is text \('A\)1'\); expected a list of five"),
            ({"options": ["A)3", "C)4", "B)5", "D)6", "E)7"]}, r"has 'C\)4' where option B is due"),
            ({"rationale": " "}, "field 'rationale' is empty; expected text, such as '2 "),
        ],
    )
    def test_bad_row(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(DpcError, match=message):
            task.parse(ROW | change)


class TestExtract:
    @pytest.mark.parametrize(("text", "strict", "lenient"), CASES)
    def test_reading(self, text: str, strict: str | None, lenient: str | None) -> None:
        assert task.extract(text) == (strict, lenient)

    @pytest.mark.parametrize(
        "piece", ["B or ", "The answer is ", r"\boxed{", "A) B) C) ", "#### B is so\n", "(", "option "]
    )
    def test_long_text(self, piece: str) -> None:
        start = time.monotonic()
        task.extract(piece * (4000 // len(piece)))
        assert time.monotonic() - start < 2


def test_grade() -> None:
    assert task.grade("B", "B")
    assert not task.grade("A", "B")
    assert not task.grade(None, "B")
    with pytest.raises(DpcError, match="gold answer '' is no option"):
        task.grade("B", "")


FORMS = ("{0}", "({0})", "{0})", "{0}) 21", r"\text{{{0}}}")


class TestFormattingNeverChangesALetter:
    @settings(deadline=None, max_examples=300)
    @given(st.sampled_from("ABCDEabcde"), st.sampled_from([*FORMS, "{0}.", "Option {0}"]), st.data())
    def test_behind_the_mark(self, letter: str, form: str, data: st.DataObject) -> None:
        found = task.extract(data.draw(behind_mark(form.format(letter))))
        assert found == (letter.upper(), letter.upper())

    @settings(deadline=None, max_examples=300)
    @given(st.permutations("ABCDE"), st.sampled_from(FORMS), st.data())
    def test_said(self, letters: list[str], form: str, data: st.DataObject) -> None:
        letter, other = letters[:2]
        sentences = (
            *("A man has 5.\nThe answer is {0}.", "### Answer\n\n{0}", "**Final Answer:** {0}\n\nOption {1} is wrong."),
            *("So the answer is {0} and not {1}.", "({1}) is too big. Hence the correct option is {0}"),
        )
        text = data.draw(st.sampled_from(sentences))
        assert task.extract(text.format(data.draw(wrapped(form.format(letter))), other)) == (None, letter)


@needs_data
class TestRealData:
    def test_sample(self) -> None:
        rows = sample(rows_of("aqua", "test.jsonl"))
        assert len(missed("aqua", rows, "rationale", lenient=True)) <= 0.07 * len(rows)

    @pytest.mark.proof
    @pytest.mark.parametrize("file", ["dev.jsonl", "test.jsonl"])
    def test_all(self, file: str) -> None:
        rows = rows_of("aqua", file)
        assert len(rows) == 254
        assert missed("aqua", rows, "rationale", lenient=True) == WITHOUT_LETTER[file]
        assert accepted_by_others("aqua", rows, 200) == 0
