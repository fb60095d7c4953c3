"""`ParquetSource`: your own Parquet or CSV files and a hand-written `schema.yaml`."""

from __future__ import annotations

import glob
import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from distill.data.datasets.fingerprint import fingerprint_files
from distill.data.raw import RawDataset
from distill.data.split import SplitRule, TimeSplit
from distill.errors import DataError
from distill.schema import Schema, dump_schema, load_schema

SUFFIXES = (".parquet", ".csv", ".tsv")


@dataclass(frozen=True)
class ParquetSource:
    """Files that are already one row per (request, candidate), or one row per request with list columns.

    Attributes:
        source: A file, a folder (all .parquet, .csv and .tsv files below it, except names that start with `.` or `_`)
            or a glob pattern.
        schema: Path of the `schema.yaml`.
        split: How to divide the rows.
        items: File of the catalogue, one row per item.
        name: Of the prepared dataset; the schema's name if empty.
    """

    source: str
    schema: str
    split: SplitRule = field(default_factory=TimeSplit)
    items: str | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.raw_schema().name)

    def fingerprint(self) -> str:
        """Hash of the schema, the split rule, and names, sizes and content of the files."""
        files = self._files()
        rule = [type(self.split).__name__, asdict(self.split)]
        parts = [dump_schema(self.raw_schema()), rule, fingerprint_files(files, self._root(files))]
        if self.items is not None:
            parts.append(fingerprint_files([self._items(self.items)], self._items(self.items).parent))
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()

    def write_raw(self, directory: Path) -> RawDataset:
        """Finds the files; `directory` is left alone.

        Raises:
            DataError: There are none, or the catalogue is missing.
            SchemaError: The schema is missing or wrong.
        """
        items = None if self.items is None else self._items(self.items)
        return RawDataset(self._files(), self.raw_schema(), self.split, items)

    def raw_schema(self) -> Schema:
        """What the schema's file says."""
        return load_schema(Path(self.schema).expanduser())

    def _root(self, files: tuple[Path, ...]) -> Path:
        path = Path(self.source).expanduser()
        return path if path.is_dir() else files[0].parent

    def _files(self) -> tuple[Path, ...]:
        path = Path(self.source).expanduser()
        if path.is_file():
            return (path,)
        found = path.rglob("*") if path.is_dir() else map(Path, glob.glob(str(path), recursive=True))  # noqa: PTH207
        items = None if self.items is None else Path(self.items).expanduser().resolve()
        files = tuple(sorted(file for file in found if _is_data(file) and file.resolve() != items))
        if not files:
            raise DataError(
                "There are no data files.",
                where=str(path),
                expected=f"a file, a folder or a glob pattern with {', '.join(SUFFIXES)} files",
                found="a folder without any" if path.is_dir() else "no match",
                remedy="Check data.source.",
            )
        return files

    def _items(self, items: str) -> Path:
        path = Path(items).expanduser()
        if not path.is_file():
            raise DataError("The catalogue does not exist.", where=str(path), remedy="Check data.items.")
        return path


def _is_data(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith((".", "_")) and file.is_file()
