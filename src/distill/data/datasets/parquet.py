"""`ParquetSource`: your own files of rows and a hand-written `schema.yaml`."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from distill.data.datasets.fingerprint import fingerprint_files
from distill.data.datasets.source_paths import source_paths
from distill.data.datasets.tokenizers import tokenized, with_tokenizers
from distill.data.file_kind import KNOWN_FILES
from distill.data.format import Split
from distill.data.found import FilesFound, find_all, find_files, sources_root, together
from distill.data.partitions import folder_columns
from distill.data.prepare.source import column_names
from distill.data.raw import RawDataset
from distill.data.split import SplitRule, TimeSplit, check_cuts, split_columns
from distill.data.table_formats import table_named
from distill.encodings.tokens import read_text
from distill.errors import DataError
from distill.schema import Columns, Schema, dump_schema, load_schema

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ParquetSource:
    """Files that are already one row per (request, candidate), or one row per request with list columns.

    Attributes:
        source: A file, a folder (all files below it that can be read, except below names that start with `.` or `_`),
            a table of Delta Lake or Iceberg, perhaps `TABLE@VERSION`, a glob pattern, or a list of such. A mapping
            {train: …, val: …, test: …} gives the splits apart; what it leaves out of val and test, `split` cuts from
            train.
        schema: Path of the `schema.yaml`.
        split: How to divide the rows.
        items: File or table of the catalogue, one row per item.
        name: Of the prepared dataset; the schema's name if empty.
        events: Task to the files of its events, a source as `source` is, for tasks of the schema with `events`.
    """

    source: str | list[str] | Mapping[Split, str | list[str] | None]
    schema: str
    split: SplitRule = field(default_factory=TimeSplit)
    items: str | None = None
    name: str = ""
    events: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        check_cuts(self.split, [name for name in self._paths if name != "train"])
        if not self.name:
            object.__setattr__(self, "name", self.raw_schema().name)

    def fingerprint(self) -> str:
        """Hash of the schema, the split rule, tokenizers, and names, sizes and content of the files of each split."""
        found = self._found()
        rule = [type(self.split).__name__, asdict(self.split)]
        content = {name: self._content(name, of_split.read) for name, of_split in found.items()}
        parts: list[object] = [dump_schema(self._schema), rule, content if len(content) > 1 else content["train"]]
        if self.items is not None:
            parts.append(fingerprint_files([self._items(self.items)], self._items(self.items).parent))
        for task, of_task in self._events().items():
            parts.append([task, fingerprint_files(of_task, of_task[0].parent)])
        if tokenizers := [text.digest for text in map(read_text, tokenized(self.raw_schema()))]:
            parts.append(tokenizers)
        if any(columns := [folder_columns(file) for of in found.values() for file in of.read]):
            parts.append(columns)
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()

    def write_raw(self, directory: Path) -> RawDataset:
        """Finds the files, and says which are left out; `directory` is left alone.

        Raises:
            DataError: There are none, a file is of two splits, or the catalogue is missing.
            SchemaError: The schema is missing or wrong.
        """
        items = None if self.items is None else self._items(self.items)
        found = self._found()
        all_found = together(list(found.values()))
        for line in all_found.notes(sources_root([path for paths in self._paths.values() for path in paths])):
            _log.warning("%s", line)
        apart = {name: of_split.read for name, of_split in found.items() if name != "train"}
        return RawDataset(found["train"].read, self.raw_schema(), self.split, items, all_found, apart, self._events())

    def raw_schema(self) -> Schema:
        """What the schema's file says: columns of the files in place of its patterns, tokenizers with their path."""
        return with_tokenizers(self._schema, Path(self.schema).expanduser().parent)

    @cached_property
    def _schema(self) -> Schema:
        return load_schema(Path(self.schema).expanduser(), self._columns, split_columns(self.split))

    def _columns(self) -> Columns:
        return {str(file): column_names(file) for of_split in self._found().values() for file in of_split.read}

    @property
    def _paths(self) -> dict[str, tuple[str, ...]]:
        return source_paths(self.source, "data.source")

    def _found(self) -> dict[str, FilesFound]:
        """Finds the files of each split that is given; `train` holds all where none is given apart."""
        catalogue = None if self.items is None else Path(self.items).expanduser()
        found = {
            name: find_all(paths, "data.source" if len(self._paths) == 1 else f"data.source.{name}", catalogue)
            for name, paths in self._paths.items()
        }
        owners: dict[str, str] = {}
        for name, of_split in found.items() if len(found) > 1 else ():
            for file in of_split.read:
                if owners.setdefault(os.path.realpath(file), name) != name:
                    raise DataError(
                        "A file is in two splits.",
                        where=f"data.source.{name}",
                        expected="files that no other split names",
                        found=f"{file}, which is of {owners[os.path.realpath(file)]} too",
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

    def _content(self, name: str, files: tuple[Path, ...]) -> object:
        """Describes the files of a split; the order of several sources counts, as that of the rows may."""
        paths = self._paths[name]
        if len(paths) > 1:
            root = sources_root(paths)
            return [fingerprint_files([file.absolute()], root) for file in files]
        folder = Path(paths[0]).expanduser()
        return fingerprint_files(files, folder if folder.is_dir() else files[0].parent)

    def _items(self, items: str) -> Path:
        path = Path(items).expanduser()
        if not path.is_file() and table_named(path) is None:
            raise DataError("The catalogue does not exist.", where=str(path), remedy="Check data.items.")
        return find_files(str(path)).read[0]
