"""What a prompt says: its nearest tokens, how far they are from it, and how likely they are as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from dpc.analysis.studies.readability import CORRUPTED, INSTRUCTION, OUTPUTS, OWN, RANDOM
from dpc.config.execution import Execution
from dpc.config.slices import MeasurePromptStage
from dpc.config.stages import stage
from dpc.pipeline.progress import log
from dpc.plans.registry import edits_of
from dpc.prompts.edits import NEAREST, Edit
from dpc.storage import adapter_files, tables
from dpc.storage.hashing import hash_order
from dpc.storage.provenance import provenance

if TYPE_CHECKING:
    from torch import Tensor

    from dpc.lm.examples import Example
    from dpc.lm.models import LanguageModel
    from dpc.lm.output_change import Change
    from dpc.prompts.soft_prompt import SoftPrompt
    from dpc.storage.adapter_files import Tokens

STAGE = stage(version=4, rate="saliency", saves=False)
Row = dict[str, Any]


def run(
    settings: MeasurePromptStage,
    *,
    model: Path,
    prompt: Path,
    questions: Path,
    generations: list[Path],
    plans: Path,
    reader: Path | None = None,
    out: Path,
    execution: Execution,
) -> None:
    """Write table `interpretability`: the prompt, the prompt under DPC's edits (`plans` of calibration), references.

    A discrete prompt is read as the tokens it was made of, a soft one as its nearest tokens. Outputs are compared on
    the model's own answers to some test questions; of a mixture the prompt is read that most of them have. `reader` is
    another model's folder.
    """
    from dpc.lm import models
    from dpc.lm.perplexity import mean_nll
    from dpc.prompts import soft_prompt

    lm = models.load(model, settings.dtype, execution, settings.attention, settings.bos)
    own, examples = soft_prompt.load(prompt, lm), _examples(lm, settings, questions, generations)
    typical = _typical(lm, own, [example.question_ids for _, example in examples])
    said = _said(lm, adapter_files.tokens(prompt), own.of(typical)) if adapter_files.is_shared(prompt) else None
    read_off = _read_off(lm, own, typical, said, tables.read(plans, "plans"))
    rows = [*read_off]
    rows += _references(lm, settings, rows[0]["token_ids"])
    for row in rows:
        row["nll"] = mean_nll(lm, row["token_ids"])
    rows[0] |= _outputs(lm, settings, own, examples, execution.batch_size.tune)
    device = str(lm.device)
    del lm, own  # two large models do not have to fit together
    if settings.reader is not None and reader is not None:
        other = models.load(reader, settings.reader.dtype, execution, settings.reader.attention, settings.reader.bos)
        for row in rows:
            row["reader_nll"] = mean_nll(other, other.encode(row["text"]))
    table = pd.DataFrame(rows).reindex(columns=list(tables.SCHEMAS["interpretability"]))
    log.info("nearest tokens: %s", table["text"].iloc[0])
    tables.write(out, "interpretability", table, provenance("measure_prompt", settings, model=model, device=device))


def _examples(
    lm: LanguageModel, settings: MeasurePromptStage, questions: Path, generations: list[Path]
) -> list[tuple[str, Example]]:
    """Return test questions, the first by hash, with the model's own answers, by problem_id, the longest first."""
    from dpc.lm.examples import Example

    made = tables.read(generations, "generations", ["problem_id", "split", "token_ids"])
    made = made[made["split"] == "test"].sort_values("problem_id", key=lambda ids: ids.map(hash_order))
    texts = tables.read(questions, "questions").set_index("problem_id")["prompt_text"]
    found = [
        (row.problem_id, Example(lm.encode(texts[row.problem_id]), row.token_ids.tolist()))
        for row in tables.rows(made.head(settings.interpretability.questions))
    ]
    return sorted(found, key=lambda each: -len(each[1]))


def _typical(lm: LanguageModel, own: SoftPrompt, questions: list[list[int]]) -> list[int]:
    """Return a question whose prompt, as text, is the commonest; any of them where all have one prompt."""
    from dpc.prompts import nearest, soft_prompt

    if isinstance(own, soft_prompt.Shared):
        return questions[0]
    said = [tuple(nearest.nearest(lm, own.of(ids)).ids) for ids in questions]
    return questions[said.index(Counter(said).most_common(1)[0][0])]


def _said(lm: LanguageModel, tokens: Tokens | None, prompt_ND: Tensor) -> list[int] | None:
    """Return the tokens of a discrete prompt; None where the prompt is a soft one.

    So is one that was brought in from a model with other embeddings: here its vectors are no tokens.
    """
    import torch

    from dpc.prompts import nearest

    if tokens is None:
        return None
    ids = list(tokens.ids)
    if max(ids) < lm.embedding.num_embeddings and torch.equal(nearest.spelled(lm, ids), prompt_ND):
        return ids
    log.warning("the prompt was made of tokens of another model: it is read as this model's nearest tokens")
    return None


def _read_off(
    lm: LanguageModel, own: SoftPrompt, question: list[int], said: list[int] | None, planned: pd.DataFrame
) -> Iterator[Row]:
    """Yield the prompt and, for every edit that DPC's corruption asks for on calibration, what the prompt becomes.

    A vector keeps its token until another is nearer: of tokens with one embedding none is.
    """
    from dpc.prompts import nearest

    unit, before, put_in = nearest.spacing(lm), nearest.nearest(lm, own.of(question)), nearest.replacements(lm)
    own_ids = before.ids if said is None else said
    rows_ND = nearest.spelled(lm, own_ids).float()
    yield _row(lm, OWN, own_ids) | _distances(before, unit)
    asked = edits_of(planned[planned["plan"] == "always"])
    for _, group in asked.groupby("edit_id", sort=False):
        edit = Edit.from_row(group.iloc[0])
        edited_ND = own.under(edit, put_in).of(question)
        found = nearest.nearest(lm, edited_ND)
        stays_N = (edited_ND.float() - rows_ND).square().sum(1) <= found.distance_N
        ids = [old if stays else new for old, new, stays in zip(own_ids, found.ids, stays_N.tolist(), strict=True)]
        changed = sum(old != new for old, new in zip(own_ids, ids, strict=True))
        about = {"masked": list(edit.masked), "questions": len(group), "changed": changed}
        yield _row(lm, CORRUPTED, ids) | _distances(found, unit) | about


def _distances(found: Any, unit: float) -> Row:
    distance = float(found.distance_N.mean())
    relative = distance / unit if unit else float("nan")
    return {"distance": distance, "distance_relative": relative, "cosine_distance": float(found.cosine_N.mean())}


def _row(lm: LanguageModel, kind: str, ids: Sequence[int]) -> Row:
    """Return what is said of any prompt: its tokens, each as text, and together."""
    return {"prompt": kind, "token_ids": list(ids), "words": [lm.decode([i]) for i in ids], "text": lm.decode([*ids])}


def _references(lm: LanguageModel, settings: MeasurePromptStage, own_ids: Sequence[int]) -> Iterator[Row]:
    """Yield the written instruction, and random tokens as many as the prompt has: others beside each prompt.

    Their seed is no prompt seed: a prompt that starts as random tokens is not held against its own start.
    """
    import torch

    from dpc.lm.tokenizer import words

    ids = lm.encode(settings.interpretability.instruction)
    if lm.tokenizer.unk_token_id is not None and lm.tokenizer.unk_token_id in ids:
        log.warning("interpretability.instruction has words that the tokenizer does not know: it is left out")
    else:
        yield _row(lm, INSTRUCTION, ids)
    ordinary = words(lm.tokenizer, lm.embedding.num_embeddings)
    generator = torch.Generator().manual_seed(int(hash_order(str([*own_ids]), "random tokens")[:8], 16))
    for _ in range(settings.interpretability.draws):
        yield _row(
            lm, RANDOM, [ordinary[i] for i in torch.randint(len(ordinary), (len(own_ids),), generator=generator)]
        )


def _outputs(
    lm: LanguageModel, settings: MeasurePromptStage, own: SoftPrompt, examples: list[tuple[str, Example]], size: int
) -> Row:
    """Return, question by question, how far outputs change where each vector becomes its nearest token."""
    from dpc.lm.batches import in_batches
    from dpc.lm.layout import layout_of
    from dpc.lm.output_change import changes
    from dpc.prompts import nearest

    order, text = layout_of(lm, settings.layout), own.under(Edit(mask=NEAREST), nearest.replacements(lm))

    def measure(batch: Sequence[tuple[str, Example]]) -> list[Change]:
        asked = [example.question_ids for _, example in batch]
        return changes(lm, order, own.rows(asked), text.rows(asked), [example for _, example in batch])

    found: list[tuple[str, Change]] = []
    for batch, made in in_batches([each for each in examples if each[1].rationale_ids], size, measure):
        found += zip((key for key, _ in batch), made, strict=True)
    columns = {f"output_{name}": [getattr(change, name) for _, change in found] for name in OUTPUTS}
    return {"asked": [key for key, _ in found], **columns}
