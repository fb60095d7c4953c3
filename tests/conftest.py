"""Settings of all tests."""

from __future__ import annotations

import pytest
from hypothesis import settings

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps in one of several processes what shares bundles, runs and prepared data (see Makefile), and gives slow
    tests more time than the others, before the guard against hanging ends their process."""
    for item in items:
        file = item.path.relative_to(item.config.rootpath).as_posix()
        item.add_marker(pytest.mark.xdist_group("bundles" if file.startswith(BUNDLES) else file))
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tells helpers that wait for processes how long they may."""
    allow(item)
