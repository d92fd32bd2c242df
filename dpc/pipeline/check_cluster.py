"""The part of the check that reads the names of a cluster: wrong names are otherwise refused when jobs are submitted.

`slurm/profile.yaml` and `workflow/rules/cluster.smk` take them from the environment. Types of cards go through
Snakemake's executor (`set_gres_string` of snakemake-executor-plugin-slurm 2.8.0), which takes fewer than Slurm does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from dpc.errors import DpcError
from dpc.pipeline.cluster import slurm

_TYPE, _COUNT = re.compile(r"[A-Za-z0-9_.]+"), re.compile(r"[0-9]+[TGM]?")
_EXECUTOR = "letters, digits, _ and . (Snakemake's executor takes no other, and the workflow adds the number)"
_OTHERWISE = "choose the cards by DPC_GPU_PARTITION or DPC_GPU_CONSTRAINT"
_ONE, _SEVERAL, _ANY = r"[^\s,;'\"]+", r"[^\s,;'\"]+(?:,[^\s,;'\"]+)*", r"[^\s'\"]+"
_FORMS = {
    "DPC_PARTITION": (_SEVERAL, "a partition, or several with commas between them"),
    "DPC_GPU_PARTITION": (_SEVERAL, "a partition, or several with commas between them"),
    "DPC_GPU_CONSTRAINT": (_ANY, "features of a node"),
    "DPC_ACCOUNT": (_ONE, "one account"),
    "DPC_QOS": (_ONE, "one quality of service"),
}


def check_environment(environment: Mapping[str, str]) -> None:
    """Raise DpcError for a name that Snakemake's executor or Slurm would refuse, or read otherwise."""
    cards, model = environment.get("DPC_GPU_GRES"), environment.get("DPC_GPU_MODEL")
    if cards:
        _check_cards(cards)
    if model:
        _check_model(model, cards)
    for variable, (form, expected) in _FORMS.items():
        value = environment.get(variable)
        if value and not re.fullmatch(form, value):
            raise DpcError(f"{variable} is {value!r}; expected {expected}, without spaces or quotes: correct it")
    for variable in ("DPC_PARTITION", "DPC_GPU_PARTITION"):
        if environment.get(variable):
            _check_partitions(variable, environment[variable])


def _check_cards(cards: str) -> None:
    """A generic resource is a name, or a name and a type: the workflow adds the number of cards."""
    name, *types = cards.strip("'\" ").split(":")
    is_name = re.fullmatch(r"[A-Za-z0-9_]+", name) is not None
    if is_name and cards == ":".join([name, *types]) and len(types) < 2 and all(map(_is_type, types)):
        return
    name = name if is_name else "gpu"
    wanted = [part for part in types if not _COUNT.fullmatch(part)]
    if len(wanted) == 1 and _is_type(wanted[0]):
        name, wanted = f"{name}:{wanted[0]}", []
    otherwise = f", and {_OTHERWISE}" if wanted else ""
    raise DpcError(
        f"DPC_GPU_GRES is {cards!r}; expected NAME or NAME:TYPE of {_EXECUTOR}; write DPC_GPU_GRES={name}{otherwise}"
    )


def _check_model(model: str, cards: str | None) -> None:
    if not _is_type(model):
        raise DpcError(f"DPC_GPU_MODEL is {model!r}; expected a name of {_EXECUTOR}; unset it, and {_OTHERWISE}")
    if cards:
        name = cards.partition(":")[0]
        raise DpcError(
            f"DPC_GPU_MODEL is {model!r} beside DPC_GPU_GRES, where it has no effect; expected one of them: unset it, "
            f"and write DPC_GPU_GRES={name}:{model} if the model matters"
        )


def _is_type(name: str) -> bool:
    return _TYPE.fullmatch(name) is not None and not _COUNT.fullmatch(name)


def _check_partitions(variable: str, value: str) -> None:
    known = slurm.partitions()
    unknown = set(value.split(",")) - known
    if known and unknown:
        names = ", ".join(sorted(known))
        raise DpcError(f"{variable} names {min(unknown)!r}, which is no partition of this Slurm; write one of {names}")
