"""A stage that is told some keys of a group reads no other."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import ValidationError

from dpc.config.kinds import Only, Settings
from dpc.config.settings import Trigger


class Stage(Settings):
    """Reads two keys of the group."""

    trigger: Annotated[Trigger, Only("kappa", "rule")]


TOLD = Stage(trigger=Trigger(kappa=2.0, share=0.3))


def test_only_the_keys_are_written() -> None:
    assert TOLD.model_dump_json() == '{"trigger":{"kappa":2.0,"rule":"share"}}'
    assert Stage.model_validate_json(TOLD.model_dump_json()) == TOLD


def test_another_key_is_not_there_to_be_read() -> None:
    assert TOLD.trigger.kappa == 2.0
    with pytest.raises(AttributeError, match="share"):
        _ = TOLD.trigger.share


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"trigger": {"kappa": 1, "rule": "share", "share": 0.5}}', "share"),
        ('{"trigger": {"kappa": -1, "rule": "share"}}', "greater than 0"),
        ('{"trigger": {"kappa": 1, "rule": "shares"}}', "share_and_accumulation"),
    ],
)
def test_the_part_is_as_closed_and_strict_as_the_group(text: str, fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Stage.model_validate_json(text)
