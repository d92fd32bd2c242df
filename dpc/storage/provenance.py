"""Who made a table: what its footer says."""

from __future__ import annotations

import importlib.metadata
import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any

from dpc import __version__
from dpc.config.kinds import Settings
from dpc.config.stages import VERSIONS
from dpc.storage.hub import origin
from dpc.storage.tokenizer_files import first_word

_PACKAGES = ("torch", "transformers", "pandas", "pyarrow", "snakemake")


def peak_gb() -> float:
    """Return the largest memory that this process has taken: of its card where it uses one, else of the machine."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return float(torch.cuda.max_memory_allocated()) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def provenance(stage: str, settings: Settings, *, model: Path | None = None, **more: Any) -> dict[str, Any]:
    """Return who made a table: stage, its version, code and packages, settings, host, time, and what else is given.

    `model` is the folder of the model: its hub id and commit, where it was fetched, and the token in front of every
    sequence that `bos` of the settings came to.
    """
    if model is not None:
        more |= {"model": origin(model), "bos": first_word(model, getattr(settings, "bos", "auto"))}
    return {
        "stage": stage,
        "version": VERSIONS[stage],
        "dpc": __version__,
        "settings": settings.model_dump(mode="json"),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "host": platform.node(),
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "peak_gb": peak_gb(),
        **more,
    }
