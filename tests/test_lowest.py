"""The lowest releases that are declared are those that `make test-lowest` installs."""

from __future__ import annotations

import re

from tests.jobs.entry import ROOT

BOUND = re.compile(r'"([\w-]+)>=([\d.]+)')


def _releases(text: str) -> dict[str, tuple[int, ...]]:
    pairs = re.findall(r"^([\w-]+)==([\d.]+)$", text, re.MULTILINE)
    return {name.lower(): _release(version) for name, version in pairs}


def _release(version: str) -> tuple[int, ...]:
    numbers = [int(number) for number in version.split(".")]
    return tuple(numbers + [0] * (3 - len(numbers)))


def test_declared_bounds_are_tested() -> None:
    bounds: dict[str, tuple[int, ...]] = {}
    for project in ("pyproject.toml", "serving/pyproject.toml"):
        declared = (ROOT / project).read_text().partition("dependencies = [")[2].partition("]")[0]
        own = {name.lower(): _release(version) for name, version in BOUND.findall(declared)}
        assert all(bounds.get(name, bound) == bound for name, bound in own.items())
        bounds |= own
    tested = _releases((ROOT / "constraints-lowest.txt").read_text())
    assert bounds.pop("torch") <= tested.pop("torch")
    assert bounds == tested
