"""Settings files as text: what YAML would refuse or lose in silence, with file, line and column; where a key stands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from dpc.errors import DpcError

# compiled where it can be: every start of Snakemake reads these files
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAB = re.compile(r"(?m)^ *\t")
_OPENED = ("flow sequence", "flow mapping", "quoted scalar", "simple key")
"""What begins where YAML's context stands, and is missed only where the next thing begins."""
_KEY = re.compile(r"`[^`]+`|[\w.\-\[\]]*\w\.[\w.\-\[\]]*[\w\]]")


def check_file(path: Path) -> None:
    """Raise DpcError, one line with file, line and column, unless `path` is a YAML map whose keys stand there once."""
    root = _root(path)
    if not isinstance(root, yaml.MappingNode):
        found = "a list" if isinstance(root, yaml.SequenceNode) else "a text" if root else "nothing"
        raise DpcError(f"{path}:1:1: found {found}; expected a map of keys, as in workflow/own.yaml")
    for place, name, first in _twice(root):
        raise DpcError(
            f"{path}:{place}: key `{name}` stands twice, first on line {first}, and only one would count; "
            "merge them or remove one"
        )


def set_at(message: str, files: Sequence[Path]) -> str:
    """Return ` (mine.yaml:12)` for the first key that `message` names, or nothing where it names none of these files.

    The last file that sets the key counts; for a key that none sets, the group it would stand in.
    """
    lines = [(path, dict(_lines(root))) for path in reversed(files) if (root := _root(path))]
    names = [found.strip("`.") for found in _KEY.findall(message)]
    groups = [name.rpartition(".")[0] for name in names]
    for name in (*names, *groups):
        for path, keys in lines:
            if name in keys:
                return f" ({path}:{keys[name]})"
    return ""


def _root(path: Path) -> yaml.Node | None:
    """Return the tree of a YAML file, with the place of every node. Raises DpcError where it cannot be read as one."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DpcError(f"{path}:{line}: found bytes that are no UTF-8 text; save the file as UTF-8") from None
    except OSError as error:
        raise DpcError(f"{path}: cannot be read ({error.strerror}); write the path of a settings file") from None
    if tab := _TAB.search(text):
        line = text.count("\n", 0, tab.end() - 1) + 1
        column = tab.end() - tab.start()
        raise DpcError(f"{path}:{line}:{column}: found a tab in front of a key; write spaces, which YAML asks for")
    try:
        return yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        is_opened = any(kind in str(error.context) for kind in _OPENED)
        mark = (error.context_mark if is_opened else error.problem_mark) or error.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise DpcError(f"{where}: not YAML ({_said(error)}); {_mend(str(error.problem))}") from None
    except yaml.YAMLError as error:
        raise DpcError(f"{path}: not YAML ({str(error).splitlines()[0]}); write the character itself") from None


def _said(error: yaml.MarkedYAMLError) -> str:
    return ", ".join(filter(None, (error.context, error.problem))).replace("\n", " ")


def _mend(problem: str) -> str:
    """Say what to type for what YAML found."""
    if "mapping values are not allowed" in problem or "block end" in problem or "block mapping" in problem:
        return (
            "indent keys of one group alike, one `key: value` a line with a space behind the colon, and put text with "
            "`: ` in quotes"
        )
    if "quoted" in problem or "end of stream" in problem or "',' or" in problem or "flow" in problem:
        return "close the quote or bracket"
    if "alias" in problem or "anchor" in problem or "cannot start any token" in problem or "tag" in problem:
        return "put text that begins with a sign such as @ % * & ! in quotes"
    return (
        "write one `key: value` a line with a space behind the colon, indent keys of one group alike, and close the "
        "quotes and brackets above"
    )


def _pairs(node: yaml.Node) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    """Yield what stands below a node: how its path goes on, the node that names it, and its value."""
    if isinstance(node, yaml.MappingNode):
        yield from ((f".{key.value}", key, value) for key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        yield from ((f"[{number}]", value, value) for number, value in enumerate(node.value))


def _twice(node: yaml.Node, path: str = "") -> Iterator[tuple[str, str, int]]:
    """Yield `line:column`, name and first line of every key that stands twice in one map."""
    lines: dict[str, int] = {}
    for step, named, value in _pairs(node):
        line, column = named.start_mark.line + 1, named.start_mark.column + 1
        if step in lines:
            yield f"{line}:{column}", f"{path}{step}".lstrip("."), lines[step]
        lines[step] = line
        yield from _twice(value, path + step)


def _lines(node: yaml.Node, path: str = "") -> Iterator[tuple[str, int]]:
    """Yield every key of a tree, dotted as messages name it, and its line."""
    for step, named, value in _pairs(node):
        yield f"{path}{step}".lstrip("."), named.start_mark.line + 1
        yield from _lines(value, path + step)
