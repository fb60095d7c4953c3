import math

import pytest

from distill.errors import ConfigError
from distill.losses.schedule import (
    Constant,
    Cosine,
    Linear,
    Warmup,
    as_schedule,
    temperature_schedule,
    weight_schedule,
)


def test_constant():
    assert [Constant(0.5).value(step) for step in (0, 10**9)] == [0.5, 0.5]


def test_linear_holds_before_and_after():
    schedule = Linear(start=1.0, end=3.0, steps=4, begin=2)
    assert [schedule.value(step) for step in (0, 2, 3, 4, 6, 100)] == [1.0, 1.0, 1.5, 2.0, 3.0, 3.0]


def test_linear_reaches_its_end_exactly():
    assert Linear(start=0.1, end=0.7, steps=3).value(3) == 0.7


def test_cosine_holds_before_and_after():
    schedule = Cosine(start=4.0, end=1.0, steps=4, begin=1)
    expected = [4.0, 4.0, 1.0 + 1.5 * (1 + math.cos(math.pi / 4)), 2.5, 1.0, 1.0]
    assert [schedule.value(step) for step in (0, 1, 2, 3, 5, 50)] == pytest.approx(expected)


def test_warmup_is_zero_and_then_the_target():
    schedule = Warmup(target=0.5, steps=3)
    assert [schedule.value(step) for step in (0, 2, 3, 4)] == [0.0, 0.0, 0.5, 0.5]
    assert Warmup(target=0.5, steps=0).value(0) == 0.5


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda: Linear(0.0, 1.0, steps=0), "Linear.steps"),
        (lambda: Linear(0.0, 1.0, steps=2.5), "Linear.steps"),
        (lambda: Cosine(0.0, 1.0, steps=3, begin=-1), "Cosine.begin"),
        (lambda: Cosine(float("nan"), 1.0, steps=3), "Cosine.start"),
        (lambda: Linear(0.0, float("inf"), steps=3), "Linear.end"),
        (lambda: Warmup(1.0, steps=-1), "Warmup.steps"),
        (lambda: Warmup(1.0, steps=1.0), "Warmup.steps"),
        (lambda: Linear(0.0, 1.0, steps=0.0), "Linear.steps"),
        (lambda: Linear(0.0, 1.0, steps=0.5).value(0), "Linear.steps"),
        (lambda: Constant("1"), "Constant.constant"),
        (lambda: Constant(True), "Constant.constant"),
    ],
)
def test_impossible_arguments_are_named(make, where):
    with pytest.raises(ConfigError, match=where):
        make()


def test_numbers_become_constant_schedules():
    assert as_schedule(2, "x").value(5) == 2.0
    schedule = Linear(0.0, 1.0, 2)
    assert as_schedule(schedule, "x") is schedule
    for wrong in ({"start": 0.0}, None, True, float("nan")):
        with pytest.raises(ConfigError, match=r"Term\.weight"):
            as_schedule(wrong, "Term.weight")


def test_weights_are_never_negative_and_temperatures_always_positive():
    assert weight_schedule(Warmup(1.0, 5), "w").value(0) == 0.0
    for wrong in (-0.1, Linear(1.0, -1.0, 5), Warmup(-1.0, 5)):
        with pytest.raises(ConfigError, match="at least 0"):
            weight_schedule(wrong, "w")
    assert temperature_schedule(Cosine(4.0, 1.0, 5), "t").value(5) == 1.0
    for wrong in (0.0, -1, Cosine(4.0, 0.0, 5), Warmup(2.0, 5)):
        with pytest.raises(ConfigError, match="above 0"):
            temperature_schedule(wrong, "t")


def test_shares_of_training_become_steps():
    assert Linear(0.0, 1.0, steps=0.2, begin=0.1).planned(50) == Linear(0.0, 1.0, steps=10, begin=5)
    assert Cosine(0.0, 1.0, steps=0.001).planned(50) == Cosine(0.0, 1.0, steps=1)
    assert Warmup(0.5, steps=0.25).planned(40).value(9) == 0.0
    assert Warmup(0.5, steps=0.25).planned(40).value(10) == 0.5
    assert Linear(0.0, 1.0, steps=3).planned(50) == Linear(0.0, 1.0, steps=3)
    assert Constant(2.0).planned(50) == Constant(2.0)
