"""Who made a table: what its footer says."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from dpc import __version__
from dpc.config.kinds import Settings
from dpc.config.stages import VERSIONS
from dpc.errors import DpcError
from dpc.storage import tables
from dpc.storage.hashing import content_hash, model_hash
from dpc.storage.hub import origin
from dpc.storage.tokenizer_files import first_word

_PACKAGES = ("torch", "transformers", "pandas", "pyarrow", "snakemake")
KINDS = ("model", "data", "prompt")
"""What a table comes from, each with the hashes of its content."""
_CHECKOUT = Path(__file__).parents[2]
_given: list[Path] = []
"""Files and folders that the stage of this process was given on its command line."""


def give(paths: Iterable[Path]) -> None:
    """Say which files and folders the stage of this process was given: their hashes go into the footers it writes."""
    _given[:] = paths


@lru_cache
def commit() -> str:
    """Return the commit of the checkout that this code lies in, `-dirty` behind it where a tracked file was edited.

    Empty where the code lies in no checkout, or there is no git.
    """
    if not (_CHECKOUT / ".git").exists():
        return ""
    command = ["git", "-C", str(_CHECKOUT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    alone = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # jobs that ask at the same time do not wait for each other
    try:
        return subprocess.run(command, env=alone, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def hashes(paths: Iterable[Path], stage: str = "") -> dict[str, list[str]]:
    """Return the hashes of models, data and prompts that files come from, by kind.

    Tables say it in their footers; those that `stage` itself wrote before are passed over.
    """
    found: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for path in paths:
        for kind, values in _hashes_of(path, stage).items():
            found[kind].update(values)
    return {kind: sorted(values) for kind, values in found.items()}


def _hashes_of(path: Path, stage: str) -> dict[str, list[str]]:
    adapter = path / "adapter_model.safetensors" if path.is_dir() else path
    if adapter.name == "adapter_model.safetensors" and adapter.is_file():
        return {"prompt": [content_hash([adapter.read_bytes()])]}
    if (path / "config.json").is_file():
        return {"model": [model_hash(path)]}
    if path.suffix != ".parquet" or not path.is_file():
        return {}
    try:
        footer = tables.provenance(path)
    except DpcError:
        return {}  # whoever reads the table says that it is broken
    return {} if footer.get("stage") == stage else dict(footer.get("hashes", {}))


def short(files: Sequence[Path]) -> str:
    """Return the sentence that says with which code a page was made, and from what, by the footers of its tables."""
    footers = [tables.provenance(file) for file in files]
    commits = dict.fromkeys([*(footer["commit"] for footer in footers if footer.get("commit")), commit()])
    named = [_plain(each) for each in commits if each] or ["unknown"]
    code = " and ".join(named) if len(named) < 3 else f"{named[-1]} and {len(named) - 1} others"
    known = hashes(files)
    parts = [f"{kind} {_named(known[kind])}" for kind in KINDS if known[kind]]
    return f"Made with dpc {__version__}, commit {code}{''.join(f'; {part}' for part in parts)}."


def _plain(version: str) -> str:
    """Return a commit for readers: `1a2b3c4d5e6f`, or `1a2b3c4d5e6f (edited)`."""
    return version.replace("-dirty", " (edited)")


def _named(values: Sequence[str]) -> str:
    """Return one hash, or how many there are with the hash of all."""
    return values[0] if len(values) == 1 else f"{content_hash(v.encode() for v in values)} (all {len(values)})"


def peak_gb() -> float:
    """Return the largest memory that this process has taken: of its card where it uses one, else of the machine."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return float(torch.cuda.max_memory_allocated()) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def provenance(
    stage: str, settings: Settings, *, model: Path | None = None, data: str = "", **more: Any
) -> dict[str, Any]:
    """Return who made a table: stage, its version, code and packages, settings, host, time, and what else is given.

    `model` is the folder of the model: its hub id and commit, where it was fetched, and the token in front of every
    sequence that `bos` of the settings came to. `data` is the hash of the rows, where the stage itself reads them.
    """
    found = hashes(_given, stage)
    if data:
        found["data"] = [data]
    if model is not None:
        more |= {"model": origin(model), "bos": first_word(model, getattr(settings, "bos", "auto"))}
    return {
        "stage": stage,
        "version": VERSIONS[stage],
        "dpc": __version__,
        "commit": commit(),
        "hashes": found,
        "settings": settings.model_dump(mode="json"),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "host": platform.node(),
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "peak_gb": peak_gb(),
        **more,
    }
