"""Whose signals a folder holds, and for which dataset: stale signals are refused, never used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from distill.data.files import hash_once
from distill.errors import SignalError

PROVENANCE_FILE = "provenance.json"


@dataclass(frozen=True)
class HiddenVectors:
    """Which hidden vectors are written beside the logits, and how.

    Attributes:
        names: Of the teacher's vectors.
        type: What their numbers are: float32 or float16.
        width: Principal components that are kept of each; None for the vectors as they are.
    """

    names: tuple[str, ...] = ()
    type: str = "float32"
    width: int | None = None


@dataclass(frozen=True)
class Provenance:
    """Where signals come from.

    Attributes:
        teacher: Content hash of the teacher's checkpoint.
        dataset: Fingerprint of the dataset that was scored.
        tasks: Tasks with a logit column.
        hidden: The hidden vectors beside them.
        parts: Content hash of each file of signals by its path in the folder; empty if the score job did not write it.
    """

    teacher: str
    dataset: str
    tasks: tuple[str, ...]
    hidden: HiddenVectors = HiddenVectors()
    parts: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Returns the text of `provenance.json`."""
        return json.dumps(asdict(self), indent=2) + "\n"


def read_provenance(folder: Path) -> Provenance:
    """Reads the provenance of a finished signals folder.

    Raises:
        SignalError: The folder is not there, not finished, or damaged.
    """
    path = folder / PROVENANCE_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        parts = {str(name): str(digest) for name, digest in data.get("parts", {}).items()}
        found = data["hidden"]
        width = None if found["width"] is None else int(found["width"])
        hidden = HiddenVectors(tuple(str(name) for name in found["names"]), str(found["type"]), width)
        return Provenance(str(data["teacher"]), str(data["dataset"]), tuple(data["tasks"]), hidden, parts)
    except FileNotFoundError as error:
        raise SignalError(
            "There are no finished teacher signals here.",
            where=str(folder),
            expected=f"{PROVENANCE_FILE}, written last by the score job",
            remedy="Run scripts/score.py (it goes on where it stopped).",
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise SignalError("The provenance is damaged.", where=str(path), remedy="Score the dataset again.") from error


def check_provenance(folder: Path, dataset: str, tasks: tuple[str, ...]) -> Provenance:
    """Checks that signals belong to a dataset and cover its tasks.

    Args:
        folder: Signals folder.
        dataset: Fingerprint of the dataset that is to be trained on.
        tasks: Its tasks.

    Raises:
        SignalError: They belong to another dataset or lack a task.
    """
    found = read_provenance(folder)
    if found.dataset != dataset:
        raise SignalError(
            "The teacher signals belong to another dataset.",
            where=str(folder),
            expected=f"dataset {dataset}",
            found=f"dataset {found.dataset}",
            remedy="Score this dataset: scripts/score.py with the same data=… and teacher.",
        )
    missing = [task for task in tasks if task not in found.tasks]
    if missing:
        raise SignalError(
            "The teacher signals lack a task.",
            where=str(folder),
            expected=", ".join(tasks),
            found=", ".join(found.tasks),
        )
    return found


def check_parts(folder: Path, provenance: Provenance) -> None:
    """Checks that the files of signals hold what was written; each is read once per process.

    Raises:
        SignalError: One is missing or was changed.
    """
    for name, digest in provenance.parts.items():
        try:
            found = hash_once(folder / name)
        except OSError as error:
            found = str(error)
        if found != digest:
            raise SignalError(
                "A signal file is damaged.",
                where=str(folder / name),
                expected=f"the content that {PROVENANCE_FILE} names (blake2b {digest})",
                found=found,
                remedy="Run scripts/score.py again with this folder as out=…: it scores damaged files again.",
            )
