"""Answers by vLLM, in a process of its own Python (`execution.vllm_python`); see `vllm_worker.py`.

Greedy, in the model's own dtype, with embedded prompts: `[BOS][prompt][question]` as `layout.py` lays it out. A shared
prefix is computed once (vLLM's prefix cache hashes the embeddings). Drafts are not used. Axes: T position, D width.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file

from dpc.config.execution import Execution
from dpc.errors import DpcError
from dpc.lm.decoding import Beat, Generated, Limits, Request, columns, finish, order_of_work
from dpc.lm.drafts import Drafting
from dpc.lm.engines import Answer
from dpc.lm.layout import Layout, left_padded
from dpc.lm.memory import column_bytes
from dpc.lm.models import LanguageModel

WORKER = Path(__file__).with_name("vllm_worker.py")
LOOK_EVERY_SECONDS = 0.2


@contextmanager
def answering(folder: Path, dtype: str, execution: Execution) -> Iterator[Answer]:
    """Yield what answers requests; vLLM begins with the first and ends with the block."""
    with tempfile.TemporaryDirectory(prefix="dpc-vllm-") as room:
        worker = _Worker(folder, dtype, execution, Path(room))
        try:
            yield worker.answer
        finally:
            worker.end()


class _Worker:
    """vLLM's process, started when the longest sequence is known."""

    def __init__(self, folder: Path, dtype: str, execution: Execution, room: Path):
        self.folder, self.dtype, self.execution, self.room = folder, dtype, execution, room
        self.log, self.batches = room / "log", 0
        self.process: subprocess.Popen[str] | None = None

    def answer(
        self,
        lm: LanguageModel,
        layout: Layout,
        requests: Sequence[Request],
        limits: Limits,
        batch_size: int,
        *,
        drafting: Drafting | None = None,
        beat: Beat = lambda indices, said, running: None,
    ) -> Iterator[tuple[list[int], list[Generated]]]:
        """Do what `dpc.lm.decoding.generate` does; raises DpcError for hidden positions, and where vLLM ends early."""
        if any(request.hidden for request in requests):
            raise DpcError("vLLM cannot hide positions from attention; write execution: {engine: torch}")
        longest = max((columns(lm, request, limits) for request in requests), default=1)
        order = order_of_work(requests)
        for start in range(0, len(order), batch_size):
            indices, began = order[start : start + batch_size], time.perf_counter()
            self._begin(lm, longest, batch_size)
            waiting = partial(beat, indices, [[] for _ in indices], len(indices))
            tokens = self._ask(lm, layout, [requests[i] for i in indices], limits, waiting)
            seconds = (time.perf_counter() - began) / len(indices)
            yield indices, [finish(lm, row, limits, seconds) for row in tokens]

    def _begin(self, lm: LanguageModel, longest: int, rows: int) -> None:
        if self.process is not None:
            return
        options = {"dtype": self.dtype, "max_model_len": longest, "max_num_seqs": rows}
        environment = {**os.environ}
        environment.pop("PYTHONPATH", None)
        if self.execution.device == "cpu":
            options["enforce_eager"] = True
            room = 1 + longest * rows * column_bytes(lm) // 2**30
            environment |= {"VLLM_CPU_KVCACHE_SPACE": str(room), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
            environment["OMP_NUM_THREADS"] = str(self.execution.threads)
        else:
            options["tensor_parallel_size"] = torch.cuda.device_count()
        command = [self._python(), str(WORKER), str(Path(self.folder).resolve()), json.dumps(options)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True, env=environment, cwd=self.room,
                start_new_session=True,  # a signal to this job is heard here first, and what is finished is kept
            )  # fmt: skip

    def _python(self) -> str:
        python = self.execution.vllm_python
        if python is None or not Path(python).is_file():
            raise DpcError(
                f"execution.vllm_python is {python!r}; expected the python of an environment that has vLLM "
                "(docs/cluster.md), e.g. /opt/vllm/bin/python; or write execution: {engine: torch}"
            )
        return str(Path(python).absolute())

    def _ask(
        self, lm: LanguageModel, layout: Layout, asked: Sequence[Request], limits: Limits, beat: Callable[[], None]
    ) -> list[list[int]]:
        """Return the raw tokens of each request; `beat` is called while vLLM works."""
        self.batches += 1
        embeds, tokens = (self.room / f"{self.batches}.{kind}" for kind in ("safetensors", "json"))
        save_file({str(i): _embedded(lm, layout, request) for i, request in enumerate(asked)}, embeds)
        line = {"embeds": str(embeds), "tokens": str(tokens), "stop": list(limits.stop), "end_ids": list(lm.end_ids)}
        assert self.process is not None
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: said below
            self.process.stdin.write(json.dumps({**line, "max_new_tokens": limits.max_new_tokens}) + "\n")
            self.process.stdin.flush()
        while not tokens.is_file():
            if self.process.poll() is not None:
                raise DpcError(f"vLLM ended with status {self.process.returncode}: {self._last_words()}")
            beat()
            time.sleep(LOOK_EVERY_SECONDS)
        embeds.unlink()
        found: list[list[int]] = json.loads(tokens.read_text())
        return found

    def _last_words(self) -> str:
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if "Error" in line]
        return (errors or lines or ["it said nothing"])[-1][-500:]

    def end(self) -> None:
        """End vLLM and all that it has started."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, 9)
            self.process.wait()


def _embedded(lm: LanguageModel, layout: Layout, request: Request) -> torch.Tensor:
    """Return the input (T x D) that stands before the answer."""
    laid = left_padded(lm, layout, [request.prompt_ND], [request.question_ids])
    return laid.embeds_BSD[0].detach().cpu().contiguous()
