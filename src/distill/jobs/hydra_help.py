"""Makes Hydra's `--help` quick: it copies all that plugins have registered anew for each config group that it lists."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.object_type import ObjectType


@contextmanager
def groups_listed_once() -> Iterator[None]:
    """Within the block the options of a config group are looked up in Hydra's repository itself, and once."""
    original = ConfigLoaderImpl.get_group_options
    known: dict[tuple[ConfigLoaderImpl, str, ObjectType | None], list[str]] = {}

    def listed(
        self: ConfigLoaderImpl,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        *others: Any,
        **named: Any,
    ) -> list[str]:
        if others or named:  # of a config with a search path of its own
            return original(self, group_name, results_filter, *others, **named)
        key = (self, group_name, results_filter)
        if key not in known:
            known[key] = self.repository.get_group_options(group_name, results_filter)
        return known[key]

    ConfigLoaderImpl.get_group_options = listed  # type: ignore[method-assign]
    try:
        yield
    finally:
        ConfigLoaderImpl.get_group_options = original  # type: ignore[method-assign]
