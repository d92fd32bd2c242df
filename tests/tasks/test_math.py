"""Extraction and grading of MATH."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from math import gcd
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpc.errors import DpcError
from dpc.tasks import get_task
from dpc.tasks import math as math_task
from dpc.tasks.symbolic import equality
from dpc.tasks.symbolic.answers import Words
from dpc.tasks.symbolic.grammar import readings
from tests.support.math_shapes import TABLE as SHAPES
from tests.support.math_values import TABLE as VALUES
from tests.support.paths import DATA, needs_data

task = get_task("math")

ROW = {"problem": "Half of one?", "solution": r"First $\boxed{x}$. Then $\boxed{\frac{1}{2}}$."}


def pairs(table: str) -> Iterator[tuple[str, str, bool]]:
    """Yield gold answer, found answer and whether they are equal."""
    for line in table.strip().splitlines():
        gold, *parts = re.split(" (?=[≡≢])", line)
        for part in parts:
            yield from ((gold, found, part[0] == "≡") for found in part[2:].split(" ‖ "))


class TestRead:
    def test_parse(self) -> None:
        problem = task.parse(ROW)
        assert problem.rationale == ROW["solution"]
        assert (problem.answer, problem.steps) == (r"\frac{1}{2}", 2)

    @pytest.mark.parametrize("solution", ["It is 2.", r"$\boxed{2$", r"$\boxed{}$", r"$\boxed{\,}$", r"$\boxedfoo{2}$"])
    def test_gold_without_box(self, solution: str) -> None:
        with pytest.raises(DpcError, match="boxes no answer"):
            task.parse({"problem": "?", "solution": solution})

    @pytest.mark.parametrize(
        ("text", "strict", "lenient"),
        [
            (r"$\boxed{\frac{1}{2}}$.", r"\frac{1}{2}", r"\frac{1}{2}"),
            (r"$\boxed{1}$ and $\boxed{2}$", "2", "2"),
            (r"\fbox{3}", "3", "3"),
            (r"$\boxed 12$.", "12", "12"),
            (r"$\boxed{\left\{ 1 \right.}$", r"\left\{ 1 \right.", r"\left\{ 1 \right."),
            (r"The answer is 5, so $\boxed{6}$", "6", "6"),
            (r"so $x = 4$. The answer is $5$.", None, "5"),
            (r"so $x = 4$ holds", None, "x = 4"),
            ("about 3 or 1,400", None, "1,400"),
            ("Final Answer: **73**", None, "73"),
            ("**Answer:** 73", None, "73"),
            ("The answer is 73, which is prime.", None, "73"),
            ("The answer is:\n\\[ 73 \\]", None, "73"),
            ("The answer is $3.5$ meters.", None, "$3.5$ meters"),
            (r"Final Answer: The final answer is $\frac{3}{2}$. I hope it is correct.", None, r"\frac{3}{2}"),
            ("Final Answer: The final answer is Evelyn. I hope it is correct.", None, "Evelyn"),
            ("The volume of $ABCD$ is 120.", None, "120"),
            ("The largest $n$ is 34.", None, "34"),
            ("The answer is 5 because 2 + 3 = 5.", None, "5"),
            ("The answer is $5$ since $2 + 3 = 5$.", None, "5"),
            ("The value of $x$ is $7$.", None, "7"),
            (r"The answer is \(x=3\).", None, "x=3"),
            ("Answer: $(3, -1)$", None, "(3, -1)"),
            ("The answer is $2$. No, the answer is $3$.", None, "3"),
            ("The answer is 5 million dollars.", None, "5 million dollars"),
            ("There are 9 boys. The answer is 9 boys at the meeting.", None, "9"),
            (r"The answers are $2$ and $3$.", None, "$2$ and $3$"),
            (r"\frac{10}{9}", None, r"\frac{10}{9}"),
            ("x = 3", None, "x = 3"),
            ("no idea", None, None),
            ("", None, None),
        ],
    )
    def test_extract(self, text: str, strict: str | None, lenient: str | None) -> None:
        assert task.extract(text) == (strict, lenient)


class TestGrade:
    @pytest.mark.parametrize(("gold", "found", "is_equal"), [*pairs(VALUES), *pairs(SHAPES)])
    def test_pair(self, gold: str, found: str, is_equal: bool) -> None:
        assert task.grade(found, gold) == is_equal

    def test_either_may_be_the_gold_answer(self) -> None:
        """But the found answer alone may leave out a base, and `5m` is metres only as an answer to 5."""
        both = [pair for pair in (*pairs(VALUES), *pairs(SHAPES)) if not re.search(r"_|[0-9]m\b", pair[0] + pair[1])]
        assert [pair for pair in both if task.grade(pair[0], pair[1]) != pair[2]] == []
        assert len(both) > 700

    def test_the_tables_are_whole(self) -> None:
        kinds = re.findall("^# .*", VALUES + SHAPES, re.MULTILINE)
        verdicts = [is_equal for *_, is_equal in (*pairs(VALUES), *pairs(SHAPES))]
        assert (len(kinds), verdicts.count(True), verdicts.count(False)) == (24, 570, 216)

    @pytest.mark.parametrize("gold", [" ", r"\,", "$ $", "{}"])
    def test_empty_gold(self, gold: str) -> None:
        with pytest.raises(DpcError, match="gold answer is empty"):
            task.grade("1", gold)

    def test_in_many_threads(self) -> None:
        readings.cache_clear()
        asked = [*pairs(SHAPES)]
        found: list[list[bool]] = []

        def work() -> None:
            found.append([equality.equal(gold, text) for gold, text, _ in asked])

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [[is_equal for *_, is_equal in asked]] * 4

    def test_a_verdict_is_found_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert not task.grade("2x + 12345", "2x + 54321")
        monkeypatch.setattr("dpc.tasks.symbolic.equality.same", lambda *_: pytest.fail("graded again"))
        assert not task.grade("2x + 12345", "2x + 54321")


COSTLY = {
    "towers": [
        "10^{10^{10}}",
        "10^{10^{10^{10^{10}}}}",
        "2" + "^2" * 200,
        "9^{9^{9^9}}",
        r"e^{e^{e^{e^{e}}}}",
        "{2}" * 99,
    ],
    "factorials": ["99999!", "((9!)!)!", "+".join(["4999!"] * 60), "3" + "!" * 300, r"\binom{1000000000}{500000000}"],
    "powers": ["(x+y+z)^{99}" * 30, "(x^{999}+1)^{999}", r"\frac{1}{x^{999}+1}+" * 15 + "1", "(1.0000001)^{99999}"],
    "depth": [
        "(" * 400,
        "([" * 123 + "1" * 2 + "])" * 123,
        "{" * 240,
        r"\sqrt{" * 60,
        r"\sqrt" * 90 + "2",
        r"\sin" * 90,
    ],
    "lists": [",".join(["1"] * 250), " and ".join(["1"] * 80), "<".join("x" * 200), "=".join("x" * 200), "|x" * 200],
    "sets": [",".join(rf"x\ne{i}" for i in range(60)), r"\cup".join(f"({i},{i + 1})" for i in range(0, 90, 2))],
    "signs": [
        "-" * 499 + "5",
        "`" * 400,
        "\\" * 400,
        "$" * 400,
        "½" * 300,
        "~" * 300,
        "'" * 300,
        "}{" * 200,
        r"\pm" * 99,
    ],
    "words": ["word " * 99, "5 " + "cm " * 150, r"\text{" * 80, "3 1/2 " * 80, "5th" * 150, r"\approx 1" * 50],
    "length": ["x+" * 30000 + "1", "(" * 5000 + "1" + ")" * 5000, ",".join(["1"] * 9000)],
    "numbers": [
        "7" * 5000,
        "0." + "3" * 480,
        "1e9999999",
        "1.5e-9999",
        "1," + "123," * 120 + "123",
        r"\tan(10^{10^5})",
    ],
}
"""Texts that would take long, or much room, or many frames, if they were worked out."""


@pytest.mark.parametrize("text", [text for texts in COSTLY.values() for text in texts])
def test_no_text_takes_long(text: str) -> None:
    start = time.perf_counter()
    assert not task.grade(text, "7x+1")
    assert isinstance(task.extract(f"The answer is {text}."), tuple)
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("text", ["(" * 31 + "1" + ")" * 31, "x" * 501])
def test_what_is_too_deep_or_too_long_is_words(text: str) -> None:
    assert [type(one) for one in readings(text)] == [Words]
    assert task.grade(text, text)


PARTS = re.split(
    " ",
    r"\frac \sqrt \text { } ( ) [ ] \{ \} | ^ _ , ; : . = < > \le \ne + - \pm * / ! ' 1 2 12 1,234 0.5 x y f e "
    r"i \pi "
    r"\infty \sin \log \circ % \% \$ $ & \\ \cup \in \setminus \emptyset \begin{pmatrix} \end{pmatrix} and or m cm "
    r"a.m. \overline \left \right \mathbf \textcolor \boxed ½ √ ° ² ≥ ∪ million dozen least at more",
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from([*PARTS, " "]), max_size=40).map("".join) | st.text(max_size=60))
def test_any_text_is_graded(text: str) -> None:
    assert task.grade(text, "7x+1") in (True, False)
    assert len(task.extract(f"So the answer is {text}")) == 2
    assert equality.equal(text, text) or not math_task.scan(text)


def spellings(numerator: int, denominator: int, radicand: int) -> list[str]:
    """Return ways to write numerator / denominator, times the root of `radicand` if that is no 1."""
    sign, n, d = "-" * (numerator < 0), abs(numerator), denominator
    if radicand != 1:
        inner = Fraction(n * n * radicand, d * d)
        return [
            rf"{sign}\frac{{{n}\sqrt{{{radicand}}}}}{{{d}}}",
            rf"{sign}\frac{{{n}}}{{{d}}}\sqrt{{{radicand}}}",
            f"{sign}{n}/{d}√{radicand}",
            rf"{sign}\sqrt{{\frac{{{inner.numerator}}}{{{inner.denominator}}}}}",
            rf"\frac{{{sign}{n * radicand}}}{{{d}\sqrt{{{radicand}}}}}",
            f"{sign}{n}*sqrt({radicand})/{d}",
        ]
    whole, rest = divmod(n, d)
    ways = [rf"{sign}\frac{{{n}}}{{{d}}}", rf"\dfrac{{{sign}{n}}}{{{d}}}", f"{sign}{n}/{d}", f"{sign}{n} ÷ {d}"]
    if whole and rest:
        ways += [rf"{sign}{whole}\frac{{{rest}}}{{{d}}}", f"{sign}{whole} {rest}/{d}"]
    if d == 1:
        ways += [f"{sign}{n}", f"{sign}{n}.0", f"{sign}{n:,}".replace(",", "{,}"), rf"{sign}{n:,}".replace(",", r",\!")]
    return ways + ([recurring(sign, n, d)] if rest else [])


def square(n: int, d: int, r: int) -> Fraction:
    """Return (n √r / d)², with its sign: what is different has different squares."""
    return Fraction(n * abs(n) * r, d * d)


def recurring(sign: str, n: int, d: int) -> str:
    """Write n / d by long division, its period under a line."""
    digits, seen, rest = "", dict[int, int](), n % d
    while rest and rest not in seen:
        seen[rest] = len(digits)
        digits, rest = digits + str(rest * 10 // d), rest * 10 % d
    if not rest:
        return f"{sign}{n // d}.{digits}"
    return rf"{sign}{n // d}.{digits[: seen[rest]]}\overline{{{digits[seen[rest] :]}}}"


WRAPPERS = re.split(
    " ‖ ",
    r"{} ‖ ${}$ ‖ \({}\) ‖ {}. ‖ \,{}\; ‖ \boldsymbol{{{}}} ‖ \mathbf{{{}}} ‖ \textcolor{{blue}}{{{}}} ‖ "
    r"\color{{red}}{{{}}} ‖ {{\color{{red}} {}}} ‖ \displaystyle {} ‖ \textstyle{{{}}} ‖ \left({}\right) ‖ "
    r"\bigl({}\bigr) ‖ x = {} ‖ x={} ‖ {}\text{{ cm}} ‖ {} \text{{ square units}} ‖ "
    r"{}\,\mathrm{{km/h}} ‖ \boxed{{{}}} ‖ **{}** ‖ {}\text{{ ways}}",
)


class TestProperties:
    values = st.tuples(st.integers(-400, 400).filter(bool), st.integers(1, 40), st.sampled_from([1, 1, 2, 3, 5, 6, 7]))

    @settings(max_examples=300, deadline=None)
    @given(values, st.data())
    def test_no_formatting_changes_a_value(self, value: tuple[int, int, int], data: st.DataObject) -> None:
        def written(n: int, d: int, r: int) -> str:
            way = data.draw(st.sampled_from(spellings(n // gcd(n, d), d // gcd(n, d), r)))
            return data.draw(st.sampled_from(WRAPPERS)).format(way)

        other = data.draw(st.just(value) | self.values)
        gold, found = written(*value), written(*other)
        units = set(re.findall("cm|square|km|ways", gold + found))
        assert task.grade(found, gold) == (square(*value) == square(*other) and len(units) < 2)

    @settings(max_examples=200, deadline=None)
    @given(st.lists(values, min_size=2, max_size=6), st.data())
    def test_order_counts_in_tuples_alone(self, items: list[tuple[int, int, int]], data: st.DataObject) -> None:
        def written(order: list[tuple[int, int, int]]) -> list[str]:
            return [data.draw(st.sampled_from(spellings(n // gcd(n, d), d // gcd(n, d), r))) for n, d, r in order]

        items = list({square(*item): item for item in items}.values())
        mixed = data.draw(st.permutations(items))
        gold, found = written(items), written(mixed)
        assert task.grade(", ".join(found), ", ".join(gold))
        assert task.grade(r"\{" + ", ".join(found) + r"\}", ", ".join(gold))
        assert task.grade(f"({', '.join(found)})", f"({', '.join(gold)})") == (mixed == items)
        assert not task.grade(", ".join([*found, "401"]), ", ".join(gold))

    @settings(max_examples=200, deadline=None)
    @given(st.integers(0, 10**40), st.integers(0, 10**40))
    def test_whole_numbers_are_compared_exactly(self, a: int, b: int) -> None:
        assert task.grade(str(b), str(a)) == (a == b)
        assert not task.grade(str(a + 1), str(a))
        assert not task.grade(rf"\frac{{1}}{{{a + 2}}}", rf"\frac{{1}}{{{a + 1}}}")

    @settings(max_examples=300, deadline=None)
    @given(st.fractions(min_value=-1000, max_value=1000, max_denominator=997), st.integers(1, 10))
    def test_a_decimal_of_six_digits_is_what_it_is_rounded_or_cut_from(self, value: Fraction, places: int) -> None:
        unit = Fraction(1, 10**places)
        cut = abs(value) // unit * unit
        for decimal in (cut, cut + unit):
            text = f"{'-' * (value < 0)}{decimal // 1}.{int(decimal % 1 / unit):0{places}}"
            is_near = decimal == cut or decimal - abs(value) <= unit / 2
            digits = len(text.replace(".", "").lstrip("-0"))
            expected = decimal == abs(value) or (digits >= 6 and is_near)
            assert task.grade(text, f"{value.numerator}/{value.denominator}") == expected


def answers(path: Path) -> list[tuple[str, str]]:
    """Return solution and answer of each row."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(row["solution"], task.parse(row).answer) for row in rows]


STRIPPED = (
    (r",\\!|\\!|\\[,; ]|\s|\{,\}|\^\{?\\circ\}?|\\%|\\\$|_\{?[0-9]+\}?$|\.$", ""),
    (r"(?<=[0-9}])\\(?:text|mbox)\{(?!and|a\.m).*", ""),
    *[(r"\\(?:text|mbox)\{(.*)\}|^\((.*)\)$", r"\1\2")] * 2,
    (r"^[a-z]=(?=[-0-9\\])|^y=(?=-?[0-9]*x$)", ""),
    (r"\\[dtc]frac", r"\\frac"),
    (r"\\frac([0-9])", r"\\frac{\1}"),
    (r"\\(frac\{.*?\}|sqrt)([0-9])", r"\\\1{\2}"),
)


def said(answer: str) -> str:
    """Return what an answer says by simple means, an oracle for two answers: a number, or the text without spacing."""
    for pattern, replacement in STRIPPED:
        answer = re.sub(pattern, replacement, answer)
    number = re.fullmatch(r"(-?)([0-9]*)\\frac\{([0-9]+)\}\{([0-9]+)\}|([0-9]+):([0-9]+)", answer)
    if number:
        part = Fraction(int(number[3] or number[5]), int(number[4] or number[6]))
        return str((int(number[2] or 0) + part) * (-1 if number[1] else 1))
    return str(Fraction(answer)) if re.fullmatch(r"-?[0-9]*\.?[0-9]+", answer) else answer


@needs_data
class TestRealData:
    def test_sample(self) -> None:
        rows = random.Random(1).sample(answers(DATA / "math/test.jsonl"), 200)
        assert [answer for solution, answer in rows if not task.grade(task.extract(solution)[0], answer)] == []
        assert self.accepted([answer for _, answer in rows], 20) == []

    @pytest.mark.proof
    def test_all(self) -> None:
        rows = answers(DATA / "math/test.jsonl")
        assert len(rows) == 5000
        assert [answer for solution, answer in rows if not task.grade(task.extract(solution)[0], answer)] == []
        assert self.accepted([answer for _, answer in rows], 200) == []
        parsed = [task.parse({"problem": "?", "solution": solution}) for solution, _ in rows]
        assert sum(problem.steps == 1 for problem in parsed) == 420  # 1,573 if only `. ` ended a step

    def accepted(self, golds: list[str], count: int) -> list[tuple[str, str]]:
        """Grade `count` other answers against each; return the pairs that are accepted and do not say the same."""
        rng, wrong = random.Random(0), []
        meanings = {gold: said(gold) for gold in golds}
        for gold in golds:
            for other in rng.sample(golds, count):
                if meanings[other] != meanings[gold] and task.grade(other, gold):
                    wrong.append((gold, other))
        return wrong
