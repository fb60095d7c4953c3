"""Settings of all tests."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests.kept_configs import keep_configs
from tests.patience import allow

# The machine is shared: how long one example takes says nothing.
settings.register_profile("shared_machine", deadline=None)
settings.load_profile("shared_machine")
keep_configs()

BUNDLES = ("tests/export/", "tests/service/", "tests/jobs/test_export.py")
"""Tests of bundles that are written once for all of them."""

SLOW_SECONDS = 1800
"""When a slow test is taken for one that hangs: the longest takes minutes, and more where programs share the cores."""


class TogetherScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Gives a file, or what shares bundles, to one of several processes."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return "bundles" if file.startswith(BUNDLES) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> TogetherScheduling | None:
    """Runs, prepared data and bundles are made once a process: what shares them stays together (`--dist loadfile`)."""
    return TogetherScheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives slow tests more time than the others, before the guard against hanging ends their process."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tells helpers that wait for processes how long they may."""
    allow(item)
