"""What a run leaves for its report page beside its numbers: curves, how it learned, and what it read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from distill.data.format import SPLITS, Dataset
from distill.errors import DataError
from distill.files import write_text_atomic
from distill.metrics.curves import Curves
from distill.metrics.learning import LearningCurve
from distill.reports.contents import contents_lines

EVIDENCE_FILE = "curves.json"


@dataclass(frozen=True)
class SplitRead:
    """A split that was read: how much is in it."""

    name: str
    requests: int
    candidates: int
    bytes: int
    files: int


@dataclass(frozen=True)
class DataRead:
    """The dataset of a run.

    Attributes:
        name: Of its schema.
        root: Its folder.
        fingerprint: Hash of its schema, encodings and files.
        encodings: Hash of its encodings.
        splits: What is in it.
        notes: What preparation said of the raw data, a line each.
    """

    name: str
    root: str
    fingerprint: str
    encodings: str
    splits: list[SplitRead]
    notes: list[str]

    @staticmethod
    def of(dataset: Dataset, root: str) -> DataRead:
        """Describes a dataset; `root` is what its folder is called."""
        splits = []
        for name in SPLITS:
            parts = dataset.manifest.splits.get(name, ())
            rows, candidates, size = (
                sum(getattr(part, what) for part in parts) for what in ("rows", "candidates", "bytes")
            )
            splits.append(SplitRead(name, rows, candidates, size, len(parts)))
        manifest = dataset.manifest
        notes = contents_lines(dataset)
        return DataRead(
            dataset.schema.name,
            root,
            dataset.fingerprint,
            manifest.encodings.fingerprint(dataset.schema.fields),
            splits,
            notes,
        )


@dataclass(frozen=True)
class Evidence:
    """Beside the summary of a run.

    Attributes:
        data: What it read.
        curves: Role to its curves on test.
        learning: Role to how it learned.
    """

    data: DataRead
    curves: dict[str, Curves] = field(default_factory=dict)
    learning: dict[str, LearningCurve] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Writes `curves.json`."""
        write_text_atomic(folder / EVIDENCE_FILE, _ADAPTER.dump_json(self).decode() + "\n")


_ADAPTER = TypeAdapter(Evidence)


def load_evidence(folder: Path) -> Evidence | None:
    """Reads what a run left; None of a run of an earlier version, which left none.

    Raises:
        DataError: It is damaged.
    """
    path = folder / EVIDENCE_FILE
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise DataError(
            "The curves of the run are damaged.",
            where=str(path),
            expected="the file that the run wrote",
            found=str(error).splitlines()[0],
            remedy="Delete the file: the report is written without curves then.",
        ) from error
