"""Whose signals a folder holds, and for which dataset: stale signals are refused, never used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path, PurePosixPath

from distill.data.checksums import CHECKSUMS_FILE, FileChecksums, read_checksums, write_checksums
from distill.errors import DataError, SignalError
from distill.files import hash_once
from distill.sealed import read_sealed, write_sealed

PROVENANCE_FILE = "provenance.json"
_AGAIN = "Run scripts/score.py again with this folder as out=…: it scores damaged files again."


@dataclass(frozen=True)
class HiddenVectors:
    """Which hidden vectors are written beside the logits, and how.

    Attributes:
        names: Of the teacher's vectors.
        type: What their numbers are: float32 or float16.
        width: Principal components that are kept of each; None for the vectors as they are.
        components: Hash of the components, if they are those of earlier signals; empty if they were found here.
    """

    names: tuple[str, ...] = ()
    type: str = "float32"
    width: int | None = None
    components: str = ""


@dataclass(frozen=True)
class Provenance:
    """Where signals come from.

    Attributes:
        teacher: Content hash of the teacher's checkpoint.
        dataset: Fingerprint of the dataset that was scored.
        tasks: Tasks with a logit column.
        hidden: The hidden vectors beside them.
        parts: Content hash of each file of signals by its path in the folder; empty if the score job did not write it.
        negative_sampling: Task to the share of negatives in the log that the teacher learned from: its logits are the
            odds of that log.
    """

    teacher: str
    dataset: str
    tasks: tuple[str, ...]
    hidden: HiddenVectors = HiddenVectors()
    parts: Mapping[str, str] = field(default_factory=dict)
    negative_sampling: Mapping[str, float] = field(default_factory=dict)


def read_provenance(folder: Path) -> Provenance:
    """Reads the provenance of a finished signals folder.

    Raises:
        SignalError: The folder is not there, not finished, or damaged.
    """
    path = folder / PROVENANCE_FILE
    try:
        data = read_sealed(path)
        parts = {str(name): str(digest) for name, digest in data["parts"].items()}
        found = data["hidden"]
        width = None if found["width"] is None else int(found["width"])
        names = tuple(str(name) for name in found["names"])
        hidden = HiddenVectors(names, str(found["type"]), width, str(found.get("components", "")))
        rates = {str(task): float(rate) for task, rate in data.get("negative_sampling", {}).items()}
        return Provenance(str(data["teacher"]), str(data["dataset"]), tuple(data["tasks"]), hidden, parts, rates)
    except FileNotFoundError as error:
        raise SignalError(
            "There are no finished teacher signals here.",
            where=str(folder),
            expected=f"{PROVENANCE_FILE}, written last by the score job",
            remedy="Run scripts/score.py (it goes on where it stopped).",
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise SignalError("The provenance is damaged.", where=str(path), remedy="Score the dataset again.") from error


def finish_signals(folder: Path, provenance: Provenance, names: Iterable[str]) -> None:
    """Writes the checksums of the files of signals, by which they are read, and last of all the provenance.

    Args:
        folder: Of the signals.
        provenance: Whose they are; its `parts` are filled in.
        names: The files, as paths below the folder.
    """
    parts: dict[str, str] = {}
    for split, paths in groupby(sorted(map(PurePosixPath, names)), key=lambda path: path.parent):
        known = _known_checksums(folder / split)
        found = {path.name: _checksums(folder / path, known.get(path.name)) for path in paths}
        if found != known:
            write_checksums(folder / split, found)
        parts.update({str(split / name): checksums.blake2b for name, checksums in found.items()})
    write_sealed(folder / PROVENANCE_FILE, asdict(replace(provenance, parts=parts)))


def _known_checksums(folder: Path) -> Mapping[str, FileChecksums]:
    try:
        return read_checksums(folder)
    except DataError:
        return {}


def _checksums(path: Path, known: FileChecksums | None) -> FileChecksums:
    return known if known is not None and known.blake2b == hash_once(path) else FileChecksums.of(path)


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
        known = _known_checksums((folder / name).parent).get(Path(name).name)
        try:
            found = hash_once(folder / name)
        except OSError as error:
            found = str(error)
        if known is None or known.blake2b != digest:
            raise SignalError(
                "The checksums of a signal file are missing or damaged.",
                where=str((folder / name).parent / CHECKSUMS_FILE),
                expected=f"those of {name} (blake2b {digest})",
                remedy=_AGAIN,
            )
        if found != digest:
            raise SignalError(
                "A signal file is damaged.",
                where=str(folder / name),
                expected=f"the content that {PROVENANCE_FILE} names (blake2b {digest})",
                found=found,
                remedy=_AGAIN,
            )
