"""The case page: questions with their rationales under no prompt, prompt tuning and DPC, by a stated rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dpc.config.slices import FiguresStage
from dpc.plans.declaration import label as plan_label
from dpc.report import colours, drawing, wording
from dpc.report.cells import Tables
from dpc.report.drawing import MARGIN, WIDTH, Drawing
from dpc.report.exhibits import figure
from dpc.storage.hashing import hash_order

_Rows = dict[tuple[str, str], dict[Any, Any]]
"""Outcomes by `problem_id` and plan."""
PLANS = ("no_prompt", "prompt_tuning", "dpc")
_SIZE = 7.0  # points, rationales and questions
_HEAD = 7.5  # points, titles
_GAP = 0.16  # inches between columns


@dataclass(frozen=True)
class Kind:
    """One kind of case: its name, and which (right without, right with, right under DPC) belong to it."""

    title: str
    belongs: Callable[[bool, bool, bool], bool]


KINDS = (
    Kind("Right without the prompt, wrong with it, right again with DPC", lambda n, p, d: n and not p and d),
    Kind("Right without the prompt, wrong with it, still wrong with DPC", lambda n, p, d: n and not p and not d),
    Kind("Wrong without the prompt and with it, right with DPC", lambda n, p, d: not n and not p and d),
    Kind("Wrong without the prompt, right with it", lambda n, p, d: not n and p and d),
    Kind("DPC broke it", lambda n, p, d: p and not d),
    Kind("Wrong everywhere", lambda n, p, d: not n and not p and not d),
)


@figure(
    category="2 Cases",
    caption=(
        "Questions with their rationales under no prompt, prompt tuning and DPC, chosen by a fixed rule: questions "
        "that the prompt broke come first."
    ),
    tables=("outcomes",),
    note="The first seed is shown.",
    shows_questions=True,
)
def cases(tables: Tables, settings: FiguresStage) -> Drawing:
    """Draw the case page of one cell."""
    return draw(tables.first("outcomes"), settings)


def verdicts(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Return right or wrong per question (rows) and plan of the page (columns); complete questions only."""
    rows = outcomes[outcomes["plan"].isin(PLANS)].drop_duplicates(["problem_id", "plan"])
    right = [_counts_as_right(row["plan"], row) for row in rows.to_dict("records")]
    rows = rows.assign(right=pd.Series(right, rows.index, dtype=bool))
    table = rows.pivot(index="problem_id", columns="plan", values="right").reindex(columns=list(PLANS))
    return table.dropna().astype(bool)


def choose(outcomes: pd.DataFrame, count: int) -> list[tuple[str, str]]:
    """Choose cases: kinds take turns in the order of `KINDS`, within a kind by the hash of `problem_id`.

    Returns title of the kind and `problem_id`, at most `count` of them.
    """
    queues: dict[str, list[str]] = {kind.title: [] for kind in KINDS}
    for problem, right in verdicts(outcomes).iterrows():
        for kind in KINDS:
            if kind.belongs(*(bool(right[plan]) for plan in PLANS)):
                queues[kind.title].append(str(problem))
    for waiting in queues.values():
        waiting.sort(key=hash_order)
    rounds = max(map(len, queues.values()))
    turns = [(title, q[turn]) for turn in range(rounds) for title, q in queues.items() if turn < len(q)]
    return turns[:count]


def cut(text: str, words: int) -> str:
    """Return the first `words` words of `text`, line ends kept, and say so if any is left off."""
    kept: list[str] = []
    left = words
    lines = text.strip().split("\n")
    for number, line in enumerate(lines):
        pieces = line.split()
        if len(pieces) > left or (left == 0 and pieces):
            return "\n".join([*kept, " ".join([*pieces[:left], "… (cut)"])])
        left -= len(pieces)
        kept.append(" ".join(pieces))
        if left == 0 and any(rest.split() for rest in lines[number + 1 :]):
            return "\n".join(kept) + " … (cut)"
    return "\n".join(kept)


class _Page:
    """Texts and boxes in inches below the top edge; becomes a figure once its height is known."""

    def __init__(self) -> None:
        self.y = MARGIN
        self.texts: list[tuple[float, float, str, float, str, str, str | None]] = []
        self.boxes: list[tuple[float, float, float, float, str]] = []

    def write(
        self, x: float, lines: list[str], size: float, weight: str = "normal", color: str = colours.BLACK,
        gid: str | None = None, at: float | None = None,
    ) -> float:  # fmt: skip
        """Write `lines` from `at`, or from where the page stands, and return where they end."""
        y = self.y if at is None else at
        for line in lines:
            y += drawing.line_height(size)
            self.texts.append((x, y, line, size, weight, color, gid))
        return y

    def box(self, x: float, top: float, width: float, bottom: float, color: str) -> None:
        self.boxes.append((x, top, width, bottom, color))

    def figure(self) -> Figure:
        height = self.y + MARGIN
        figure = Figure(figsize=(WIDTH, height))
        FigureCanvasAgg(figure)
        for x, top, width, bottom, color in self.boxes:
            patch = Rectangle((x, height - bottom), width, bottom - top, facecolor=color, edgecolor="none")
            patch.set_transform(figure.dpi_scale_trans)
            figure.add_artist(patch)
        for x, y, text, size, weight, color, gid in self.texts:
            drawing.text_at(figure, x, height - y, text, size, weight=weight, color=color, gid=gid)
        return figure


def draw(outcomes: pd.DataFrame, settings: FiguresStage) -> Drawing:
    """Draw the case page of one cell from the `outcomes` of its first seed."""
    page = _Page()
    chosen = choose(outcomes, settings.figures.cases)
    rows = outcomes[outcomes["plan"].isin(PLANS)].to_dict("records")
    table = {(row["problem_id"], row["plan"]): row for row in rows}
    for number, (title, problem) in enumerate(chosen):
        _write_case(page, f"Case {number + 1}: {title}", problem, table, settings.figures.max_case_tokens)
    if not chosen:
        page.y = page.write(MARGIN, ["No case: no question was answered under all of the plans shown here."], _HEAD)
    caption = _caption(outcomes, chosen, settings)
    page.y += 0.06
    lines = drawing.wrap(caption, WIDTH - 2 * MARGIN, drawing.CAPTION_SIZE)
    page.y = page.write(MARGIN, lines, drawing.CAPTION_SIZE, gid="caption")
    page.y += drawing.ORIGIN_LINES * drawing.line_height(drawing.CAPTION_SIZE)
    return Drawing(page.figure(), caption)


def _write_case(page: _Page, title: str, problem: str, table: _Rows, words: int) -> None:
    wide = WIDTH - 2 * MARGIN
    top = page.y
    page.y = page.write(MARGIN + 0.05, [title], _HEAD, "bold") + 0.05
    page.box(MARGIN, top, wide, page.y, "#DCE6EE")
    question = table[problem, PLANS[0]]
    lines = drawing.wrap(f"Question: {cut(str(question['question']), words)}", wide - 0.1, _SIZE)
    answer = f"Gold answer: {question['answer']}    ({problem})"
    lines += drawing.wrap(cut(answer, words), wide - 0.1, _SIZE)
    page.y = page.write(MARGIN + 0.05, lines, _SIZE) + 0.06
    width = (wide - (len(PLANS) - 1) * _GAP) / len(PLANS)
    ends = []
    for number, plan in enumerate(PLANS):
        x = MARGIN + number * (width + _GAP)
        ends.append(_write_rationale(page, x, width, plan, table[problem, plan], words))
    page.y = max(ends) + 0.14


def _write_rationale(page: _Page, x: float, width: float, plan: str, row: dict[Any, Any], words: int) -> float:
    """Write one column of a case and return where it ends."""
    is_right = _counts_as_right(plan, row)
    colour = colours.RIGHT if is_right else colours.WRONG
    text_width = width - 0.1
    head = drawing.wrap(plan_label(plan), text_width, _HEAD, "bold")
    y = page.write(x + 0.1, head, _HEAD, "bold")
    mark = drawing.wrap(cut(_mark(row, is_right), words), text_width, _SIZE, "bold")
    y = page.write(x + 0.1, mark, _SIZE, "bold", colour, at=y) + 0.03
    if plan == "dpc" and not bool(row["fired"]):
        text, shade = "DPC did not fire: this is prompt tuning's rationale.", colours.GREY
    else:
        text, shade = cut(str(row["text"]), words) or "(empty)", colours.BLACK
    y = page.write(x + 0.1, drawing.wrap(text, text_width, _SIZE), _SIZE, color=shade, at=y)
    page.box(x, page.y + 0.03, 0.035, y + 0.03, colour)
    return y


def _counts_as_right(plan: str, row: dict[Any, Any]) -> bool:
    """Say whether an answer counts as right on this page: without a prompt it was never told the form."""
    return bool(row["correct_lenient"] if plan == "no_prompt" else row["correct"])


def _mark(row: dict[Any, Any], is_right: bool) -> str:
    """Return what became of an answer, in both readings where they differ, and whether it was cut short."""
    verdict = "✓ right" if is_right else "✗ wrong"
    if bool(row["correct"]) != bool(row["correct_lenient"]):
        verdict += ", read leniently" if is_right else ", though right if read leniently"
    found = row["extracted_lenient"] if pd.isna(row["extracted"]) else row["extracted"]
    answer = "no answer found" if pd.isna(found) else f"answer {found}"
    form = ", not in the form asked for" * (pd.isna(row["extracted"]) and not pd.isna(found))
    return f"{verdict}: {answer}{form}{'; cut short at max_new_tokens' * (row['stop_reason'] == 'length')}"


def _caption(outcomes: pd.DataFrame, chosen: list[tuple[str, str]], settings: FiguresStage) -> str:
    table = verdicts(outcomes)
    counts = [sum(kind.belongs(*map(bool, row)) for row in table.to_numpy()) for kind in KINDS]
    told = "; ".join(f"{kind.title.lower().replace('dpc', 'DPC')}: {n}" for kind, n in zip(KINDS, counts, strict=True))
    fired = outcomes[(outcomes["plan"] == "dpc") & outcomes["fired"].astype(bool)]["problem_id"].nunique()
    wanted = settings.figures.cases
    short = "" if len(chosen) == wanted else f"Only {len(chosen)} of the {wanted} requested cases exist. "
    missing = [plan_label(plan) for plan in PLANS if not (outcomes["plan"] == plan).any()]
    short += f"Not evaluated: {', '.join(missing)}. " if missing else ""
    return (
        "Look for the first step that differs between the columns: there the prompt leads to a wrong step, and DPC "
        f"may correct it. Cases, {len(chosen)} of {len(table)} test questions. Rule: the kinds of case take turns; "
        f"within a kind the order is by a hash of the question's id. Questions of each kind: {told}. An answer "
        "without a prompt counts as read leniently, as the model was never told the form; all others count as read "
        f"strictly. {short}DPC fired on {fired} of {len(table)} questions. A text is cut after "
        f"{wording.counted(settings.figures.max_case_tokens, 'word')} (figures.max_case_tokens, here words between "
        f"spaces, not the model's tokens). {wording.run(settings, all_seeds=False)}"
    )
