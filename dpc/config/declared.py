"""What the files of a folder declare, read from their text: no file is imported, so reading the Snakefile stays light.

A declaration is a call with plain values by name. It stands above a function or a class, and bears its name:

    @plan(label="Mask only", kind="corruption")
    def mask_only(inputs): ...

or is what a name of the module is set to, and bears the file's name: `FAMILY = Family(kernels=("sdpa", "eager"))`.
A new file in the folder is all that a new plan, task, tuner, model family, figure or table needs.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from dpc.errors import DpcError

PACKAGE = Path(__file__).parents[1]
_LIGHT = ("__future__", "typing", "pydantic", "dpc.config")
"""What a file's `Settings` may be made of."""


@dataclass(frozen=True)
class Declared:
    """One declaration: the module it stands in, and its values by name."""

    module: str
    values: dict[str, Any]


@cache
def declared(folder: str, kind: str, package: Path = PACKAGE) -> dict[str, Declared]:
    """Return what the files of `dpc/FOLDER` declare with `kind(...)`, by name, in the order of files and lines.

    Raises DpcError, with file and line, for a value that is not plain, or a name that is declared twice.
    """
    found: dict[str, Declared] = {}
    for file in sorted((package / folder).glob("*.py")):
        module = ".".join([package.name, *folder.split("/"), file.stem])
        for name, call in _calls(ast.parse(file.read_text(), file), kind, file.stem):
            if name in found:
                raise DpcError(f"{file}:{call.lineno}: {name} is declared in {found[name].module} too; rename one")
            found[name] = Declared(module, _values(file, call))
    return found


def _calls(tree: ast.Module, kind: str, stem: str) -> Iterator[tuple[str, ast.Call]]:
    """Yield every call of `kind` that is a decorator or is given to a name, with the name it declares."""
    for node in tree.body:
        name, calls = stem, list[ast.expr]()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            name, calls = node.name, node.decorator_list
        elif isinstance(node, ast.Assign):
            calls = [node.value]
        for call in calls:
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == kind:
                yield name, call


def _values(file: Path, call: ast.Call) -> dict[str, Any]:
    try:
        if call.args:
            raise ValueError
        return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except ValueError:
        kind = getattr(call.func, "id", "")
        raise DpcError(
            f"{file}:{call.lineno}: {kind}(...) is read without running the file; write plain values, each by its name"
        ) from None


@cache
def settings_of(folder: str, module: str, package: Path = PACKAGE) -> Any:
    """Return the class `Settings` of a file of `dpc/FOLDER`, made without running the rest of the file.

    It may use `typing`, `pydantic` and `dpc.config` alone. Raises DpcError where there is none.
    """
    file = package / folder / f"{module}.py"
    tree = ast.parse(file.read_text(), file)
    tree.body = [node for node in tree.body if _is_light(node)]
    if not any(isinstance(node, ast.ClassDef) for node in tree.body):
        raise DpcError(f"{file}: found no class Settings; write one, a closed model of what can be set")
    light = ModuleType(f"{module}'s settings")
    light.__file__ = str(file)  # pydantic reads the docstrings beneath its keys there
    sys.modules[light.__name__] = light
    exec(compile(tree, file, "exec"), vars(light))
    return light.Settings


def _is_light(node: ast.stmt) -> bool:
    if isinstance(node, ast.ImportFrom):
        # not the catalogue, which asks for these settings while it is being made
        return str(node.module).startswith(_LIGHT) and node.module != "dpc.config.catalogue"
    return isinstance(node, ast.ClassDef) and node.name == "Settings"
