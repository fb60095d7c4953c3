"""How many cores a process of a run has for itself."""

from __future__ import annotations

import os


def own_cores() -> int:
    """Returns the cores that this process may use, shared evenly among the processes of the run on this machine."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    together = os.environ.get("LOCAL_WORLD_SIZE", "1")  # as torchrun and our own launcher say
    return max(1, there // max(1, int(together) if together.isdigit() else 1))
