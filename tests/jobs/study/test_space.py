"""The search space: Hydra's grammar to Optuna's distributions."""

from __future__ import annotations

from typing import Any

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from distill.errors import ConfigError
from distill.jobs.study.space import read_space

CONFIG = {
    "optimizer": {"lr": 0.1, "name": "adam", "fused": True},
    "loss": {
        "terms": {"hard": {"weight": 1.0}, "soft": {"weight": 2, "temperature": 1.0}, "ramp": {"weight": {"end": 1}}}
    },
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("interval(0.1, 1)", FloatDistribution(0.1, 1.0)),
        ("tag(log, interval(0.1, 1.0))", FloatDistribution(0.1, 1.0, log=True)),
        ("interval(1, 4)", FloatDistribution(1.0, 4.0)),
        ("int(interval(1, 4))", IntDistribution(1, 4)),
        ("tag(log, int(interval(1, 64)))", IntDistribution(1, 64, log=True)),
        ("range(1, 8, 2)", IntDistribution(1, 7, step=2)),
        ("range(1, 7, 2)", IntDistribution(1, 5, step=2)),
        ("range(0.25, 1.0, 0.25)", FloatDistribution(0.25, 0.75, step=0.25)),
        ("range(4, 0, -1)", IntDistribution(1, 4, step=1)),
        ("choice(1, two, [3,4])", CategoricalDistribution(["1", "two", "[3,4]"])),
        ("8,null", CategoricalDistribution(["8", "null"])),
    ],
)
def test_each_sweep_has_its_distribution(text: str, expected: BaseDistribution) -> None:
    assert read_space({"x": text}, [], {}).distributions == {"x": expected}


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("interval(0.1, 1)", 0.5, 0.5),
        ("interval(0.1, 1)", 1, 1.0),
        ("interval(0.1, 1)", 2.0, None),
        ("interval(0.1, 1)", None, None),
        ("interval(0.1, 1)", "auto", None),
        ("interval(0.0, 1.0)", True, None),
        ("int(interval(1, 4))", 3, 3),
        ("int(interval(1, 4))", 2.5, None),
        ("range(16, 65, 16)", 32, 32),
        ("range(16, 65, 16)", 33, None),
        ("choice(1, two)", 1, "1"),
        ("choice(0.50, two)", 0.5, "0.5"),
        ("choice(1, two)", "two", "two"),
        ("choice(1, two)", "three", None),
    ],
)
def test_given_settings_are_found_in_the_space(text: str, value: Any, expected: Any) -> None:
    found = read_space({"x": text}, [], {}).given({"x": value}.get)
    assert found == ({} if expected is None else {"x": expected})


def test_the_command_line_goes_before() -> None:
    params = {"optimizer.lr": "interval(0.1, 1.0)", "b": "choice(1,2)", "c": 3}
    space = read_space(params, ["optimizer.lr=0.5", "+sweep=optuna", "b=interval(0.0,1.0)", "~d"], CONFIG)
    assert space.distributions == {"b": FloatDistribution(0.0, 1.0)}
    assert space.fixed == ["c=3", "optimizer.lr=0.5", "+sweep=optuna", "~d"]


def test_a_star_finds_numbers_and_null_leaves_a_key_alone() -> None:
    wide, own = "interval(0.5, 2.0)", "choice(1,2)"
    params = {"loss.terms.*.weight": wide, "loss.terms.*.temperature": own, "optimizer.*": wide, "nowhere.*": wide}
    found = read_space(params, [], CONFIG).distributions
    assert set(found) == {
        "loss.terms.hard.weight",
        "loss.terms.soft.weight",
        "loss.terms.soft.temperature",
        "optimizer.lr",
    }  # no text, no switch, no schedule
    found = read_space(
        {**params, "loss.terms.hard.weight": None, "loss.terms.soft.weight": own}, [], CONFIG
    ).distributions
    assert "loss.terms.hard.weight" not in found
    assert found["loss.terms.soft.weight"] == CategoricalDistribution(["1", "2"])


@pytest.mark.parametrize(
    ("params", "arguments", "message"),
    [
        ({}, ["a=1"], "nothing to tune"),
        ({"nowhere.*": "interval(0,1)"}, [], "nothing to tune"),
        ({"a": "interval(0,1)"}, ["seed=0,1"], r"study.seeds=\[0,1\]"),
        ({"a": "interval(2,1)"}, [], "empty"),
        ({"a": "tag(log, interval(0.0, 1.0))"}, [], "positive"),
        ({"a": "range(3,1)"}, [], "empty"),
    ],
)
def test_what_cannot_be_tuned(params: dict[str, Any], arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_space(params, arguments, CONFIG)
