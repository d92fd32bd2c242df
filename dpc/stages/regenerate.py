"""Answer questions again under the edits that plans ask for; what was made before is taken from the store."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from dpc import tables
from dpc.edits import Edit
from dpc.errors import DpcError
from dpc.plans import edits_of
from dpc.settings import Execution
from dpc.stage_settings import GenerateStage
from dpc.stages.common import log, of_shard, provenance
from dpc.stages.generation import Job, generate_rows, in_order
from dpc.versions import VERSIONS

if TYPE_CHECKING:
    from dpc.lm.models import LanguageModel

SAVE_EVERY_SECONDS = 120.0


def run(
    settings: GenerateStage,
    *,
    model: Path,
    prompt: Path,
    questions: Path,
    plans: Path,
    base: list[Path],
    store: Path,
    shard: int,
    shards: int,
    out: Path,
    execution: Execution,
) -> None:
    """Write table `regenerations` with one row per question and edit of `plans` in this shard.

    `store` keeps rows between runs, outside the rule's outputs: a new plan makes only its new edits, and a killed job
    goes on where it was. Its footer names model, prompt, questions and decoding; if one changed, it is not used.
    """
    context = _context(settings, model, prompt, questions)
    wanted = edits_of(tables.read(plans, "plans"))
    wanted = of_shard(wanted, shard, shards)
    known = _stored(store, context)
    keys = set(zip(known["problem_id"], known["edit_id"], strict=True))
    is_new = [key not in keys for key in zip(wanted["problem_id"], wanted["edit_id"], strict=True)]
    log.info(
        "%d edits wanted, %d of them in the store, %d to make", len(wanted), len(wanted) - sum(is_new), sum(is_new)
    )
    device = "none"
    if any(is_new):
        known, device = _make(
            settings, wanted[is_new], known, model, prompt, questions, base, store, context, execution
        )
    rows = known.merge(wanted[["problem_id", "edit_id"]], on=["problem_id", "edit_id"], validate="one_to_one")
    tables.write(out, "regenerations", in_order([rows]), provenance("regenerate", settings, device=device))


def _make(
    settings: GenerateStage,
    new: pd.DataFrame,
    known: pd.DataFrame,
    model: Path,
    prompt: Path,
    questions: Path,
    base: list[Path],
    store: Path,
    context: str,
    execution: Execution,
) -> tuple[pd.DataFrame, str]:
    """Generate `new` edits, saving to the store now and then; return everything known, and the device."""
    from dpc.lm import models

    lm = models.load(model, settings.dtype, execution)
    jobs = _jobs(lm, new, prompt, tables.read(questions, "questions"), tables.read(base, "generations"))
    parts, saved = [known], time.monotonic()
    first_batch = int(known["batch"].max()) + 1 if len(known) else 0
    for part in generate_rows(lm, settings, jobs, execution, "regenerate", first_batch):
        parts.append(part)
        if time.monotonic() - saved > SAVE_EVERY_SECONDS:
            tables.write(store, "regenerations", in_order(parts), {"context": context})
            saved = time.monotonic()
    everything = in_order(parts)
    tables.write(store, "regenerations", everything, {"context": context})
    return everything, str(lm.device)


def _jobs(lm: LanguageModel, new: pd.DataFrame, prompt: Path, asked: pd.DataFrame, base: pd.DataFrame) -> list[Job]:
    from dpc.lm import soft_prompt
    from dpc.lm.decoding import Request

    prompt_ND = soft_prompt.load(prompt, lm).cpu()  # thousands of edited prompts do not have to lie on the GPU
    mean_D = lm.embedding.weight.float().mean(0).cpu()
    text, split = (asked.set_index("problem_id")[column] for column in ("prompt_text", "split"))
    length = base.set_index("problem_id")["token_ids"].map(len)
    edited, encoded, jobs = {}, {}, []
    for row in tables.rows(new):
        key, edit = row.problem_id, Edit.from_row(row)
        if row.edit_id not in edited:
            edited[row.edit_id] = soft_prompt.corrupt(prompt_ND, edit, mean_D)
        if key not in encoded:
            encoded[key] = lm.encode(text[key])
        hidden = edit.masked if edit.mask == "attention" else ()
        request = Request(encoded[key], edited[row.edit_id], hidden, expected_tokens=int(length[key]))
        jobs.append(Job(key, split[key], row.edit_id, request))
    return jobs


def _context(settings: GenerateStage, model: Path, prompt: Path, questions: Path) -> str:
    """Return a hash of all that a regeneration depends on beside its question and edit."""
    weights = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(model.glob("*")) if f.is_file()]
    asked = tables.read(questions, "questions")[["problem_id", "prompt_text"]]
    content: list[Any] = [VERSIONS["regenerate"], settings.model_dump(mode="json"), weights]
    content += [hashlib.sha256(prompt.read_bytes()).hexdigest(), asked.to_dict("list")]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _stored(store: Path, context: str) -> pd.DataFrame:
    """Return what the store holds for this context; nothing if it was made otherwise, or cannot be read."""
    if not store.exists():
        return tables.empty("regenerations")
    try:
        rows = tables.read(store, "regenerations")
    except DpcError as error:
        log.warning("store not used: %s", error)
        return tables.empty("regenerations")
    if tables.provenance(store).get("context") != context:
        log.info("store %s was made with another model, prompt, question set or decoding; starting anew", store)
        return tables.empty("regenerations")
    return rows
