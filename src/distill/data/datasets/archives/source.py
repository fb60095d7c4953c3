"""`ArchiveSource`: a public data set, unpacked, as raw files with the schema that this package has for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from distill.data.datasets.fingerprint import fingerprint_files
from distill.data.raw import RawDataset
from distill.data.split import SplitRule, TimeSplit, check_cuts
from distill.errors import ConfigError
from distill.schema import Schema, dump_schema, load_schema


@dataclass(frozen=True)
class Written:
    """Raw files of an archive.

    Attributes:
        files: Of the training split, or those that the rule divides.
        apart: Splits with files of their own.
        items: The catalogue.
    """

    files: tuple[Path, ...]
    apart: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    items: Path | None = None


class Archive(Protocol):
    """The files of one data set. What it is configured with are the fields of a dataclass."""

    @property
    def name(self) -> str:
        """Of the data set, and of its schema's file beside this module."""
        ...

    @property
    def apart(self) -> Sequence[str]:
        """Splits, val or test, that the archive has files of."""
        ...

    def columns(self) -> Sequence[str]:
        """Columns of the raw files, in their order: what the patterns of the schema stand for."""
        ...

    def files(self, folder: Path) -> Sequence[Path]:
        """Finds the files that are read.

        Raises:
            DataError: One is missing.
        """
        ...

    def write(self, folder: Path, directory: Path) -> Written:
        """Writes what must be converted to `directory`, block by block, and names the raw files.

        Raises:
            DataError: A file is missing, or does not have the columns of the archive.
        """
        ...


@dataclass(frozen=True)
class ArchiveSource:
    """An unpacked archive.

    Attributes:
        source: Its folder (or its file, of those that are one).
        archive: Which it is, and how it is read.
        split: How to divide the rows that the archive does not divide; None if it divides all.
    """

    source: str
    archive: Archive
    split: SplitRule | None = None

    def __post_init__(self) -> None:
        if (self.split is None) != ({"val", "test"} <= set(self.archive.apart)):
            raise ConfigError(
                "Nothing says how to divide the rows."
                if self.split is None
                else "The archive divides its rows itself.",
                where="data.adapter.split",
                expected="a rule: split@data.adapter.split=time" if self.split is None else "null",
                found=type(self.split).__name__ if self.split is not None else "null",
            )
        if self.split is not None:
            check_cuts(self.split, self.archive.apart)

    @property
    def name(self) -> str:
        """Of the data set."""
        return self.archive.name

    def fingerprint(self) -> str:
        """Hash of the schema, the rule, the archive's options and its files."""
        files = self.archive.files(self._folder)
        root = self._folder if self._folder.is_dir() else self._folder.parent
        options = dict(vars(self.archive))
        rule = None if self.split is None else [type(self.split).__name__, asdict(self.split)]
        parts = [dump_schema(self.raw_schema()), options, rule, fingerprint_files(files, root)]
        return hashlib.blake2b(json.dumps(parts, default=str).encode(), digest_size=16).hexdigest()

    def write_raw(self, directory: Path) -> RawDataset:
        """Converts the archive, block by block.

        Raises:
            DataError: A file is missing, or is not as the archive has it.
        """
        directory.mkdir(parents=True, exist_ok=True)
        written = self.archive.write(self._folder, directory)
        rule = TimeSplit() if self.split is None else self.split
        return RawDataset(written.files, self.raw_schema(), rule, written.items, None, written.apart)

    def raw_schema(self) -> Schema:
        """What the raw files hold; needs none of them."""
        return self._schema

    @cached_property
    def _schema(self) -> Schema:
        path = Path(__file__).with_name(f"{self.archive.name}.yaml")
        return load_schema(path, lambda: {"the archive": self.archive.columns()})

    @property
    def _folder(self) -> Path:
        return Path(self.source).expanduser()
