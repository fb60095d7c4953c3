"""Tables and JSON of what jobs keep."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from distill.jobs.stored.entry import Entry
from distill.places.mirror import shown_path

_UNITS = ("B", "kB", "MB", "GB", "TB")
_STEP = 1000.0


def show(entries: Sequence[Entry], folder: Path, as_json: bool) -> None:
    """Prints entries as a table, or as JSON."""
    if as_json:
        print(json.dumps([_plain(entry) for entry in entries], indent=1))  # noqa: T201
        return
    from rich.table import Table

    from distill.console import report_console

    console = report_console()
    if not entries:
        console.print(f"{folder} holds nothing that jobs keep.", soft_wrap=True)
        return
    table = Table("name", "kind", "size", "last used", "from", "runs")
    table.columns[0].overflow = table.columns[4].overflow = table.columns[5].overflow = "fold"
    table.columns[2].justify = "right"
    for entry in entries:
        state = "in use" if entry.holder else ago(entry.used)
        table.add_row(entry.name, entry.kind, size(entry.bytes), state, entry.source, _runs(entry))
    console.print(table)
    total = f"{len(entries)} in {folder}, {size(sum(entry.bytes for entry in entries))}"
    console.print(f"{total}. rm NAME deletes one; rm --older 30d --dry-run shows what is old.", soft_wrap=True)


def show_removed(removed: Sequence[Entry], kept: Sequence[tuple[Entry, str]], is_dry: bool, as_json: bool) -> None:
    """Prints what was deleted (or would be), and what was kept and why."""
    if as_json:
        told = [{**_plain(entry), "why": why} for entry, why in kept]
        print(json.dumps({"dry_run": is_dry, "removed": [*map(_plain, removed)], "kept": told}, indent=1))  # noqa: T201
        return
    from distill.console import plain_console

    console = plain_console(soft_wrap=True)
    for entry in removed:
        console.print(f"{'would delete' if is_dry else 'deleted'} {entry.name}, {size(entry.bytes)}", highlight=False)
    for entry, why in kept:
        console.print(f"kept {entry.name}: {why}", highlight=False)
    freed = size(sum(entry.bytes for entry in removed))
    console.print(
        f"{'Would free' if is_dry else 'Freed'} {freed} of {len(removed)}; {len(kept)} kept.", highlight=False
    )


def size(number: float) -> str:
    """Returns bytes with a unit, in steps of 1000."""
    for unit in _UNITS:
        if number < _STEP or unit == _UNITS[-1]:
            break
        number /= _STEP
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"


def ago(then: float) -> str:
    """Returns how long ago a time was, in its largest unit."""
    seconds = max(0.0, time.time() - then)
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit} ago"
    return "just now" if seconds < 60 else "a minute ago"


def _runs(entry: Entry) -> str:
    if not entry.runs:
        return "—"
    more = f" and {len(entry.runs) - 1} more" if len(entry.runs) > 1 else ""
    return f"{shown_path(Path(entry.runs[-1]))}{more}"


def _plain(entry: Entry) -> dict[str, Any]:
    used = datetime.fromtimestamp(entry.used, timezone.utc).isoformat(timespec="seconds")
    return {**asdict(entry), "path": str(entry.path), "lock": str(entry.lock), "used": used, "runs": list(entry.runs)}
