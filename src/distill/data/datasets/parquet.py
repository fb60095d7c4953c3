"""`ParquetSource`: your own files of rows and a hand-written `schema.yaml`."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from distill.data.datasets.fingerprint import fingerprint_files
from distill.data.file_kind import KNOWN_FILES
from distill.data.found import FilesFound, find_files, source_root
from distill.data.partitions import folder_columns
from distill.data.raw import RawDataset
from distill.data.split import SplitRule, TimeSplit
from distill.errors import DataError
from distill.schema import Schema, dump_schema, load_schema

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ParquetSource:
    """Files that are already one row per (request, candidate), or one row per request with list columns.

    Attributes:
        source: A file, a folder (all files below it that can be read, except below names that start with `.` or `_`)
            or a glob pattern.
        schema: Path of the `schema.yaml`.
        split: How to divide the rows.
        items: File of the catalogue, one row per item.
        name: Of the prepared dataset; the schema's name if empty.
        events: Task to the files of its events, a source as `source` is, for tasks of the schema with `events`.
    """

    source: str
    schema: str
    split: SplitRule = field(default_factory=TimeSplit)
    items: str | None = None
    name: str = ""
    events: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.raw_schema().name)

    def fingerprint(self) -> str:
        """Hash of the schema, the split rule, and names, sizes and content of the files."""
        files = self._found().read
        rule = [type(self.split).__name__, asdict(self.split)]
        parts: list[object] = [dump_schema(self.raw_schema()), rule, fingerprint_files(files, self._root(files))]
        if self.items is not None:
            parts.append(fingerprint_files([self._items(self.items)], self._items(self.items).parent))
        for task, of_task in self._events().items():
            parts.append([task, fingerprint_files(of_task, of_task[0].parent)])
        if any(columns := [folder_columns(file) for file in files]):
            parts.append(columns)
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()

    def write_raw(self, directory: Path) -> RawDataset:
        """Finds the files, and says which are left out; `directory` is left alone.

        Raises:
            DataError: There are none, or the catalogue is missing.
            SchemaError: The schema is missing or wrong.
        """
        items = None if self.items is None else self._items(self.items)
        found = self._found()
        for line in found.notes(source_root(self._source)):
            _log.warning("%s", line)
        return RawDataset(found.read, self.raw_schema(), self.split, items, found, self._events())

    @property
    def _source(self) -> str:
        return str(Path(self.source).expanduser())

    def raw_schema(self) -> Schema:
        """What the schema's file says."""
        return load_schema(Path(self.schema).expanduser())

    def _root(self, files: tuple[Path, ...]) -> Path:
        path = Path(self._source)
        return path if path.is_dir() else files[0].parent

    def _found(self) -> FilesFound:
        found = find_files(self._source, None if self.items is None else Path(self.items).expanduser())
        if not found.read:
            left_out = "; ".join(found.notes(source_root(self._source)))
            raise DataError(
                "There are no data files.",
                where=self._source,
                expected=f"a file, a folder or a glob pattern of files: {KNOWN_FILES}",
                found=left_out or ("a folder without any" if Path(self._source).is_dir() else "no match"),
                remedy="Check data.source.",
            )
        return found

    def _events(self) -> dict[str, tuple[Path, ...]]:
        files = {}
        for task, source in sorted((self.events or {}).items()):
            files[task] = find_files(str(Path(source).expanduser())).read
            if not files[task]:
                raise DataError(
                    "There are no files of events.",
                    where="data.events",
                    expected=f"for {task} a file, a folder or a glob pattern of files: {KNOWN_FILES}",
                    found=source,
                    remedy="Check data.events.",
                )
        return files

    def _items(self, items: str) -> Path:
        path = Path(items).expanduser()
        if not path.is_file():
            raise DataError("The catalogue does not exist.", where=str(path), remedy="Check data.items.")
        return path
