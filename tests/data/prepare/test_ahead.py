"""An iterator that runs ahead on a thread."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest

from distill.data.prepare.ahead import ahead


def test_all_items_come_in_order() -> None:
    assert list(ahead(iter(range(5)))) == list(range(5))


def test_errors_reach_the_consumer() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    items = ahead(broken())
    assert next(items) == 1
    with pytest.raises(ValueError, match="broken"):
        next(items)


def test_one_that_is_dropped_joins_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    joined: list[str] = []
    items = ahead(iter(range(3)))
    assert next(items) == 0
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "join", lambda self, timeout=None: joined.append(self.name))
        del items
        gc.collect()
    assert joined == []
