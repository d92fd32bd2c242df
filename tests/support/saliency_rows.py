"""Rows of table `saliency` made from explicit full maps by slow loops: an oracle that shares no code with the package.

A question is laid out as [BOS, p, q, r]. Axes: L layer, S position, N prompt vector, T rationale token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dpc.analysis.readings.flow import Instance

Maps = NDArray[np.float64]


@dataclass(frozen=True)
class Places:
    """Where the tokens of one question lie, and which reasoning step each rationale token belongs to."""

    vectors: int
    question: int
    steps: tuple[int, ...]
    """Step of each rationale token; its length is T."""

    @property
    def tokens(self) -> int:
        return len(self.steps)

    @property
    def size(self) -> int:
        return 1 + self.vectors + self.question + self.tokens

    @property
    def p(self) -> list[int]:
        return [1 + j for j in range(self.vectors)]

    @property
    def q(self) -> list[int]:
        return [1 + self.vectors + j for j in range(self.question)]

    @property
    def r(self) -> list[int]:
        return [1 + self.vectors + self.question + t for t in range(self.tokens)]

    @property
    def q_rows(self) -> list[int]:
        """All question positions but the last: that one predicts the first rationale token."""
        return self.q[:-1]

    @property
    def r_rows(self) -> list[int]:
        """The position before each rationale token."""
        return [position - 1 for position in self.r]

    def former(self, cut: str) -> int:
        """Rationale tokens in the former half."""
        if cut == "tokens":
            return self.tokens // 2
        half = len(set(self.steps)) // 2
        return len([step for step in self.steps if step < half])


def even_steps(tokens: int, steps: int) -> tuple[int, ...]:
    """Cut `tokens` tokens into at most `steps` steps of about the same length."""
    return tuple(t * min(steps, tokens) // tokens for t in range(tokens))


def random_maps(seed: int, layers: int, places: Places) -> Maps:
    """Maps whose every entry is positive, the row's own column included, and 0 above the diagonal."""
    return np.tril(np.random.default_rng(seed).random((layers, places.size, places.size)) + 0.01)


def pairs(rows: Sequence[int], columns: Sequence[int]) -> list[tuple[int, int]]:
    """Every (row, column) whose column is earlier than the row."""
    return [(i, j) for i in rows for j in columns if j < i]


def total(map_SS: Maps, rows: Sequence[int], columns: Sequence[int]) -> float:
    """Sum of a map over `pairs`."""
    found = 0.0
    for i, j in pairs(rows, columns):
        found += float(map_SS[i, j])
    return found


def saliency_row(
    maps_LSS: Maps,
    places: Places,
    problem_id: str = "x",
    split: str = "test",
    band: Sequence[int] = (),
    nll: Sequence[float] | None = None,
    prompt_start: int = 1,
    entropy: Sequence[float] | None = None,
) -> dict[str, Any]:
    """The row of table `saliency` that the maps come to, plain attention being the same maps; lists flat in C order."""

    def by_row(columns: list[int]) -> list[float]:
        return [total(map_SS, [i], columns) for map_SS in maps_LSS for i in places.r_rows]

    def by_column(rows: list[int]) -> list[float]:
        return [total(map_SS, rows, [j]) for map_SS in maps_LSS for j in places.p]

    return {
        "problem_id": problem_id,
        "split": split,
        "layers": len(maps_LSS),
        "vectors": places.vectors,
        "prompt_start": prompt_start,
        "question_tokens": places.question,
        "rationale_tokens": places.tokens,
        "former_tokens": places.former("tokens"),
        "former_steps": places.former("steps"),
        "step_of_token": list(places.steps),
        "nll": list(nll) if nll is not None else [0.5] * places.tokens,
        "entropy": list(entropy) if entropy is not None else [0.25] * places.tokens,
        "row_prompt": by_row(places.p),
        "row_question": by_row(places.q),
        "row_rationale": by_row(places.r),
        "row_former_tokens": by_row(places.r[: places.former("tokens")]),
        "row_former_steps": by_row(places.r[: places.former("steps")]),
        "column_question": by_column(places.q_rows),
        "column_rationale": by_column(places.r_rows),
        "band": [sum(total(maps_LSS[layer], [i], [j]) for layer in band) for i in places.r_rows for j in places.p],
        "row_attention": by_row(places.p),
        "attention_question": by_column(places.q_rows),
        "attention_rationale": by_column(places.r_rows),
        "seconds": [float(len(maps_LSS) - layer) for layer in range(len(maps_LSS))],
    }


def instance(maps_LSS: Maps, places: Places, **more: Any) -> Instance:
    """The instance that `saliency_row` reads back as."""
    return Instance.of(SimpleNamespace(**saliency_row(maps_LSS, places, **more)))


def flow_maps(s_T: Sequence[float], places: Places, layers: int = 6, column: int = 0, peak: float = 1.0) -> Maps:
    """Maps in which rationale row t gets `s_T[t]` from each prompt vector, `peak` times that from `column`.

    Every other earlier column gives 1 to every row.
    """
    maps_LSS = np.tril(np.ones((layers, places.size, places.size)))
    for t, i in enumerate(places.r_rows):
        for j in places.p:
            maps_LSS[:, i, j] = s_T[t] * (peak if j == places.p[column] else 1.0)
    return maps_LSS


def generation(problem_id: str, split: str, extracted: str | None, edit_id: str = "base") -> dict[str, Any]:
    """One row of table `generations`."""
    return {
        "problem_id": problem_id,
        "split": split,
        "edit_id": edit_id,
        "token_ids": [1, 2],
        "text": f"#### {extracted}",
        "stop_reason": "end",
        "extracted": extracted,
        "extracted_lenient": extracted,
        "seconds": 0.1,
        "batch": 0,
    }


def gold_of(problem_ids: Sequence[str], answer: str = "1") -> pd.DataFrame:
    """Table `gold` with one answer for all."""
    rows = [{"problem_id": key, "answer": answer, "rationale": "r", "steps": 2} for key in problem_ids]
    return pd.DataFrame(rows)
