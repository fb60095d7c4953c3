"""A line on the screen while the libraries of a job are loaded: PyTorch and Lightning take ten seconds and more on a
busy machine, and a silent terminal looks like one that hangs."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from distill.screen.lines import show

AFTER = 0.8  # seconds: what loads faster says nothing
SAID = "Loading libraries …"


def load(name: str) -> ModuleType:
    """Imports the module of a job; see `said_if_slow`."""
    with said_if_slow():
        return importlib.import_module(name)


@contextmanager
def said_if_slow() -> Iterator[None]:
    """Says that libraries are loaded if the block takes longer than `AFTER`, once in a run of many ranks; nothing where
    torch is there already."""
    if "torch" in sys.modules or _is_another_rank():
        yield
        return
    timer = threading.Timer(AFTER, show, [SAID])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _is_another_rank() -> bool:
    return any(os.environ.get(name, "0") != "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
