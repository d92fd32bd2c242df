"""A rule gives its stage every flag that the stage's `run` takes, and what it reads and writes stands among them."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest

from dpc.config.stages import DECLARED, RULES
from tests.support.workflow import rules

LINES = rules()
STAGE_OF = {rule: name for name, each in DECLARED.items() for rule in each.rules or (name,)}


def test_every_stage_has_its_rules() -> None:
    assert {rule for rule, body in LINES.items() if "VERSIONS[" in body} == set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_runs_its_stage_with_all_flags(rule: str) -> None:
    body, name = LINES[rule], STAGE_OF[rule]
    assert set(re.findall(r'settings\(\s*"(\w+)"|VERSIONS\["(\w+)"\]|-m dpc (\w+)', body)) == {
        (name, "", ""), ("", name, ""), ("", "", name)
    }  # fmt: skip
    flags = set(re.findall(r"--([a-z-]+)", body.partition("shell:")[2]))
    taken = inspect.signature(importlib.import_module(f"dpc.pipeline.stages.{name}").run).parameters
    needed = {flag.replace("_", "-") for flag, one in taken.items() if one.default is one.empty}
    passed = flags | ({"given"} if "{params.given:q}" in body else set())
    assert needed | {"log"} <= passed <= {flag.replace("_", "-") for flag in taken} | {"log"}
