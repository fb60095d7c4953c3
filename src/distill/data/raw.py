"""What a dataset adapter hands to `prepare`: raw files, their schema and the split rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from distill.data.found import FilesFound
from distill.data.split import SplitRule, check_cuts
from distill.schema import Schema


@dataclass(frozen=True)
class RawDataset:
    """Raw files and what they mean.

    Attributes:
        files: Parquet, CSV, JSON lines, Arrow or ORC files, all with the same columns; one row per (request,
            candidate), or one row per request with list columns (told apart by the type of the label columns).
        schema: Names the raw columns.
        split: How to divide the rows.
        items: File of the catalogue, one row per item, with the candidate-side columns.
        events: Task to the files of its events, one in a row, for tasks whose labels another log holds.
        found: What was read and what was left out, where files were looked for.
        apart: Splits, val or test, that have files of their own. The rule then divides `files` into train and the
            splits that are not named.

    Raises:
        ConfigError: The rule cannot cut the splits that are not named.
    """

    files: tuple[Path, ...]
    schema: Schema
    split: SplitRule
    items: Path | None = None
    found: FilesFound | None = None
    apart: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    events: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_cuts(self.split, self.apart)

    @property
    def all_files(self) -> tuple[Path, ...]:
        """Those that the rule divides, then those of val and of test."""
        return (*self.files, *(path for name in ("val", "test") for path in self.apart.get(name, ())))

    @property
    def rule(self) -> SplitRule | None:
        """How `files` are divided; None if val and test have files of their own."""
        return None if {"val", "test"} <= self.apart.keys() else self.split


class DatasetSource(Protocol):
    """An adapter: knows one data set (or one generator) and writes or finds its raw files."""

    @property
    def name(self) -> str:
        """Short name, used for the folder of the prepared dataset."""
        ...

    def fingerprint(self) -> str:
        """Hash of all that the raw dataset depends on: arguments, and names, sizes and content of input files."""
        ...

    def write_raw(self, directory: Path) -> RawDataset:
        """Writes (or finds) the raw files; anything written goes to `directory`."""
        ...


@runtime_checkable
class DescribedSource(DatasetSource, Protocol):
    """An adapter that knows what its raw columns mean before it has written or read any data."""

    def raw_schema(self) -> Schema:
        """Returns the schema; what only the data can say, such as the width of a vector, may be another there."""
        ...
