"""What generates text: `execution.engine`. torch does everything; another engine answers where no intervention is left
beside the prompt's vectors, and says so by name where one is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dpc.config.execution import Execution

if TYPE_CHECKING:
    from dpc.config.slices import OnModel
    from dpc.lm.decoding import Beat, Generated, Limits, Request
    from dpc.lm.drafts import Drafting
    from dpc.lm.layout import Layout
    from dpc.lm.models import LanguageModel


class Answer(Protocol):
    """Answers requests greedily, yielding batch by batch the indices and what was generated."""

    def __call__(
        self,
        lm: LanguageModel,
        layout: Layout,
        requests: Sequence[Request],
        limits: Limits,
        batch_size: int,
        *,
        drafting: Drafting | None = None,
        beat: Beat = ...,
    ) -> Iterator[tuple[list[int], list[Generated]]]:
        """See `dpc.lm.decoding.generate`."""


@contextmanager
def engine(folder: Path, settings: OnModel, execution: Execution) -> Iterator[tuple[LanguageModel, Answer]]:
    """Yield the model in `folder`, as far as the engine of `execution` needs it here, and what answers requests."""
    from dpc.lm import models
    from dpc.lm.decoding import generate

    if execution.engine == "vllm":
        from dpc.lm.engines import vllm_engine

        lm = models.load(folder, settings.dtype, execution, settings.attention, settings.bos, layers=False)
        with vllm_engine.answering(folder, settings.dtype, execution) as answer:
            yield lm, answer
    else:
        yield models.load(folder, settings.dtype, execution, settings.attention, settings.bos), generate
