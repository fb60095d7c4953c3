"""`ls` and `rm` of what jobs keep."""

from __future__ import annotations

import argparse
import difflib
import shutil
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from distill.errors import ConfigError, DataError
from distill.files import temporary_sibling
from distill.in_use import InUseError, mark_of, unused
from distill.jobs.stored.entry import Entry
from distill.jobs.stored.shown import show, show_removed


def act(options: argparse.Namespace, find: Callable[[], list[Entry]], what: str) -> list[Entry]:
    """Lists, or deletes.

    Args:
        options: Of the command line.
        find: Lists what there is.
        what: `data` or `cache`.

    Raises:
        DataError: The folder is not there, or a name is of nothing in it.
        ConfigError: Nothing says what is to be deleted, or what is named cannot be.
    """
    if options.action == "rm" and not options.names and options.older is None:
        raise ConfigError(
            "Nothing says what to delete.",
            where="NAME, --older",
            expected="names as ls shows them, --older AGE, or both",
            remedy="Add --older 0d to take all that no process uses, and --dry-run to see it first.",
        )
    if not options.folder.is_dir():
        raise DataError(
            "There is no such folder.",
            where="--folder",
            found=str(options.folder),
            remedy=f"Name what paths.{what} named when the jobs ran; by default {what} in the folder of the command.",
        )
    entries = sorted(find(), key=lambda entry: -entry.used)
    if options.action == "ls":
        show(entries, options.folder, options.json)
        return entries
    return _remove(chosen(entries, options.names, options.older), options)


def chosen(entries: Sequence[Entry], names: Sequence[str], older: float | None) -> list[Entry]:
    """Returns the entries that have one of the names, if any are given, and were not used for so many seconds.

    Raises:
        DataError: A name is of none.
    """
    for name in names:
        if not any(_is(entry, name) for entry in entries):
            there = [entry.name for entry in entries]
            close = difflib.get_close_matches(name, there, n=1)
            raise DataError(
                "No entry of a job has this name.",
                where="--folder",
                expected=", ".join(there[:10]) + (" …" if len(there) > 10 else "")
                if there
                else "an entry; there is none",
                found=name,
                remedy=f"Did you mean {close[0]}?" if close else "Names are those that ls shows.",
            )
    now = time.time()
    named = [entry for entry in entries if not names or any(_is(entry, name) for name in names)]
    return [entry for entry in named if older is None or now - entry.used >= older]


def _is(entry: Entry, name: str) -> bool:
    return entry.name == name.rstrip("/") or fnmatchcase(entry.name, name)


def _remove(entries: Sequence[Entry], options: argparse.Namespace) -> list[Entry]:
    removed, kept = [], []
    for entry in entries:
        why = entry.kept_because or ("" if options.dry_run else _delete(entry))
        if why:
            kept.append((entry, why))
        else:
            removed.append(entry)
    show_removed(removed, kept, options.dry_run, options.json)
    if kept and options.names:
        entry, why = kept[0]
        raise ConfigError(
            "Some of the named entries cannot be deleted.",
            where=str(entry.path),
            found=why,
            remedy="Move files of your own elsewhere; wait until the job has ended, or stop it.",
        )
    return removed


def _delete(entry: Entry) -> str:
    """Deletes an entry; returns why not, if a process has begun to use it."""
    try:
        with unused(entry.path, entry.lock):
            gone = temporary_sibling(entry.path)
            entry.path.replace(gone)  # at once: no job finds half of it
            shutil.rmtree(gone)
            mark_of(entry.path).unlink(missing_ok=True)
    except InUseError as error:
        return str(error)
    return ""
