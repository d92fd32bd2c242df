"""The kinds of values that settings are made of: numbers however YAML reads them, layer ranges, names."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, create_model

from dpc.config.declared import declared

T = TypeVar("T")


class Settings(BaseModel):
    """A closed, frozen group of settings."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        defer_build=True,  # a stage reads its own settings: making what validates all others takes longer than that
    )


@cache
def _part(group: type[Settings], keys: tuple[str, ...]) -> type[Settings]:
    fields: Any = {key: (group.model_fields[key].rebuild_annotation(), group.model_fields[key]) for key in keys}
    return create_model(f"{group.__name__}Part", __base__=Settings, __doc__=group.__doc__, **fields)


class Only:
    """`Annotated[Trigger, Only("kappa")]`: a stage is told these keys of the group, and reads no other.

    An edit of another key then does not rerun the stage, and code that reads another key ends in an AttributeError.
    """

    def __init__(self, *keys: str):
        self.keys = keys

    def __get_pydantic_core_schema__(self, group: type[Settings], handler: GetCoreSchemaHandler) -> Any:
        """Validate the part of `group` that holds the keys; a whole group is cut down to it."""

        def cut_down(value: Any) -> Any:
            return value.model_dump(include=set(self.keys)) if isinstance(value, group) else value

        return handler(Annotated[_part(group, self.keys), BeforeValidator(cut_down)])


def _number(value: Any) -> Any:
    """YAML 1.1 reads `1e-3` as text; take it for the number it is."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _layers(value: Any) -> Any:
    """Refuse what is no layer range with one message instead of one for each way to write it."""
    is_pair = isinstance(value, list) and len(value) == 2 and all(type(layer) is int for layer in value)
    if value in ("paper", "second_half", "inner", "all") or (is_pair and 0 <= value[0] <= value[1]):
        return value
    raise ValueError("write paper, second_half, inner, all or [first, last], both inclusive, counted from 0")


def _distinct(values: list[T]) -> list[T]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value!r} appears more than once; write it once")
    return values


def _file(value: str) -> str:
    """Refuse what is no path to a job: Snakemake reads braces as wildcards, and a dash in front begins a flag."""
    if not value or "{" in value or "}" in value:
        raise ValueError("expected the path of a file, without { and }")
    if value.startswith("-"):
        raise ValueError(f"expected a path that begins with no dash: write './{value}'")
    return _at_home(value)


def _at_home(value: str) -> str:
    """Return a path with the home folder for the `~` in front, as a shell reads it."""
    home = str(Path.home())
    return home + value[1:] if value == "~" or value.startswith("~/") else value


def _stop(value: str) -> str:
    if not value:
        raise ValueError("expected text: an empty one ends every answer before its first word")
    return value


AsNumber = BeforeValidator(_number)
"""Stands last: bounds behind it would not reach the JSON schema."""
Number = Annotated[float, AsNumber]
Positive = Annotated[float, Field(gt=0), AsNumber]
Share = Annotated[float, Field(ge=0, le=1), AsNumber]
Count = Annotated[int, Field(ge=1)]
Layers = Annotated[
    Literal["paper", "second_half", "inner", "all"]
    | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)],
    BeforeValidator(_layers),
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
"""Names of models, datasets and recipes become folders, wildcards and parts of file names."""
Text = Annotated[str, Field(pattern=r"^[^{}]+$")]
"""Text in which Snakemake finds no wildcard."""
FileName = Annotated[str, AfterValidator(_file)]
Folder = Annotated[str, AfterValidator(_at_home)]
Results = Annotated[Text, AfterValidator(_at_home)]
Columns = Annotated[dict[str, str], Field(exclude_if=lambda columns: not columns)]
"""What a dataset's rows call the fields of their task. A stage is told nothing where they call them as it does."""
StopText = Annotated[str, AfterValidator(_stop)]
if TYPE_CHECKING:
    TaskName = str
    TunerName = str
    PlanName = str
    OracleName = str
else:  # a type checker knows no choices that are read from files
    TaskName = Literal[tuple(declared("tasks", "Facts"))]
    TunerName = Literal[tuple(declared("prompts/tuners", "tuner"))]
    _PLANS = {name: each.values for name, each in declared("plans", "plan").items()}
    _TESTED = [name for name, values in _PLANS.items() if "test" in values.get("splits", ("test",))]
    PlanName = Literal[tuple(name for name in _TESTED if _PLANS[name]["kind"] != "oracle")]
    OracleName = Literal[tuple(name for name in _TESTED if _PLANS[name]["kind"] == "oracle")]


class OwnTask(Settings):
    """A task that is told more than its name: what `datasets.NAME.options` says of the rows."""

    name: TaskName
    options: dict[str, Any]

    def __str__(self) -> str:
        return self.name


AnyTask = TaskName | OwnTask
Bos = Literal["auto"] | bool
"""Whether a beginning mark stands in front of every sequence; `auto` asks the tokenizer."""
Layout = Literal["bos_first", "prompt_first"]
"""`[BOS, prompt, question]` or `[prompt, BOS, question]` (D3)."""

_SEVERAL = Field(min_length=1, json_schema_extra={"uniqueItems": True})
Names = Annotated[list[str], _SEVERAL, AfterValidator(_distinct)]
Seeds = Annotated[list[int], _SEVERAL, AfterValidator(_distinct)]
Plans = Annotated[list[PlanName], _SEVERAL, AfterValidator(_distinct)]
CausalTests = Annotated[
    list[Literal["mask", "dose", "knock_out", "path", "divergence", "sink"]], AfterValidator(_distinct)
]
MeasuredPlans = Annotated[list[PlanName], AfterValidator(_distinct)]
Oracles = Annotated[list[OracleName], AfterValidator(_distinct)]


def one_of(what: str, **sources: object) -> None:
    """Raise ValueError unless just one of `sources` is not None; it names those that are."""
    found = [name for name, source in sources.items() if source is not None]
    if len(found) != 1:
        have = f"found {' and '.join(found)}: write null for the others" if found else "found none"
        raise ValueError(f"{what} needs exactly one of {', '.join(f'`{name}`' for name in sources)}; {have}")
