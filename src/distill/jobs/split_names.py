"""Which split raw files are of, where their names say it: `train.csv`, `test.csv`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    "test": "test",
}


def splits_by_name(sources: Sequence[str]) -> dict[str, str]:
    """Returns split to the file or folder that is named after it; none unless all are, each after another, and one of
    them is train."""
    found: dict[str, str] = {}
    for source in sources:
        split = _SPLITS.get(Path(source).name.partition(".")[0].lower())
        if split is None or split in found:
            return {}
        found[split] = source
    return found if len(found) > 1 and "train" in found else {}
