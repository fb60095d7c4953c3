"""Lists and deletes the teachers, controls and signals below `paths.cache`."""

from __future__ import annotations

import argparse

from distill.jobs.stored.actions import act
from distill.jobs.stored.caches import caches
from distill.jobs.stored.entry import Entry


def run(options: argparse.Namespace) -> list[Entry]:
    """Lists them, or deletes some of them; returns those that were listed or deleted.

    Raises:
        DataError: The folder is not there, or a name is of none of them.
        ConfigError: Nothing says what is to be deleted, or a process uses it.
    """
    return act(options, lambda: caches(options.folder, options.data), "cache")
