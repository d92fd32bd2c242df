"""`config.yaml`, the model in `dpc/config/settings.py` and the JSON schema say the same."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import jsonschema
import pytest
import yaml

from dpc.config import reference, schema
from dpc.config.catalogue import Recipe, Splits
from dpc.config.kinds import OracleName, PlanName
from dpc.config.settings import Config, load_config
from dpc.plans.declaration import of
from tests.support import config_tree as tree
from tests.support.paths import ROOT
from tests.support.workflow import overlay

FILE = ROOT / "workflow" / "schemas" / "config.schema.json"
GROUPS = [name for name, field in Config.model_fields.items() if not field.is_required()]


def test_the_reference_page_is_the_model() -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    assert page == reference.text(), "run `make schema`"
    rows = {line.split("`")[1].removesuffix(".NAME") for line in page.splitlines() if line.startswith("| `")}
    assert {key.replace("*", "NAME") for key in tree.model_leaves()} == rows


def test_the_schema_is_the_model() -> None:
    assert FILE.read_text() == schema.text(), "run `python -m dpc.config.schema > workflow/schemas/config.schema.json`"


def test_the_schema_takes_the_configurations_and_refuses_what_is_wrong() -> None:
    known = json.loads(FILE.read_text())
    jsonschema.Draft202012Validator.check_schema(known)
    for good in (tree.config(), tree.demo()):
        jsonschema.validate(good, known)
    for wrong in ({"flwo": {}}, {"trigger": {"kappa": 0}}, {"models": {"a b": {"path": "x"}}}, {"layout": "x"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(overlay(tree.config(), wrong), known)


def _undescribed(known: dict[str, Any]) -> list[str]:
    return [
        f"{name}.{key}"
        for name, group in known["$defs"].items()
        for key, value in group["properties"].items()
        if not (value.get("description") or known["$defs"].get(value.get("$ref", "")[8:], {}).get("description"))
    ]


def test_every_key_is_described() -> None:
    assert _undescribed(json.loads(schema.text())) == []


def test_config_shows_every_key() -> None:
    shown = tree.file_leaves(tree.with_examples())
    assert [key for key in tree.model_leaves() if key not in shown] == []
    assert [key for key in shown if key not in tree.model_leaves()] == []


def test_the_examples_in_comments_load() -> None:
    raw = yaml.safe_load(tree.with_examples())
    found = load_config(raw)
    assert {"own", "embedded"} <= set(found.models) & set(found.datasets)
    default = Config.model_validate(raw).models["embedded"].builtin
    assert default == type(default)(), "the embedded model's example shows other values than its defaults"


@pytest.mark.parametrize("group", GROUPS)
def test_config_shows_the_defaults(group: str) -> None:
    assert group in tree.config()
    assert getattr(load_config(tree.config()), group) == Config.model_fields[group].get_default()


def test_the_first_catalogue_entries_show_the_defaults() -> None:
    found = load_config(tree.config())
    assert found.recipes["paper"] == Recipe()
    assert found.datasets["gsm8k"].splits == Splits()


def test_every_key_has_a_comment() -> None:
    """On its own line or on its parent's; in a catalogue the comment of one entry serves the others."""
    text = tree.with_examples()
    lines = text.splitlines()
    leaves = tree.file_leaves(text)
    bare = [key for key, places in leaves.items() if not any(tree.is_explained(lines, n) for n in places)]
    assert bare == []


def test_the_embedded_study_is_valid() -> None:
    found = load_config(tree.demo())
    assert (found.study.models, found.execution.device) == (["builtin"], "cpu")


def test_the_plans_are_those_of_the_registry() -> None:
    assert set(get_args(PlanName)) == set(of("test"))
    assert set(get_args(OracleName)) == set(of("oracles"))


def test_every_choice_names_a_test_that_is_there() -> None:
    page = (ROOT / "docs" / "choices.md").read_text().split("## Where each choice is tested")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| (D\d+) \| (.*) \|$", page, re.MULTILINE))
    assert list(rows) == [f"D{number}" for number in range(1, 32)]
    for tests in rows.values():
        for file, name in re.findall(r"`(tests/\w+\.py)::(\w+)`", tests):
            assert f"def {name}(" in (ROOT / file).read_text(), f"{file}::{name}"


def test_the_page_of_choices_has_every_choice_and_no_key_that_is_gone() -> None:
    page = (ROOT / "docs" / "choices.md").read_text()
    table = re.findall(r"^\| (D\d+) \|[^|]*\| ([^|]*) \|", page, re.MULTILINE)
    assert [name for name, _ in table] == [f"D{number}" for number in range(1, 32)]
    named = [key for _, keys in table for key in re.findall(r"`([a-z][\w.*]*)`", keys)]
    known = [f"{leaf}." for leaf in tree.model_leaves()]
    assert [key for key in named if not any(leaf.startswith(f"{key.removesuffix('.*')}.") for leaf in known)] == []
