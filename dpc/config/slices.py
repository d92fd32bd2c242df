"""What each stage is told: the slice of `config.yaml` that its result depends on, and nothing else.

A slice becomes a rule's `params`, so an edit of `config.yaml` reruns the stages whose slice it changes. Of a group a
stage is told the keys it reads: reading another ends in an AttributeError, and `tests/pipeline/test_told.py` runs every
stage and fails where it is told a key that it does not read. Batch sizes, device and threads are passed beside it, see
`Execution` in `dpc/config/execution.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dpc.config.catalogue import BuiltinModel, Format, Model, Recipe, Splits
from dpc.config.harm import Planting
from dpc.config.kinds import AnyTask, Bos, Columns, Layout, Only, OwnTask, Settings
from dpc.config.methods import Act, Causal, Interpretability
from dpc.config.settings import (
    Controls,
    Corrupt,
    Explorer,
    Figures,
    Flow,
    Locate,
    Mechanism,
    Saliency,
    Sample,
    Sensitivity,
    Significance,
    Statistics,
    Trigger,
    Variants,
)
from dpc.errors import DpcError

Dtype = Literal["float32", "bfloat16", "float64"]
Attention = Literal["auto", "sdpa", "eager"]


class OnModel(Settings):
    """What every stage is told that runs a model."""

    dtype: Dtype
    attention: Attention = "auto"
    bos: Bos = "auto"


class ProblemsStage(Settings):
    """Read rows, cut splits, render questions."""

    dataset: str
    task: AnyTask
    generate: int | None
    splits: Splits
    template: str
    columns: Columns = {}


class RenderStage(Settings):
    """Put questions to one model in a format of its own."""

    format: Format
    bos: Bos = "auto"
    """A chat template's own beginning is left out where one stands in front of every sequence."""


class BuiltinModelStage(Settings):
    """Train the embedded model."""

    builtin: BuiltinModel


class TunePromptStage(OnModel):
    """Tune one soft prompt."""

    layout: Layout
    recipe: Annotated[Recipe, Only(*(name for name in Recipe.model_fields if name not in ("adapter", "layout")))]
    """An adapter is given as a folder, and the layout above is the recipe's where it has one."""
    seed: int
    labelled_task: Annotated[OwnTask | None, Field(exclude_if=lambda task: task is None)] = None
    """The task, where its questions have labels and the tuner reads them; told to no other tuner."""


class DescribePromptStage(Settings):
    """Say what a prompt is and has cost; all that is told stands in its files."""


class GenerateStage(OnModel):
    """Generate rationales, with the base prompt, without one, or under edits."""

    layout: Layout
    task: AnyTask
    max_new_tokens: int
    stop: list[str]


class SelectActHeadsStage(OnModel):
    """Select and confirm the heads of attention calibration."""

    layout: Layout
    act: Act


class GenerateActStage(GenerateStage):
    """Generate rationales with attention calibration."""

    act: Annotated[Act, Only("beta", "threshold", "tau", "alpha", "mode", "min_rows")]


class ScoreOptionsStage(OnModel):
    """Score labelled options by likelihood."""

    layout: Layout
    task: AnyTask


class MeasurePromptStage(OnModel):
    """Read a prompt as text."""

    layout: Layout
    interpretability: Annotated[Interpretability, Only("questions", "draws", "instruction")]
    reader: Annotated[Model, Only("dtype", "attention", "bos")] | None
    """How the other model is loaded that reads the text; its folder is an input."""


class ExtractExemplarsStage(OnModel):
    """Keep the full maps of a few instances."""

    layout: Layout
    task: AnyTask
    saliency: Annotated[Saliency, Only("head_reduce", "loss_span")]


class ExtractSaliencyStage(ExtractExemplarsStage):
    """Measure saliency on the model's own rationales."""

    saliency: Saliency


class ReadFlowStage(Settings):
    """Read off saliency what everything later needs."""

    flow: Flow
    locate: Annotated[Locate, Only("receivers")]


class GradeAnswersStage(Settings):
    """Grade answers against gold."""

    task: AnyTask


class ChooseExemplarsStage(Settings):
    """Choose the instances whose full maps are kept."""


class OnLocated(Settings):
    """What a stage is told that asks for located vectors, and not whether DPC fires."""

    trigger_if_affected: Annotated[Trigger, Only("kappa", "baseline", "granularity", "min_tokens")] | None
    """Given where `locate.receivers` is `affected`, and only there: else kappa would rerun the stage."""
    locate: Annotated[Locate, Only("masked_vectors")]


class StudyStage(OnLocated):
    """The correlation study and the S_IFP analysis."""

    task: AnyTask
    flow: Annotated[Flow, Only("deep_layers")]
    sample: Sample
    significance: Significance
    statistics: Statistics
    position_bins: int


class ThresholdsStage(Settings):
    """Fit R, the significance limits and the static mask on calibration."""

    trigger: Trigger
    locate: Annotated[Locate, Only("masked_vectors")]
    significance: Significance


Firing = Annotated[Trigger, Only("kappa", "baseline", "granularity", "min_tokens", "rule")]
"""What says whether DPC fires, R aside, which is read from table `thresholds`."""


class PlanStage(Settings):
    """Turn the flow of test questions into interventions."""

    plans: list[str]
    trigger: Firing
    locate: Annotated[Locate, Only("masked_vectors")]
    corrupt: Corrupt
    controls: Annotated[Controls, Only("seed")]


class PlanCalibrationStage(OnLocated):
    """Plan what thresholds are fitted with."""

    plans: list[str]
    corrupt: Corrupt
    controls: Annotated[Controls, Only("static_candidates", "static_questions")]


class PlanOraclesStage(OnLocated):
    """Plan the upper bounds."""

    oracles: list[str]
    corrupt: Corrupt
    controls: Annotated[Controls, Only("oracle_questions")]


class ValidateStage(OnModel):
    """Plant harm in one prompt and look for it."""

    layout: Layout
    task: AnyTask
    max_new_tokens: int
    stop: list[str]
    saliency: Saliency
    flow: Flow
    trigger: Firing
    corrupt: Annotated[Corrupt, Only("mask", "mask_value")]
    planting: Planting
    seed: int
    splits: list[str]
    is_planted: bool


FOLLOWED = {"trigger.baseline": "former", "trigger.rule": "share", "locate.masked_vectors": 1}
"""Choices that planted harm makes no other way; `snakemake validate` is refused where they are set otherwise."""


def refuse_unfollowed(**groups: Settings) -> None:
    """Raise DpcError unless planted harm can follow the groups `trigger` and `locate`, as far as they are given."""
    for key, expected in FOLLOWED.items():
        group, name = key.split(".")
        found = getattr(groups[group], name) if group in groups else expected
        if found != expected:
            raise DpcError(
                f"validate: {key} is {found}, which planted harm does not follow; write {expected} to run it"
            )


class ValidationStage(Settings):
    """Sum planted harm up over prompts and places."""

    study: str
    models: list[str]
    datasets: list[str]
    cut_from_test: list[str]
    """Datasets whose splits are all cut from their test rows."""
    recipe: str
    harmful_recipe: str | None
    choosing_seeds: list[int]
    held_out_seeds: list[int]
    planting: Annotated[Planting, Only("positions", "steps")]
    locate: Annotated[Locate, Only("receivers")]
    trigger: Annotated[Trigger, Only("share", "grid", "choose_by", "rule")]
    statistics: Annotated[Statistics, Only("confidence")]


class ExtractCorruptedStage(ExtractSaliencyStage):
    """Measure saliency again under the corrupted prompts of some plans."""

    mechanism: Mechanism


class InterveneStage(GenerateStage):
    """Intervene on a sample of stored rationales."""

    trigger_if_affected: Annotated[Trigger, Only("kappa", "baseline", "granularity")] | None
    """As `OnLocated` is given it, but of short rationales too: the saliency of vectors is asked for."""
    flow: Annotated[Flow, Only("shallow_layers", "deep_layers")]
    causal: Causal


class MechanismStage(Settings):
    """Compare the flow before and after corruption."""

    flow: Annotated[Flow, Only("deep_layers", "halves")]
    mechanism: Mechanism


class EvaluateStage(Settings):
    """Compare the plans."""

    trigger: Annotated[Trigger, Only("min_tokens")]
    statistics: Annotated[Statistics, Only("confidence")]


class EvidenceStage(Settings):
    """Put readings and outcomes side by side, per question."""

    trigger: Firing
    locate: Annotated[Locate, Only("masked_vectors")]
    sample: Sample


class PlanSweepStage(OnLocated):
    """Plan the edits that the sweep of choices asks for."""

    corrupt: Corrupt
    sensitivity: Annotated[Sensitivity, Only("gammas", "mask_values")]


class SensitivityStage(Settings):
    """Sweep choices over stored saliency."""

    flow: Flow
    trigger: Trigger
    locate: Locate
    corrupt: Corrupt
    sensitivity: Sensitivity
    significance: Significance


class ExtractVariantsStage(ExtractSaliencyStage):
    """Measure saliency anew, once for every other way to measure it."""

    variants: Variants


class VariantsStage(Settings):
    """Compare what DPC would do on saliency measured in other ways."""

    flow: Flow
    trigger: Trigger
    locate: Locate
    corrupt: Corrupt


class ReportStage(Settings):
    """What captions say of the run that is shown."""

    study: str
    tasks: dict[str, AnyTask]
    """Task by dataset."""
    cut_from_test: list[str]
    """Datasets whose splits are all cut from their test rows."""
    models: list[str]
    datasets: list[str]
    recipes: list[str]
    prompt_seeds: list[int]
    layouts: dict[str, Layout]
    """Order of the input by recipe."""
    statistics: Annotated[Statistics, Only("confidence")]


class MeasuredStage(ReportStage):
    """What is said of how saliency was measured, too."""

    saliency: Annotated[Saliency, Only("head_reduce", "loss_span")]


class FiguresStage(MeasuredStage):
    """Draw the figures of one model, dataset and recipe (the lists hold one name each)."""

    flow: Annotated[Flow, Only("shallow_layers", "deep_layers")]
    trigger: Annotated[Trigger, Only("share")]
    figures: Figures


class TablesStage(MeasuredStage):
    """Write the tables over all models, datasets and recipes; their captions say how DPC is set."""

    flow: Flow
    trigger: Trigger
    locate: Locate
    corrupt: Corrupt
    plans: list[str]
    act: Annotated[Act, Only("mode")]
    significance: Annotated[Significance, Only("min_cases")]


class ExplorerStage(Settings):
    """Write the page of every case of one cell."""

    study: str
    model: str
    dataset: str
    recipe: str
    seed: int
    flow: Annotated[Flow, Only("shallow_layers", "deep_layers")]
    trigger: Annotated[Trigger, Only("kappa", "baseline", "granularity", "min_tokens", "rule")]
    saliency: Annotated[Saliency, Only("band")]
    explorer: Explorer


class ExplorerIndexStage(Settings):
    """Write the page that lists the cells of the study."""

    study: str
    models: list[str]
    datasets: list[str]
    recipes: list[str]
    prompt_seeds: list[int]
