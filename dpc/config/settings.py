"""The tree of `config.yaml`: every key, its type, its default and what it does.

Unknown keys, wrong types and combinations that cannot work are refused here, before the first job. The ids D1 to D31
name the choices the paper left open; `docs/choices.md` gives each one's reason.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from dpc.config.catalogue import Dataset, Format, Model, Recipe
from dpc.config.declared import declared
from dpc.config.execution import Cluster, Execution, Shards
from dpc.config.harm import Validation
from dpc.config.kinds import (
    AnyTask,
    AsNumber,
    Count,
    Layers,
    Layout,
    MeasuredPlans,
    Name,
    Names,
    Number,
    Oracles,
    Plans,
    Positive,
    Results,
    Seeds,
    Settings,
    Share,
)
from dpc.config.messages import broken_text, did_you_mean, one_line
from dpc.config.methods import Act, Causal, Interpretability
from dpc.errors import DpcError


class Sample(Settings):
    """How many test instances the analyses look at (D30: by a fixed hash of `problem_id`)."""

    correlation: Count = 100
    """Instances of the accumulation against flow-change study."""
    per_class: Count = 50
    """Right instances, and as many wrong ones, of the S_IFP study."""


class Study(Settings):
    """What runs."""

    name: str
    """Names the run in captions."""
    results: Results
    """Folder that receives everything."""
    models: Names
    """Names from `models`."""
    datasets: Names
    """Names from `datasets`."""
    recipes: Names
    """Names from `recipes`: how soft prompts are tuned."""
    prompt_seeds: Seeds
    """One soft prompt is tuned per seed; results are means over them (D2)."""
    plans: Plans
    """Interventions to evaluate, the functions in `dpc/plans`; `prompt_tuning` is what all are compared with."""
    oracles: Oracles = []
    """Upper bounds that look at test gold; labelled as such everywhere."""
    sample: Sample = Sample()
    """Sizes of the analysed samples."""


class Flow(Settings):
    """Which layers and rows the flow readings use; CPU only, from stored saliency."""

    shallow_layers: Layers = "paper"
    """Layers that locate accumulation (D11); `paper` is 2-10 of 32, scaled by depth; or [first, last], inclusive."""
    deep_layers: Layers = "second_half"
    """Layers that trigger (D12); `second_half` leaves out the last layer; or [first, last], inclusive."""
    halves: Literal["tokens", "steps"] = "tokens"
    """Where the rationale is cut into former and latter (D7)."""


class Trigger(Settings):
    """When DPC fires (D8-D10, D15, D27, D31)."""

    kappa: Positive = 1.0
    """Beta is kappa times the baseline (D9)."""
    baseline: Literal["former", "constant", "detrend"] = "former"
    """Mean flow of the instance's former half; of right calibration cases' former halves, one number for all; or the
    former half of a flow that is divided by right calibration cases' mean position profile (D9)."""
    granularity: Literal["token", "step"] = "token"
    """Flow per token, or the mean over each step's tokens (D8)."""
    share: Literal["fitted"] | Share = "fitted"
    """R: the share of affected tokens that fires; `fitted` on calibration, or a fixed number (D10)."""
    grid: Annotated[list[Share], Field(min_length=1)] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    """Values of R tried on calibration."""
    choose_by: Literal["net", "accuracy", "youden"] = "net"
    """What the fitted R maximises: fixed minus broken, accuracy, or Youden's J against wrong (D31)."""
    rule: Literal["share", "share_and_accumulation"] = "share"
    """Fire on the share alone, or only where accumulation is significant as well (D15)."""
    min_tokens: Count = 4
    """Shorter rationales, and those without an answer, never fire (D27)."""


class Locate(Settings):
    """Which vectors are corrupted (D13, D14)."""

    receivers: Literal["question_and_rationale", "rationale", "affected"] = "question_and_rationale"
    """Rows whose saliency counts; `affected` needs `saliency.band` equal to `flow.shallow_layers`."""
    masked_vectors: Count = 1
    """The so many highest are masked."""


class Corrupt(Settings):
    """What is done to the prompt (D16, D17)."""

    mask: Literal["scale", "vocabulary_mean", "attention"] = "scale"
    """Multiply the vector, replace it by the mean embedding, or hide its position from attention."""
    mask_value: Number = 0.0
    """Factor of `mask: scale`."""
    gamma: Annotated[float, Field(ge=0, le=100), AsNumber] = 10.0
    """Percent of entries, smallest in absolute value, that are reduced."""
    gamma_scale: Number = 0.0
    """What those entries are multiplied by."""
    gamma_scope: Literal["others", "all", "located", "per_vector"] = "others"
    """Pooled over the other vectors, over all, over the located ones, or within each other vector."""


class Saliency(Settings):
    """What is measured (D4-D6); a change needs new GPU work."""

    head_reduce: Literal["abs_mean", "sum_abs"] = "abs_mean"
    """Mean over heads of absolute values (DPC), or absolute value of the sum over heads."""
    loss_span: Literal["all", "answer"] = "all"
    """Loss over the whole rationale, or from the answer mark on (D5)."""
    band: Layers = "paper"
    """Layers whose sum over rows x columns is stored, for heat maps and `locate.receivers: affected`."""


class Significance(Settings):
    """What counts as significant, from right calibration cases (D18, D19)."""

    accumulation_quantile: Share = 0.9
    """Quantile of the largest z over the prompt's vectors."""
    flow_deviations: Number = 1.0
    """S_IFP above the mean by so many standard deviations is a flow change."""
    min_cases: Count = 30
    """Fewer right calibration cases than this: not estimable."""


class Controls(Settings):
    """Sizes and seed of the control plans."""

    seed: int = 0
    """Seed of random tokens."""
    static_candidates: Count = 8
    """Vectors tried as one static mask: those located most often on calibration, then the first of the others."""
    static_questions: Count = 200
    """Calibration questions each candidate is tried on."""
    oracle_questions: Count = 100
    """Wrong test questions on which the token oracle tries every vector."""


class Mechanism(Settings):
    """Saliency measured again after corruption."""

    plans: MeasuredPlans = ["dpc"]
    """Plans whose fired questions are measured under their corrupted prompts, where `study.plans` names them.

    Not with `corrupt.mask: attention`: saliency has no hidden positions."""


class Statistics(Settings):
    """Intervals."""

    confidence: Annotated[float, Field(gt=0.5, lt=1), AsNumber] = 0.95
    """Level of every interval."""
    resamples: Count = 2000
    """Bootstrap resamples."""
    seed: int = 0
    """Seed of the bootstrap."""


class Sensitivity(Settings):
    """What the sensitivity sweeps try beside the configured choices."""

    kappas: list[Positive] = [0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0]
    """Values of `trigger.kappa`, each with every R of `trigger.grid`."""
    layers: list[Layers] = ["paper", "second_half", "all"]
    """Shallow and deep layers; quarters of the depth are tried as well."""
    gammas: list[Annotated[float, Field(ge=0, le=100), AsNumber]] = []
    """Values of `corrupt.gamma`: each pair with a mask value costs an answer to every calibration question."""
    mask_values: list[Number] = []
    """Values of `corrupt.mask_value`, tried where `corrupt.mask` is `scale`."""


class Variants(Settings):
    """Saliency measured in other ways: another reduction over heads, another loss span, gold as its target (D4, D5)."""

    rows: Count = 100
    """Calibration questions per cell, the first by hash; each is measured once in every way."""


class Figures(Settings):
    """How figures look."""

    cases: Annotated[int, Field(ge=3, le=6)] = 3
    """Cases on the case page."""
    position_bins: Annotated[int, Field(ge=4, le=50)] = 10
    """Bins of relative position in the rationale curves."""
    max_case_tokens: Count = 120
    """Longer texts on the case page are cut, and say so."""


class Explorer(Settings):
    """The page that shows every case of a cell."""

    cases: Count = 300
    """Cases on the page of a cell. One takes 2 KB in the embedded study, 25 KB at 24 layers and 300 tokens. Others are
    counted."""


class Config(Settings):
    """The whole of `config.yaml`."""

    study: Study
    models: dict[Name, Model]
    """Catalogue of language models; `study.models` says which of them run."""
    datasets: dict[Name, Dataset]
    """Catalogue of datasets; `study.datasets` says which of them run."""
    recipes: dict[Name, Recipe]
    """Catalogue of ways to tune a soft prompt; `study.recipes` says which of them run."""
    formats: dict[Name, Format]
    """Catalogue of ways to put a question; `datasets.NAME.formats` says which models are asked so (D29)."""
    layout: Layout = "bos_first"
    """`[BOS, prompt, question]` keeps the prompt off the sink at 0; or PEFT's `[prompt, BOS, question]` (D3)."""
    flow: Flow = Flow()
    trigger: Trigger = Trigger()
    locate: Locate = Locate()
    corrupt: Corrupt = Corrupt()
    saliency: Saliency = Saliency()
    significance: Significance = Significance()
    controls: Controls = Controls()
    act: Act = Act()
    mechanism: Mechanism = Mechanism()
    validation: Validation
    statistics: Statistics = Statistics()
    sensitivity: Sensitivity = Sensitivity()
    variants: Variants = Variants()
    interpretability: Interpretability = Interpretability()
    causal: Causal = Causal()
    figures: Figures = Figures()
    explorer: Explorer = Explorer()
    execution: Execution = Execution()
    shards: Shards = Shards()
    cluster: Cluster = Cluster()

    @property
    def trigger_if_affected(self) -> Trigger | None:
        """Return the trigger where locating depends on it."""
        return self.trigger if self.locate.receivers == "affected" else None

    @property
    def needs(self) -> set[str]:
        """Return what the plans that run look at beside readings and settings (`dpc/plans/declaration.py`)."""
        known = declared("plans", "plan")
        names = (*self.study.plans, *self.study.oracles)
        return {need for name in names for need in known[name].values.get("needs", ())}

    @property
    def scores_options(self) -> bool:
        """Return whether some plan that runs answers by the likelihood of labelled options."""
        return any(declared("plans", "plan")[name].values.get("answers") == "options" for name in self.study.plans)

    @property
    def reader(self) -> Model | None:
        """Return the other model that reads prompts as text."""
        name = self.interpretability.reader
        return None if name is None else self.models[name]

    @property
    def loaded(self) -> list[str]:
        """Return the names of all models that jobs load: those that run, and the one that reads prompts as text."""
        return list(dict.fromkeys([*self.study.models, *filter(None, [self.interpretability.reader])]))

    @property
    def tasks(self) -> dict[str, AnyTask]:
        """Return the task of every dataset that runs."""
        return {name: self.datasets[name].own_task for name in self.study.datasets}

    @property
    def layouts(self) -> dict[str, Layout]:
        """Return the order of the input for every recipe that runs (D3)."""
        return {name: self.recipes[name].layout or self.layout for name in self.study.recipes}

    @property
    def cut_from_test(self) -> list[str]:
        """Return the datasets that run without training rows of their own: all splits are cut from their test rows."""
        sources = {name: self.datasets[name].files or self.datasets[name].hub for name in self.study.datasets}
        return [name for name, source in sources.items() if source and not source.train]

    def format_of(self, model: str, dataset: str) -> Format:
        """Return how questions of `dataset` are put to `model`."""
        named = self.datasets[dataset].formats.get(model)
        return self.formats[named] if named else Format(template=self.datasets[dataset].template)

    @model_validator(mode="after")
    def _formats_exist(self) -> Config:
        for name, dataset in self.datasets.items():
            for model, form in dataset.formats.items():
                for value, kind in ((model, "models"), (form, "formats")):
                    known = getattr(self, kind)
                    if value not in known:
                        hint = did_you_mean(value, known)
                        raise ValueError(f"datasets.{name}.formats names {value!r}, which is not in `{kind}`{hint}")
        return self

    @model_validator(mode="after")
    def _names_exist(self) -> Config:
        if "prompt_tuning" not in self.study.plans:
            raise ValueError("study.plans lacks prompt_tuning, which every plan is compared with; add it")
        for kind in ("models", "datasets", "recipes"):
            catalogue = getattr(self, kind)
            for name in getattr(self.study, kind):
                if name not in catalogue:
                    raise ValueError(
                        f"study.{kind} names {name!r}, which is not in `{kind}`{did_you_mean(name, catalogue)}"
                    )
        if self.locate.receivers == "affected" and self.trigger.baseline != "former":
            raise ValueError(
                "locate.receivers: affected needs trigger.baseline: former; the others are fitted on calibration, "
                "after its vectors are located"
            )
        self.interpretability.check_reader(self.models, self.study.models)
        self._act_has_questions()
        self._options_are_there()
        if self.locate.receivers == "affected" and self.saliency.band != self.flow.shallow_layers:
            raise ValueError("locate.receivers: affected needs saliency.band equal to flow.shallow_layers")
        return self

    @model_validator(mode="after")
    def _seeds_have_prompts_of_their_own(self) -> Config:
        for name in self.study.recipes if len(self.study.prompt_seeds) > 1 else ():
            adapter = self.recipes[name].adapter
            if adapter and "{seed}" not in adapter:
                seeds = f"the {len(self.study.prompt_seeds)} seeds of study.prompt_seeds"
                raise ValueError(
                    f"recipes.{name}.adapter is {adapter!r}, one prompt for {seeds}, whose spread would be none; "
                    "write {seed} into it, or one seed"
                )
        return self

    def _act_has_questions(self) -> None:
        for name in self.study.datasets if "act_heads" in self.needs else ():
            splits = self.datasets[name].splits
            if min(splits.act_select, splits.act_confirm) < 2:
                raise ValueError(
                    f"study.plans names act, whose heads are selected on questions of their own: set `act_select` and "
                    f"`act_confirm` of datasets.{name}.splits to 2 at least"
                )

    def _options_are_there(self) -> None:
        for name in self.study.datasets if self.scores_options else ():
            if not self.datasets[name].options:
                raise ValueError(
                    f"study.plans scores options, which datasets.{name} of task {self.datasets[name].task} has not: "
                    "leave likelihood and likelihood_no_prompt out"
                )

    @model_validator(mode="after")
    def _engine_can(self) -> Config:
        if self.execution.engine == "vllm" and self.execution.vllm_python is None:
            raise ValueError("execution.engine is vllm: write the python of its environment as execution.vllm_python")
        if self.execution.engine == "vllm" and self.corrupt.mask == "attention":
            raise ValueError(
                "corrupt.mask: attention hides positions, which execution.engine: vllm cannot; write engine: torch"
            )
        return self

    @model_validator(mode="after")
    def _validated_recipes_exist(self) -> Config:
        for key in ("recipe", "harmful_recipe"):
            name = getattr(self.validation, key)
            if name is not None and name not in self.recipes:
                unknown = f"{name!r}, which is not in `recipes`{did_you_mean(name, self.recipes)}"
                raise ValueError(f"validation.{key} names {unknown}")
        return self


def load_config(raw: dict[str, Any]) -> Config:
    """Check a parsed `config.yaml`.

    Raises DpcError, one line, that names the first wrong key, what was found and the nearest right one.
    """
    if broken := broken_text(raw):
        raise DpcError(f"config: {broken}")
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise DpcError(f"config: {one_line(error, Config, raw)}") from None
