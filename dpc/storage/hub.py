"""Fetch a model or a dataset's file from the Hugging Face hub: what the two rules with network call.

What was fetched is written down beside it (`origin.json`: repository, revision asked for, commit), and goes into the
footers of the tables made from it. A model's `config.json` comes last: it means that the folder is complete.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from fnmatch import filter as filter_names
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

from dpc.config.messages import first_line
from dpc.errors import DpcError
from dpc.storage.files import atomic
from dpc.storage.json_files import read_map

Kind = Literal["model", "dataset"]
ORIGIN = "origin.json"
PATIENCE_SECONDS = 5
"""So long the check waits for the hub."""
WANTED = ["*.json", "*.safetensors", "tokenizer*", "*.model", "*.jinja", "merges.txt"]
UNWANTED = ["*/*", "consolidated*"]
"""Weights a second time, in another layout; pickled weights and code are never wanted."""


def why(error: Exception, repository: str) -> str:
    """Say in a few words why the hub gave nothing."""
    kind = type(error).__name__
    if kind == "GatedRepoError":
        return f"{repository} asks for a licence: accept it on its page and log in with `hf auth login`"
    if kind in ("RepositoryNotFoundError", "RevisionNotFoundError"):
        what = "revision" if kind.startswith("Revision") else "repository"
        return f"the hub knows no such {what} of {repository}, or shows it only after `hf auth login`"
    if kind in ("EntryNotFoundError", "RemoteEntryNotFoundError"):
        return f"{repository} has no such file at this revision"
    return f"the hub cannot be reached ({first_line(error)})"


def is_commit(revision: str | None) -> bool:
    """Say whether a revision is a commit, which never moves, and no branch or tag."""
    return revision is not None and len(revision) == 40 and set(revision) <= set("0123456789abcdef")


def wanted(names: Iterable[str]) -> list[str]:
    """Return the files of a model's repository that are fetched."""
    return [
        name
        for name in names
        if any(fnmatch(name, pattern) for pattern in WANTED) and not any(fnmatch(name, pattern) for pattern in UNWANTED)
    ]


def fetch(kind: Kind, hub: str, revision: str, folder: Path, file: str | None = None) -> None:
    """Download a model's files, or one file of a dataset, at `revision` into `folder`.

    Raises DpcError, one line, where the hub gives nothing or the model has no safetensors weights.
    """
    try:
        _download(kind, hub, revision, folder, file)
    except DpcError:
        raise
    except Exception as error:
        found = f"{hub} at revision {revision!r}: {why(error, hub)}"
        raise DpcError(f"{found}; correct `{kind}s` in the configuration, or run where there is network") from None


def _download(kind: Kind, hub: str, revision: str, folder: Path, file: str | None) -> None:
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    api = HfApi()
    info: Any = (api.model_info if kind == "model" else api.dataset_info)(hub, revision=revision)
    place = {"repo_id": hub, "repo_type": kind, "revision": info.sha, "local_dir": folder}
    if kind == "model":
        if not filter_names(wanted(sibling.rfilename for sibling in info.siblings or []), "*.safetensors"):
            raise DpcError(f"{hub}: found no safetensors file at {revision}; name a model or revision that has them")
        snapshot_download(**place, allow_patterns=WANTED, ignore_patterns=[*UNWANTED, "config.json"])
    else:
        hf_hub_download(filename=str(file), **place)
    with atomic(folder / ORIGIN) as temporary:
        text = json.dumps({"hub": hub, "revision": revision, "commit": info.sha}, indent=2)
        temporary.write_text(text + "\n")
    if kind == "model":
        hf_hub_download(filename="config.json", **place)


def origin(path: Path) -> dict[str, Any]:
    """Return where a model folder or a dataset's file comes from: repository, revision and commit, or its path.

    Raises DpcError where the file that says so cannot be read.
    """
    for folder in (path, *path.parents):
        if (folder / ORIGIN).is_file():
            return read_map(folder / ORIGIN, "what the fetch rule wrote")
    return {"path": str(path)}


def main(argv: list[str]) -> int:
    """Fetch what the flags name; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dpc.storage.hub", description=__doc__)
    parser.add_argument("kind", choices=("model", "dataset"))
    for flag in ("--hub", "--revision", "--folder"):
        parser.add_argument(flag, required=True, type=Path if flag == "--folder" else str)
    parser.add_argument("--file", help="of a dataset: path inside the repository")
    arguments = parser.parse_args(argv)
    if (arguments.kind == "dataset") != (arguments.file is not None):
        parser.error("--file goes with a dataset, and a dataset needs it")
    try:
        fetch(**vars(arguments))
    except DpcError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
