"""GSM8K: which number a text gives as its answer, and which numbers are equal."""

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

task = get_task("gsm8k")

ROW = {
    "question": "How many?",
    "answer": "3 + 4 = <<3+4=7>>7 pens.\n7 * 1,000 = <<7*1000=7000>>7,000\n#### 7,000",
}

Case = tuple[str, str | None, str | None]
"""A text, its strict and its lenient reading."""


def behind(value: str, *contents: str) -> list[Case]:
    """Return a case for each content of a line `#### …`; both readings are `value`."""
    return [(f"#### {content}", value, value) for content in contents]


def said(value: str | None, *texts: str) -> list[Case]:
    """Return a case for each text without a mark that counts: only the lenient reading is `value`."""
    return [(text, None, value) for text in texts]


WRAPPED = [
    *behind(
        "18", "**18**", "***18***", "*18*", "__18__", "_18_", "~~18~~", "`18`", "```18```", "**18", "18**", "**18.**"
    ),
    *behind(
        "18", "**18** apples", "**18 apples**", "$**18**", "**$18**", "**_18_**", "<b>18</b>", "<answer>18</answer>"
    ),
    *behind("18", r"\boxed{18}", r"$\boxed{18}$", r"\boxed{\$18}", r"\boxed{\text{18}}", r"\boxed{18 \text{ apples}}"),
    *behind("18", r"\fbox{18}", r"\boxed 18", r"\boxed{18", r"\text{18}", r"\mathbf{18}", r"\textcolor{blue}{18}"),
    *behind("18", "$18$", "$$18$$", r"\(18\)", r"\[18\]", r"\[ 18 \]", "{18}", r"\left(18\right)", r"18\,"),
    *behind("18", "(18)", "((18))", "[18]", "<18>", '"18"', "'18'", "“18”", "‘18’", "«18»", "| 18 |", "✅ 18", "18 ✅"),
    *behind(
        "18", "18.", "18,", "18!", "18;", ": 18", "= 18", "≈ 18", "~18", "-> 18", "=> 18", "→ 18", "about 18", "１８"
    ),
    *behind("18", "18</s>", "18<|im_end|>", "18 #### 18", "+18", "018"),
]
UNITS = [
    *behind(
        "18",
        r"\$18",
        "$ 18",
        "$18.00",
        r"$\$18$",
        "€18",
        "18€",
        "18 €",
        "£18",
        "₹18",
        "¥18",
        "US$18",
        "USD 18",
        "Rs. 18",
    ),
    *behind("18", "18 USD", "18 dollars", "18 cents", "18¢", "18%", r"18\%", "18 percent", "18°", r"18^\circ", "18th"),
    *behind("18", "18 apples", "18 km/h", "18 m", "18 k", "18 cm^2", "18 cm²", r"18\text{ cm}^2", "18 miles per hour"),
    *behind("-18", "-$18", "$-18", "−$18", "- $18", "-€18", r"-\$18", r"\$-18"),
    *behind("1234.50", "$1,234.50", "$1,234.50 in all.", r"\$1{,}234.50"),
    *behind("5", "5:00 PM", "5 p.m."),
]
NUMBERS = [
    *behind("9500", "9,500", "9{,}500", r"9\,500", r"9,\!500", "9 500", "9\u00a0500", "9\u202f500"),
    *behind("9500", "9,500.00", "$9{,}500$", r"\boxed{9,500}"),
    *behind("1234567", "1,234,567", "1 234 567", "1{,}234{,}567", "12,34,567"),
    *behind("2.5", "2 1/2", "2½", "2 ½", "2 and 1/2", "2-1/2", "2.50", "5/2"),
    *behind("2.5", r"2\frac{1}{2}", r"2 \frac12", r"$2\tfrac{1}{2}$", "2 1/2 hours"),
    *behind("-2.5", "-2 1/2", "–2½", r"-2\frac12"),
    *behind("3.5", "7/2", "7 / 2", "7⁄2", r"\frac{7}{2}", r"\dfrac72", "3.50", "3½"),
    *behind("0.5", "½", ".5", r"\frac12", "1/2"),
    *behind("-0.5", "-½", "-.5", r"-\frac{1}{2}", r"\frac{-1}{2}"),
    *behind("7/3", "7/3", "2 1/3", "2⅓"),
    *behind("2000000", "2 million", "2 Million", "$2 million", "2 million dollars", "2-million"),
    *behind("2000000", r"2\text{ million}", "$2M", "2 millions"),
    *behind("2500000", "2.5 million", "$2.5 million"),
    *behind("3000", "3 thousand", "$3k", "3K", "30 hundred", "3 thousands"),
    *behind("200000", "2 hundred thousand"),
    *behind("1500", "1.5e3", "1.5E3", "1.5e+3", "1.5 x 10^3", "1.5 × 10^3", "1.5 × 10³"),
    *behind("1500", r"1.5 \times 10^3", r"1.5\times10^{3}", "1.5*10^3"),
    *behind("1000", "10^3", "10³", "10^{3}", "1e3"),
    *behind("0.15", "1.5e-1", r"1.5 \cdot 10^{-1}", "1.5 × 10⁻¹"),
    *behind("-18", "-18", "–18", "—18", "−18", "- 18", "﹣18", "－18", "**–18**", r"\boxed{-18}", "(-18)"),
    *behind("24", "2 dozen"),
    *behind("2", "2 dozen"),
]  # fmt: skip
EQUATIONS = [
    *behind("18", "3 x 6 = 18", "3x6=18", "3 * 6 = 18", "3*6=18", "3 × 6 = 18", r"3 \times 6 = 18", "$9 x 2 = $18"),
    *behind(
        "18", "20 - 2 = 18", "20-2=18", "10 + 5 + 3 = 18", "36/2 = 18", "36 ÷ 2 = 18", "(20 - 2) = 18", "2(4+5) = 18"
    ),
    *behind(
        "18", "9 eggs x $2 = $18", "3 x 6 = 18 apples", "9 cups/jar x 2 jars = 18 cups", "3 x 6 = **18**", "18 = 3 x 6"
    ),
    *behind("18", "3 + 15 = 9 * 2 = 18", "18 because 20 - 2 = 18", "18 (since 3 x 6 = 18)", "18 since x = 3"),
]
LABELLED = [
    *behind(
        "18", "Answer: 18", "**Answer:** 18", "**Answer**: 18", "**Answer: 18**", "ANSWER: 18", "Ans: 18", "Answer = 18"
    ),
    *behind(
        "18", "Answer - 18", "Answer 18", "The answer is 18", "Therefore, the answer is 18.", "The final answer is: $18"
    ),
    *behind("18", "Final Answer: 18", r"**Final Answer:** \(\boxed{18}\)", r"Answer: \boxed{18}", "Answer: 3 x 6 = 18"),
    *behind(
        "18", "Answer: x = 18", "answer is 18 dollars per day", "Answer: Ann has 18 pens.", "Step 3: Final Answer: 18"
    ),
    *behind("18", "Total: 18", "Result: 18", "Total cost: $18", "Total cost: 3 x 6 = 18", r"Total: \boxed{18}"),
    *(
        (text, "18", "18")
        for text in ("####18", "####\n18", "####\n\n18", "#### \n**18**", "####\n\\[ 18 \\]", "##### 18")
    ),
    *(
        (text, "18", "18")
        for text in ("text #### 18", "> #### 18", "**#### 18**", r"\#\#\#\# 18", "#### 18\r\n", "#### 18\n")
    ),
    ("#### Final Answer\n18", "18", "18"),
    ("#### Final Answer:\n\n**18**", "18", "18"),
    ("#### **Final Answer**\n\\[\n\\boxed{18}\n\\]", "18", "18"),
    ("#### Final Answer\n3 x 6 = 18", "18", "18"),
    ("#### Answer\nJanet makes **$18** every day.", "18", "18"),
    ("#### Answer\nThe answer is 18.", "18", "18"),
]
SEVERAL_MARKS = [
    ("so 5\n#### 7", "7", "7"),
    ("#### 7\nQuestion: 8? #### 9", "7", "7"),
    ("#### 7\n#### 9", "7", "7"),
    ("#### 7 Question: 8? #### 9", "7", "7"),
    ("#### 7 apples\nQuestion: 8?\n#### 9", "7", "7"),
    ("#### 7 because 3 + 4 is\nQ: 8?\n#### 9", "7", "7"),
    ("#### 7\n\nProblem 2: 8\n#### 9", "7", "7"),
    ("#### 3 + 4 = 7\n\nQuestion: 8?\n#### 8 + 1 = 9", "7", "7"),
    ("#### Final Answer: 7\n\nQuestion: 8?\n#### Final Answer: 9", "7", "7"),
    ("#### 7\n\nExplanation: 3 and 4.", "7", "7"),
    ("#### 7\n\n#### Check\n7 - 4 = 3", "7", "7"),
    ("#### 7\n#### Step 4: Verify\n7 - 4 = 3", "7", "7"),
    ("#### 7\n#### 4. Verification\nWe check 7 - 4 = 3.", "7", "7"),
    ("#### Step 2: multiply by 3\n3 x 6 = 18\n#### 18", "18", "18"),
    ("#### Step 1: 16 - 7 = 9\n#### Step 2: 9 x 2 = 18\n#### 18", "18", "18"),
    ("#### 16 - 7 = 9\nEggs left.\n#### 9 x 2 = 18\nDollars.\n#### 18", "18", "18"),
    ("#### **Step 1:** find 9\n\n#### **Step 2:** find 18\n\n#### **Answer:** 18", "18", "18"),
    ("#### 1. Eggs left\n16 - 7 = 9\n#### 2. Money\n9 * 2 = 18\n#### 18", "18", "18"),
    ("#### 1) Understand\n16\n#### 2) Solve\n18\n#### Final Answer: 18", "18", "18"),
    ("#### Given\n16 eggs\n#### Solution\n9\n#### Answer\n18", "18", "18"),
    ("#### 5 apples for each of 3 friends\n5 * 3\n#### 15", "15", "15"),
    ("#### Cost: 3 x 5 = 15\nThen 3 more.\n#### Total: 15 + 3 = 18", "18", "18"),
    ("#### 5 dollars per day for 3 days\nThe answer is 15.", None, "15"),
    ("#### 16 - 7 = 9\nEggs left.\n#### 9 x 2 = 18\nDollars: 18", None, "18"),
    ("#### 1. Eggs left\n16 - 7 = 9\n#### 2. Money\n9 * 2 = 18", None, "18"),
    ("#### 1 Understand\n16 eggs\n#### 2 Compute\nThe answer is 18.", None, "18"),
    ("#### 1 Understand the problem\n16 eggs\nThe answer is 18.", None, "18"),
    ("#### Step 1: Eggs\n9\n#### Step 2: Money\nThe answer is 18.", None, "18"),
    ("#### First day: 9\n#### Second day: 9\nTotal: 18", None, "18"),
    ("#### 10. Final answer: 42", "42", "42"),
    ("#### 12. Verify\nThe answer is 42.", None, "42"),
]
NO_ANSWER_BEHIND = [
    *said("9", "#### x = 9"),
    *said("3", "#### Step 2: multiply by 3", "#### Step 3", "### 3", "# 3"),
    *said("2", "#### 2. Compute total", "#### 2) Compute total", "#### (2) Compute total", "#### **2. Compute total**"),
    *said("6", "#### 3 x 6", "#### 9 + 6", "#### 5-6", "#### 5:6"),
    *said("20", "#### 18-20", "#### 18–20", "#### Step 1\n18 + 2 = 20"),
    *said("42", "#### ...\nSo we get 42", "#### \nWe get 42"),
    *said(None, "####", "#### ...", "#### three", "#### Verification"),
]  # fmt: skip
SAID = [
    *said(
        "73",
        "Final Answer: **73**",
        "**Answer:** 73",
        "The answer is 73, which is prime.",
        "The answer is:\n\\[ 73 \\]",
    ),
    *said(
        "73",
        "The answer is 73 because 7*10+3 = 73 and 5 more",
        "The answer is 73. She has 5 left.",
        "Answer: 73. Not 5.",
    ),
    *said(
        "73",
        "**Final Answer**\n73\n\nNote: 5",
        "### Final Answer\n\n**73**\nCheck: 70 + 3",
        "**Answer**: 73 (see step 2)",
    ),
    *said("73", r"The final answer is $\boxed{73}$. I used 2 steps.", r"So he has \(\boxed{73}\) apples in 5 days."),
    *said(
        "73", "<answer>73</answer> 5", "The correct answer is 73. Not 72.", "The answer is not 72 but 73, in 5 days."
    ),
    *said(
        "73",
        "The answer to the question is 73, as 3",
        "My final answer would be 73 for 3",
        "the answer = 73 in 2 steps",
    ),
    *said(
        "73", "The answer (in dollars) is 73 for 3.", "Ans: 73, 2 steps", "Hence the answer must be 73 and 3 is wrong"
    ),
    *said(
        "73",
        "The answer is x = 73 for y = 3",
        "The answer is therefore $73 for 3",
        "Answer: 73 apples\n\nThey fill 3 boxes.",
    ),
    *said("73", "The answer is 5. Wait, no. The answer is 73. I took 2 tries.", "Answer:\n\n73\n\n3 boxes", "A: 73"),
    *said("73", "The answer is 73.\n\nQ: Bob has 5.\nA: The answer is 9.", "Answer: 73\n\nQuestion: 5?\nAnswer: 9"),
    *said("73", "Answer: Ann has 73 pens.\n\nShe had 2.", "the answer is 70 + 3 = 73. So 3 more."),
    *said(
        "3.5",
        "The answer is $3.5$ meters.",
        "The answer is 3 1/2 hours, or 210 minutes.",
        r"Answer: \(\frac{7}{2}\), 3 of 2",
    ),
    *said("-18", "The answer is –18, below 0.", "**Answer:** -$18 (of 20)"),
    *said("1234.5", "Answer: $1,234.50 in 3 parts.", "The answer is $1{,}234.5$, 3 parts"),
    *said("2000000", "The answer is 2 million in 5 years"),
]
LAST = [
    *said(
        "7",
        "16 - 3 = 13, then 20-7",
        "She has **7** pens.",
        "To find the answer, we add 3 and 4 = 7",
        "x2 + 7",
        "- 3\n- 7",
    ),
    *said(
        "7",
        "The answer is found by adding 3 and 4, giving 7.",
        "The answer is a number. It is 7",
        "Total | 7 |",
        "3 x 7",
    ),
    *said("7", "Answer:\n3 pens and 4 more make 7", "Answer:\n3 + 2 = 5\n5 + 2 = 7\n\nShe has 7."),
    *said("-4", "it falls to -4.", "it falls to –4.", "it falls to −4."),
    *said("5", "it costs 4, 5", "it costs 4-5", "area of 5 cm^2", "area of 5 cm²", r"5\text{ m}^2"),
    *said("0.5", "half is .5", r"half is \frac{1}{2}", "half is ½"),
    *said("9500", "so 9{,}500", "a total of 9 500", "so $9,500."),
    *said("50", r"it is 50\%", "it is 50%"),
    *said(None, "no idea", ""),
]
CASES = [*WRAPPED, *UNITS, *NUMBERS, *EQUATIONS, *LABELLED, *SEVERAL_MARKS, *NO_ANSWER_BEHIND, *SAID, *LAST]


def is_same(found: str | None, value: str | None) -> bool:
    return found is None if value is None else task.grade(found, value)


class TestParse:
    def test_parse(self) -> None:
        problem = task.parse(ROW)
        assert problem.rationale == "3 + 4 = 7 pens.\n7 * 1,000 = 7,000\n#### 7,000"
        assert (problem.answer, problem.steps) == ("7000", 2)
        assert task.grade(task.extract(problem.rationale)[0], problem.answer)

    @pytest.mark.parametrize("answer", ["so it is 7", "7\n####", "#### seven"])
    def test_gold_without_number(self, answer: str) -> None:
        with pytest.raises(DpcError, match="expected a last line like '#### 72'"):
            task.parse({"question": "?", "answer": answer})


class TestExtract:
    @pytest.mark.parametrize(("text", "strict", "lenient"), CASES)
    def test_reading(self, text: str, strict: str | None, lenient: str | None) -> None:
        found = task.extract(text)
        assert is_same(found[0], strict), found
        assert is_same(found[1], lenient), found

    @pytest.mark.parametrize(
        ("content", "written"),
        [
            ("$1,234.50", "1234.50"),
            ("-$3", "-3"),
            ("36/2", "36/2"),
            ("2 1/2", "2.5"),
            ("2 million", "2000000"),
            ("1.5e3", "1500"),
            ("2 1/3", "7/3"),
            ("2 dozen", "2 dozen"),
        ],
    )
    def test_written(self, content: str, written: str) -> None:
        assert task.extract(f"#### {content}")[0] == written

    @pytest.mark.parametrize(
        "piece", ["9 ", "$", "**", r"\boxed{", r"\frac{", "The answer is 18. ", "#### 3 x ", "(", "9,"]
    )
    def test_long_text(self, piece: str) -> None:
        start = time.monotonic()
        task.extract(f"#### {piece * (4000 // len(piece))}")
        assert time.monotonic() - start < 2


class TestGrade:
    @pytest.mark.parametrize(
        "found", ["18", "18.00", "$18", "18.", "18 apples", "18%", "36/2", "+18", " 18", "3 x 6 = 18"]
    )
    def test_equal(self, found: str) -> None:
        assert task.grade(found, "18")

    @pytest.mark.parametrize(
        "found", [None, "", "1.8", "-18", "180", "18/5", "18/0", "18.01", "eighteen", "9" * 5000, "1e999", "18e99999"]
    )
    def test_unequal(self, found: str | None) -> None:
        assert not task.grade(found, "18")

    @pytest.mark.parametrize(
        ("text", "wrong"),
        [
            ("#### 9{,}500", "9"),
            ("#### 2 1/2", "2"),
            ("#### 2 1/2", "1/2"),
            ("#### 2 million", "2"),
            ("#### 1.5e3", "1.5"),
            ("#### 3 x 6 = 18", "3"),
            ("#### –18", "18"),
            ("#### 1/3", "0.333333"),
            ("#### 18 m", "18000000"),
            ("#### 5:30", "5"),
            ("#### 3,5", "3"),
        ],
    )
    def test_not_misread(self, text: str, wrong: str) -> None:
        assert not any(task.grade(found, wrong) for found in task.extract(text)[:1])

    def test_gold_must_be_a_number(self) -> None:
        with pytest.raises(DpcError, match="gold answer 'many' is not a number"):
            task.grade("1", "many")


@st.composite
def numbers(draw: Any) -> tuple[str, str]:
    """Draw a value and a way to write it."""
    whole, decimals = draw(st.integers(0, 10**8)), draw(st.sampled_from(["", ".5", ".25", ".00"]))
    minus = draw(st.booleans())
    sign = draw(st.sampled_from("-–−") if minus else st.sampled_from(["", "+"]))
    digits = f"{whole:,}".replace(",", draw(st.sampled_from(["", ",", "{,}", " ", r"\,", "\u202f"]))) + decimals
    currency = draw(st.sampled_from(["", "$", r"\$", "$ ", "€", "US$"]))
    unit = draw(st.sampled_from(["", " dollars", "%", r"\%", " km/h", " cm^2", r"\text{ apples}"]))
    is_inside = currency not in ("", "US$") and draw(st.booleans())
    return f"{'-' * minus}{whole}{decimals}", (currency + sign if is_inside else sign + currency) + digits + unit


class TestFormattingNeverChangesANumber:
    @settings(deadline=None, max_examples=300)
    @given(numbers(), st.data())
    def test_behind_the_mark(self, number: tuple[str, str], data: st.DataObject) -> None:
        value, form = number
        strict, lenient = task.extract(data.draw(behind_mark(form)))
        assert is_same(strict, value)
        assert is_same(lenient, value)

    @settings(deadline=None, max_examples=300)
    @given(numbers(), st.data())
    def test_said(self, number: tuple[str, str], data: st.DataObject) -> None:
        value, form = number
        sentences = ("It is 5. So {}", "5 + 6.\nThe answer is {}, as 5 is 6.", "**Final Answer:** {}\n\nNote: 5 of 6")
        text = data.draw(
            st.sampled_from([*sentences, "So the answer is {} because 5 + 6 = 11", "### Answer\n\n{}\n\nSee 5"])
        )
        strict, lenient = task.extract(text.format(data.draw(wrapped(form))))
        assert strict is None
        assert is_same(lenient, value)


@needs_data
class TestRealData:
    def test_sample(self) -> None:
        rows = sample(rows_of("gsm8k", "test.jsonl"))
        assert missed("gsm8k", rows, "answer") == []
        assert accepted_by_others("gsm8k", rows, 20) == 0

    @pytest.mark.proof
    @pytest.mark.parametrize(("file", "count"), [("train.jsonl", 7473), ("test.jsonl", 1319)])
    def test_all(self, file: str, count: int) -> None:
        rows = rows_of("gsm8k", file)
        assert len(rows) == count
        assert missed("gsm8k", rows, "answer") == []
        assert accepted_by_others("gsm8k", rows, 200) == 0
