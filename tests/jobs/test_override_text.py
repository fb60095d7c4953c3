"""Paths of hive folders may be typed as they are."""

from __future__ import annotations

import argparse

import pytest
from hydra import compose

from distill.jobs.option_values import with_overrides
from distill.jobs.override_text import for_hydra
from tests.jobs.entry import run_script
from tests.models.composing import composing


@pytest.mark.parametrize("path", ["logs/day=11", "logs/day=1*", "~/logs/y=2025/m=03/part-0.parquet", "day=11", "a=b="])
def test_a_path_is_the_value(path: str) -> None:
    with composing():
        assert compose("config", ["data=parquet", for_hydra(f"data.source={path}")]).data.source == path


@pytest.mark.parametrize(
    "override",
    [
        "data.source=logs",
        "seed=1,2",
        "data.source='logs/day=11'",
        '+model.vectors.item_id={path: "a=b"}',
        "+experiment/funnel=glob(*,exclude=[base])",
        "data.source=[a=1,b=2]",
        "~loss.terms.soft",
        "key=",
    ],
)
def test_all_else_stays_as_it_is(override: str) -> None:
    assert for_hydra(override) == override


def test_commands_without_a_config_take_it_too() -> None:
    found = with_overrides(argparse.ArgumentParser(), ["data.source=logs/day=11"])
    assert found.overrides == ['data.source="logs/day=11"']


def test_a_command_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_script("scripts/prepare.py", "data=parquet", "data.source=nowhere/day=11", "data.schema=x.yaml")
    assert "x.yaml" in capsys.readouterr().err  # the schema is not there either, and is read first
