"""A line on the screen while the libraries of a job are loaded: PyTorch and Lightning take ten seconds and more on a
busy machine, and a silent terminal looks like one that hangs."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from types import ModuleType

from distill.screen.lines import show

AFTER = 0.8  # seconds: what loads faster says nothing
SAID = "Loading libraries …"


def load(name: str) -> ModuleType:
    """Imports the module of a job. A line says so if that takes longer than `AFTER`, once in a run of many ranks."""
    if "torch" in sys.modules or _is_another_rank():
        return importlib.import_module(name)
    timer = threading.Timer(AFTER, show, [SAID])
    timer.daemon = True
    timer.start()
    try:
        return importlib.import_module(name)
    finally:
        timer.cancel()


def _is_another_rank() -> bool:
    return any(os.environ.get(name, "0") != "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
