"""The catalogues of `config.yaml`: what a model, a dataset and a recipe for a soft prompt are.

The ids D1 to D31 name the choices the paper left open; `docs/choices.md` gives each one's reason.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from dpc.config.declared import declared, settings_of
from dpc.config.kinds import (
    AnyTask,
    AsNumber,
    Bos,
    Columns,
    Count,
    FileName,
    Folder,
    Layout,
    Name,
    OwnTask,
    Positive,
    Settings,
    Share,
    StopText,
    TaskName,
    TunerName,
    one_of,
)
from dpc.config.messages import did_you_mean, one_line


class BuiltinModel(Settings):
    """The embedded model: a small Llama trained by the workflow on the arithmetic task."""

    seed: int = 0
    """Seed of weights and training documents."""
    width: Count = 64
    """Hidden size."""
    layers: Count = 6
    """Decoder layers."""
    heads: Count = 4
    """Attention heads."""
    key_value_heads: Count = 4
    """Key and value heads; fewer than `heads` gives grouped-query attention."""
    feed_forward: Count = 160
    """Width of the feed-forward layer."""
    steps: Count = 2560
    """Optimiser steps."""
    batch_size: Count = 16
    """Documents per step."""
    learning_rate: Positive = 4e-3
    """Peak learning rate of AdamW."""
    question_loss_weight: Share = 0.1
    """Weight of question tokens in the loss; rationale tokens weigh 1."""

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> BuiltinModel:
        if self.width % (2 * self.heads):  # rotary positions turn pairs
            raise ValueError(f"`width` is {self.width}, expected a multiple of 2 x `heads`, {2 * self.heads}")
        if self.heads % self.key_value_heads:
            raise ValueError(
                f"`heads` is {self.heads}, expected a multiple of {self.key_value_heads} `key_value_heads`"
            )
        return self


class Model(Settings):
    """One language model: exactly one of `path`, `hub`, `builtin`."""

    path: Folder | None = None
    """Local folder with config, safetensors weights and tokenizer."""
    hub: str | None = None
    """Hugging Face id, fetched once by the local rule `fetch_model`."""
    revision: str | None = None
    """Commit, tag or branch of `hub` (D1)."""
    builtin: BuiltinModel | None = None
    """Train the embedded model instead of loading one."""
    parameters: Annotated[float, Field(gt=0), AsNumber] | None = None
    """Billions of parameters of a hub model, for the resources of its jobs; a local folder's are counted."""
    dtype: Literal["float32", "bfloat16", "float64"] = "bfloat16"
    """Weights and activations (D28); softmax and reductions are float32 at least."""

    attention: Literal["auto", "sdpa", "eager"] = "auto"
    """Attention kernel outside saliency, which has its own; `auto` is torch's fused one where the family allows it."""
    bos: Bos = "auto"
    """Begin-of-sequence token in front of every sequence: `auto` where the tokenizer itself puts one (D3)."""

    @model_validator(mode="before")
    @classmethod
    def _builtin_has_bos(cls, raw: Any) -> Any:
        """The embedded model is trained with a beginning in front, which its tokenizer leaves to its users."""
        is_open = isinstance(raw, dict) and raw.get("builtin") is not None and raw.get("bos", "auto") == "auto"
        return {**raw, "bos": True} if is_open else raw

    @model_validator(mode="after")
    def _one_source(self) -> Model:
        one_of("a model", path=self.path, hub=self.hub, builtin=self.builtin)
        if self.hub and not self.revision:
            raise ValueError("a model from the hub needs `revision`: name the commit to be reproducible")
        if self.hub and not self.parameters:
            raise ValueError("a model from the hub needs `parameters`: billions of them, say 7.2, as its page says")
        return self


class Files(Settings):
    """Where the rows of a dataset come from: JSONL or Parquet."""

    train: FileName | None = None
    """Rows for tuning, validation and calibration; without it all splits are cut from `test`."""
    test: FileName
    """Rows of the test set."""


class HubDataset(Settings):
    """A dataset on the Hugging Face hub."""

    id: str
    """Dataset id."""
    revision: str
    """Commit, tag or branch."""
    train: list[FileName] = []
    """Files inside the repository that make the training rows."""
    test: Annotated[list[FileName], Field(min_length=1)]
    """Files inside the repository that make the test rows."""


class Splits(Settings):
    """Sizes of the disjoint splits (D22, D26, D30); `test: null` takes all test rows."""

    tuning: Count = 7000
    """At most so many questions to tune prompts on."""
    validation: Count = 200
    """Questions that stop the tuning."""
    calibration: Count = 400
    """Questions that fit thresholds."""
    act_select: Annotated[int, Field(ge=0)] = 200
    """Questions that select the heads of attention calibration; 0 where plan `act` does not run."""
    act_confirm: Annotated[int, Field(ge=0)] = 200
    """Questions that confirm those heads."""
    test: Count | None = None
    """Test questions; null is every row."""
    on_overlap: Literal["error", "drop"] = "error"
    """Training question that is also a test question: refuse, or drop it from training and say so."""


class Format(Settings):
    """A named way to put a question to a model, the same for every method (D29)."""

    template: str = "{question}"
    """Text around a question; `{question}` stands for it."""
    instruction: str = ""
    """Text before everything; in the first message of a chat."""
    shots: Annotated[int, Field(ge=0)] = 0
    """Worked examples: the first questions of the tuning split, which is then tuned without them."""
    chat: bool = False
    """Turns of the tokenizer's chat template."""

    @model_validator(mode="after")
    def _asks(self) -> Format:
        if "{question}" not in self.template:
            raise ValueError("`template` must contain {question}")
        return self


class Dataset(Settings):
    """One dataset: rows, splits, prompt format and decoding. One of `files`, `hub`, `generate`."""

    task: TaskName
    """How rows are read, answers extracted and graded."""
    options: dict[str, Any] = {}
    """What this task alone is told of the rows; its file says what."""
    files: Files | None = None
    """Local files."""
    columns: Columns = {}
    """What rows call the fields of the task, where it is something else: {question: prompt, answer: solution}."""
    hub: HubDataset | None = None
    """Fetched once by the local rule `fetch_dataset`."""
    generate: Annotated[int, Field(ge=0)] | None = None
    """Seed of generated questions, for a task that generates them (arithmetic)."""
    splits: Splits = Splits()
    """Sizes of the splits."""
    template: str
    """How a question is put to the model; `{question}` stands for it (D29)."""
    formats: dict[Name, str] = {}
    """Models that are asked in one of `formats` instead of `template`: {llama3-8b: chat}."""
    stop: list[StopText] = []
    """Text that ends a generation; it is cut off."""
    max_new_tokens: Count = 512
    """Longest rationale in tokens (D25)."""

    @model_validator(mode="after")
    def _sound(self) -> Dataset:
        one_of("a dataset", files=self.files, hub=self.hub, generate=self.generate)
        facts = {name: each.values for name, each in declared("tasks", "Facts").items()}
        generated = [name for name, values in facts.items() if values.get("generates")]
        if (self.generate is not None) != (self.task in generated):
            names = " and ".join(f"`{name}`" for name in generated)
            raise ValueError(f"`generate` goes with task {names}, and the other tasks read `files` or `hub`")
        if self.generate is not None and self.splits.test is None:
            raise ValueError("generated questions need a number: set `splits.test`")
        if self.hub and self.splits.test is None and not facts[self.task].get("test_rows"):
            raise ValueError(f"how many test rows task `{self.task}` has is not known: set `splits.test`")
        if "{question}" not in self.template:
            raise ValueError("`template` must contain {question}")
        if facts[self.task].get("takes_options"):
            _check_options(f"task {self.task}", "tasks", self.task, self.options)
        elif self.options:
            raise ValueError(f"task `{self.task}` is told nothing of its rows: remove `options`")
        if self.options and self.columns:
            raise ValueError(f"`options` of task {self.task} name the fields of its rows: remove `columns`")
        self._columns_are_the_tasks(tuple(facts[self.task].get("row", ())))
        return self

    @property
    def own_task(self) -> AnyTask:
        """Return the task with what it is told of the rows; its name alone where there is nothing to tell."""
        return OwnTask(name=self.task, options=self.options) if self.options else self.task

    def _columns_are_the_tasks(self, fields: tuple[str, ...]) -> None:
        """Refuse a name that the task does not know, and one column for two fields."""
        own = list(self.columns.values())
        for name in self.columns:
            if name not in fields:
                raise ValueError(f"`columns` names {name!r}, no field of task {self.task}{did_you_mean(name, fields)}")
            if own.count(self.columns[name]) > 1:
                raise ValueError(f"`columns` gives {self.columns[name]!r} for two fields; write another for {name!r}")
        if self.columns and self.generate is not None:
            raise ValueError("`columns` goes with rows of files, and `generate` makes its own; remove it")


def _check_options(what: str, folder: str, module: str, options: dict[str, Any]) -> None:
    """Raise ValueError, one line, unless `options` are what the file's closed model `Settings` takes."""
    settings = settings_of(folder, module)
    try:
        settings.model_validate(options)
    except ValidationError as error:
        raise ValueError(f"`options` of {what}: {one_line(error, settings, options)}") from None


READ_BY_SEARCHES = {"tuner", "options", "adapter", "vectors", "layout", "first_tokens"}
"""What a tuner that looks for tokens reads of a recipe: steps, rates and the like are its own."""


class Recipe(Settings):
    """How a soft prompt is tuned (D2), or where one lies that is brought in."""

    tuner: TunerName = "prompt_tuning"
    """How the prompt is made, see `dpc/prompts/tuners`."""
    options: dict[str, Any] = {}
    """What this tuner alone can set; its file says what."""
    adapter: Folder | None = None
    """Folder of a PEFT prompt-tuning adapter to take instead of tuning; {model}, {dataset} and {seed} are filled in."""
    vectors: Count = 100
    """Length of the soft prompt."""
    layout: Layout | None = None
    """Order of the input for this recipe's prompts; null is the study's `layout` (D3)."""
    init: Literal["vocabulary", "normal"] = "vocabulary"
    """Start from sampled vocabulary rows, or from noise of their standard deviation."""
    learning_rate: Positive = 1e-3
    """Peak learning rate of AdamW, after a linear warm-up, falling linearly to a tenth."""
    weight_decay: Annotated[float, Field(ge=0), AsNumber] = 0.0
    """AdamW's weight decay."""
    batch_size: Count = 16
    """Questions per step; part of the result."""
    steps: Count = 4400
    """Optimiser steps at most."""
    warmup: Count = 20
    """Steps of linear warm-up."""
    first_tokens: Count | None = None
    """Loss on the first so many rationale tokens only; null is all of them."""
    validate_every: Count = 440
    """Steps between looks at the validation loss."""
    patience: Count = 3
    """Looks without improvement before tuning ends; with `keep: last` all steps are done."""
    keep: Literal["best", "last"] = "best"
    """Keep the prompt of the lowest validation loss, or the last one."""

    @property
    def is_per_question(self) -> bool:
        """Whether each question has a prompt of its own."""
        return bool(declared("prompts/tuners", "tuner")[self.tuner].values.get("per_question"))

    @property
    def reads_labels(self) -> bool:
        """Whether the tuner asks for the words that may answer a question, where the task has such."""
        return bool(declared("prompts/tuners", "tuner")[self.tuner].values.get("reads_labels"))

    @model_validator(mode="after")
    def _options_are_the_tuners(self) -> Recipe:
        _check_options(f"tuner {self.tuner}", "prompts/tuners", self.tuner, self.options)
        return self

    @model_validator(mode="after")
    def _a_search_is_set_in_its_options(self) -> Recipe:
        searches = declared("prompts/tuners", "tuner")[self.tuner].values.get("searches")
        unread = sorted(self.model_fields_set - READ_BY_SEARCHES) if searches else []
        if unread:
            raise ValueError(f"tuner {self.tuner} does not read `{unread[0]}`: remove it, what it can set is `options`")
        return self

    @model_validator(mode="after")
    def _adapter_is_a_path(self) -> Recipe:
        if self.adapter and self.is_per_question:
            raise ValueError(f"`adapter` is one prompt for all questions, and tuner {self.tuner} makes one for each")
        strange = re.findall(r"{[^{}]*}?|}", re.sub(r"{(model|dataset|seed)}", "", self.adapter or ""))
        if strange:
            raise ValueError(f"`adapter` has {strange[0]}; known are {{model}}, {{dataset}} and {{seed}}")
        return self

    @model_validator(mode="after")
    def _adapter_has_a_layout(self) -> Recipe:
        if self.adapter is not None and self.layout is None:
            raise ValueError(
                "`adapter` needs `layout`, the order it was tuned in: write prompt_first for a prompt that PEFT tuned, "
                "[prompt, BOS, question], or bos_first for one that this workbench tuned so"
            )
        return self
