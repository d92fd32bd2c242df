"""A fingerprint of each stage's code, comments and docstrings aside: `tests.support.fingerprints` records them.

A fingerprint covers the stage's file and every module of the project it imports, at any depth, wherever in the file the
import stands. Imports for the type checker alone do not count. A module that loads others by a computed name counts as
importing all of that folder, and a figure style counts with the modules beside it. Where a module reads what a folder
declares, the declarations count; those that the room `config` reads are choices, of which a stage is told the one made.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from dpc.config.declared import declared
from dpc.config.stages import VERSIONS
from tests.support.paths import ROOT

RECORD = Path(__file__).with_suffix(".json")
UNCOUNTED = {"dpc", "dpc.config.stages", "dpc.config.messages"}
"""Hold version numbers, which must not change other stages' fingerprints, and the wording of errors."""


def module_file(name: str, root: Path) -> Path | None:
    """Return the file of a module of the project, None for any other name."""
    base = root / Path(*name.split("."))
    return next((file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()), None)


def canonical(node: ast.AST | list[ast.AST] | object) -> str:
    """Write a syntax tree without docstrings and positions, the same for every version of Python that reads it."""
    if isinstance(node, list):
        return "[" + ",".join(canonical(item) for item in node if not _is_text(item)) + "]"
    if isinstance(node, ast.AST):
        fields = [f"{name}={canonical(value)}" for name, value in ast.iter_fields(node) if value not in (None, [])]
        return f"{type(node).__name__}({','.join(fields)})"
    return repr(node)


def _is_declaration(node: ast.stmt) -> bool:
    """Say whether a statement is a stage's declaration: its version changes no other stage that uses its file."""
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "STAGE"


def _is_text(statement: object) -> bool:
    """Say whether a statement is a bare string: a docstring, or one under an attribute."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a tree, leaving out what stands under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test) and child not in node.orelse:
            continue
        yield child
        yield from _statements(child)


def imported(tree: ast.Module, name: str, file: Path, root: Path) -> set[str]:
    """Return the modules of the project that module `name`, read as `tree`, imports."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            found |= {source, *(f"{source}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.JoinedStr):
            found |= _computed(node, root)
    parents = {".".join(module.split(".")[:depth]) for module in found for depth in range(1, module.count(".") + 1)}
    return {module for module in found | parents if module_file(module, root)}


def _computed(text: ast.JoinedStr, root: Path) -> set[str]:
    """Return every module of the folder that f"dpc.folder.{name}" stands for."""
    first = text.values[0].value if text.values and isinstance(text.values[0], ast.Constant) else ""
    folder = str(first).removesuffix(".")
    if not (str(first).endswith(".") and module_file(folder, root)):
        return set()
    return {f"{folder}.{file.stem}" for file in (root / Path(*folder.split("."))).glob("*.py")}


def closure(name: str, root: Path = ROOT) -> dict[str, str]:
    """Return every module that `name` imports, itself included, with its tree in canonical form."""
    trees: dict[str, str] = {}
    waiting = [name]
    while waiting:
        module = waiting.pop()
        file = module_file(module, root)
        if file is None or module in trees or module in UNCOUNTED:
            continue
        tree = ast.parse(file.read_text())
        tree.body = [node for node in tree.body if not _is_declaration(node)]
        trees[module] = canonical(tree)
        if not module.startswith("dpc.config."):
            trees |= {
                f"{folder} {kind}": repr(declared.__wrapped__(folder, kind, root / "dpc"))
                for folder, kind in _read(tree)
            }
        waiting += imported(tree, module, file, root)
    return trees


def _read(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield folder and kind of the declarations that a module reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "declared":
            folder, kind = (ast.literal_eval(argument) for argument in node.args)
            yield folder, kind


def _styles(modules: dict[str, str], root: Path) -> dict[str, str]:
    """Return the figure styles beside `modules`, without their lines of comment."""
    folders = {file.parent for file in (module_file(name, root) for name in modules) if file}
    return {
        file.name: "\n".join(line for line in file.read_text().splitlines() if not line.startswith("#"))
        for folder in folders
        for file in folder.glob("*.mplstyle")
    }


def fingerprint(name: str, root: Path = ROOT) -> str:
    """Return the SHA-256 of a module and all it imports."""
    modules = closure(name, root)
    content = sorted({**modules, **_styles(modules, root)}.items())
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def present() -> dict[str, dict[str, int | str]]:
    """Return version and fingerprint of every stage as the code stands."""
    return {
        stage: {"version": version, "fingerprint": fingerprint(f"dpc.pipeline.stages.{stage}")}
        for stage, version in VERSIONS.items()
    }


if __name__ == "__main__":
    RECORD.write_text(json.dumps(present(), indent=2) + "\n")
    print(f"recorded {len(VERSIONS)} stages in {RECORD.relative_to(ROOT)}")
