"""The model-ready dataset on disk: column names, Arrow types and the manifest.

A dataset is a folder with `schema.yaml`, `manifest.json`, `train/`, `val/`, `test/` (Parquet part files and their
`checksums.json`), `encodings/` (fitted vocabularies) and, if a catalogue was given, `items/`. In the requests layout a
part file holds one row per request and its candidate and cross columns are lists of equal length; in the flat layout
all columns are scalars.
No column holds nulls, but for ids kept as text: an absent label is NaN, a missing id is 0.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from distill.data.checked_file import CheckedFile
from distill.data.checksums import CHECKSUMS_FILE, FileChecksums, read_checksums
from distill.data.contents import Contents
from distill.encodings.saved import SavedEncodings
from distill.errors import DataError
from distill.files import below
from distill.schema import FieldSpec, HiddenColumn, Kind, Schema, Side

FORMAT_VERSION = 4
SCHEMA_FILE = "schema.yaml"
MANIFEST_FILE = "manifest.json"
SPLITS: tuple[Split, ...]
Split = Literal["train", "val", "test"]
SPLITS = ("train", "val", "test")

REQUEST_KEY = "key_request"
USER_KEY = "key_user"
ITEM_KEY = "key_item"
RAW_REQUEST = "raw_request"
RAW_ITEM = "raw_item"
RAW_OF_KEY = {REQUEST_KEY: RAW_REQUEST, ITEM_KEY: RAW_ITEM}
STAGE = "stage"
NUM_CANDIDATES = "num_candidates"


def field_column(name: str) -> str:
    """Column of an encoded field."""
    return f"field_{name}"


def label_column(task: str) -> str:
    """Column of a task's labels (float32, NaN where not observed)."""
    return f"label_{task}"


def value_column(column: str) -> str:
    """Column of the ranking score, of evaluation or of the row weight (float32)."""
    return f"value_{column}"


def teacher_column(task: str) -> str:
    """Column of a teacher's logits (float32, NaN where it did not score)."""
    return f"teacher_{task}"


def hidden_column(name: str) -> str:
    """Column of a teacher's hidden vectors (fixed-size lists, zeros where it did not score)."""
    return f"hidden_{name}"


def hidden_type(spec: HiddenColumn) -> pa.DataType:
    """Arrow type of one hidden vector."""
    return pa.list_(pa.float16() if spec.type == "float16" else pa.float32(), spec.width)


def field_type(spec: FieldSpec) -> pa.DataType:
    """Arrow type of one value of an encoded field."""
    if spec.has_vectors:
        vector = pa.list_(pa.float32(), spec.width)
        return vector if spec.kind is Kind.VECTOR else pa.list_(vector)
    if spec.is_sequence:
        return pa.list_(pa.int32())
    return pa.int32() if spec.encoding.makes_ids else pa.float32()


def arrow_schema(schema: Schema, split: Split, raw_keys: Mapping[str, pa.DataType] | None = None) -> pa.Schema:
    """Returns the columns of a split's part files, in order.

    Evaluation columns are left out of the training split. Teacher columns are there if the schema declares any.

    Args:
        schema: Of the dataset.
        split: Whose files.
        raw_keys: `RAW_REQUEST` and `RAW_ITEM`, as far as they are kept, to the type of an id.
    """
    nested = schema.layout == "requests"

    def per_candidate(kind: pa.DataType) -> pa.DataType:
        return pa.list_(kind) if nested else kind

    columns = [pa.field(REQUEST_KEY, pa.int64()), pa.field(USER_KEY, pa.int64())]
    if nested:
        columns.append(pa.field(NUM_CANDIDATES, pa.int32()))
    columns += [pa.field(ITEM_KEY, per_candidate(pa.int64())), pa.field(STAGE, per_candidate(pa.int8()))]
    for spec in schema.fields:
        kind = field_type(spec)
        columns.append(pa.field(field_column(spec.name), kind if spec.side is Side.REQUEST else per_candidate(kind)))
    columns += [pa.field(label_column(task.name), per_candidate(pa.float32())) for task in schema.tasks]
    values = schema.value_columns if split != "train" else schema.train_columns
    columns += [pa.field(value_column(name), per_candidate(pa.float32())) for name in values]
    if schema.teacher is not None:
        columns += [pa.field(teacher_column(t), per_candidate(pa.float32())) for t in schema.teacher.columns]
        hidden = (schema.teacher.hidden or {}).items()
        columns += [pa.field(hidden_column(name), per_candidate(hidden_type(spec))) for name, spec in hidden]
    columns = [column.with_nullable(False) for column in columns]
    kept = raw_keys or {}
    of_candidate = {RAW_REQUEST: False, RAW_ITEM: True}
    ids = [(name, kept[name], listed) for name, listed in of_candidate.items() if name in kept]
    return pa.schema([*columns, *(pa.field(name, per_candidate(t) if listed else t) for name, t, listed in ids)])


def items_schema(schema: Schema) -> pa.Schema:
    """Returns the columns of the catalogue: the item key and the candidate-side fields, one row per item."""
    columns = [pa.field(ITEM_KEY, pa.int64())]
    columns += [pa.field(field_column(f.name), field_type(f)) for f in schema.side(Side.CANDIDATE)]
    return pa.schema([column.with_nullable(False) for column in columns])


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PartFile(_Model):
    """One Parquet file: path below the dataset, rows (requests; candidates if flat), candidates, size, content hash."""

    path: Annotated[str, AfterValidator(below)]
    rows: int
    candidates: int
    bytes: int
    blake2b: str


class TeacherNumbers(_Model):
    """What a teacher says of one task in the training split.

    Attributes:
        candidates: Stage to the number of candidates that ended there; stages without any are left out.
        scored: Stage to how many of them it scored.
        low, mean, high: Of its scores as they are declared (logit, probability or position); null if it scored none.
        low_count, high_count: How many scores are exactly the lowest, and the highest.
        low_next, high_next: The next score above the lowest and below the highest; null if all are the same.
        labelled: Candidates with both a score and a label.
        probability: Its mean probability on those; null without any.
        label: Their mean label; null without any.
    """

    candidates: dict[str, int]
    scored: dict[str, int]
    low: float | None = None
    mean: float | None = None
    high: float | None = None
    low_count: int = 0
    high_count: int = 0
    low_next: float | None = None
    high_next: float | None = None
    labelled: int = 0
    probability: float | None = None
    label: float | None = None

    @property
    def coverage(self) -> float:
        """Share of the candidates that it scored; 0 without candidates."""
        return sum(self.scored.values()) / max(1, sum(self.candidates.values()))


class Manifest(_Model):
    """What is in a dataset.

    Attributes:
        format_version: Of the layout of the folder.
        fingerprint: Hash of the schema, the encodings and all part files; changes with any byte of the data.
        source: Where the data came from: names, sizes and a hash of the raw files, and how they were split.
        splits: Part files of each split.
        items: Part files of the catalogue, empty without one.
        encodings: Per table or field, the fitted numbers (mean, deviation, boundaries) or the file of its vocabulary.
        ranges: Per number field `[min, max]` in the training split before encoding.
        counts: Counted events of preparation, such as labels not observed or values out of vocabulary.
        teacher: Task to what its teacher column holds.
        contents: What the raw data was made of, split by split; null if it was not looked at.
    """

    format_version: int = FORMAT_VERSION
    fingerprint: str
    source: dict[str, Any]
    splits: dict[Split, tuple[PartFile, ...]]
    items: tuple[PartFile, ...] = ()
    encodings: SavedEncodings
    ranges: dict[str, tuple[float, float]]
    counts: dict[str, int]
    teacher: dict[str, TeacherNumbers] = Field(default_factory=dict)
    contents: Contents | None = None


@dataclass(frozen=True)
class Dataset:
    """A model-ready dataset on disk."""

    root: Path
    schema: Schema
    manifest: Manifest

    @property
    def all_parts(self) -> tuple[PartFile, ...]:
        """Part files of all splits and of the catalogue."""
        return (*(part for split in SPLITS for part in self.manifest.splits.get(split, ())), *self.manifest.items)

    @property
    def fingerprint(self) -> str:
        """Content hash of the dataset."""
        return self.manifest.fingerprint

    def parts(self, split: Split) -> tuple[PartFile, ...]:
        """Returns the part files of a split.

        Raises:
            DataError: The split is empty.
        """
        parts = self.manifest.splits.get(split, ())
        if sum(part.rows for part in parts) == 0:
            raise DataError(
                f"The {split} split is empty.",
                where=str(self.root),
                remedy="Prepare the data again with another split rule.",
            )
        return parts

    @cached_property
    def _checksums(self) -> dict[Path, Mapping[str, FileChecksums]]:
        """Those that were read so far, by folder."""
        return {}

    def checksums(self, part: PartFile) -> FileChecksums:
        """Returns the checksums of a part file.

        Raises:
            DataError: They cannot be read, or are of another file.
        """
        path = self.root / part.path
        if path.parent not in self._checksums:
            self._checksums[path.parent] = read_checksums(path.parent)
        found = self._checksums[path.parent].get(path.name)
        if found is None or found.blake2b != part.blake2b:
            raise DataError(
                "The checksums do not match the part files.",
                where=f"{path.parent / CHECKSUMS_FILE}, {path.name}",
                expected=f"of the file with blake2b {part.blake2b}, which {MANIFEST_FILE} names",
                found="none" if found is None else f"of one with {found.blake2b}",
                remedy="Prepare the data again.",
            )
        return found

    def open(self, part: PartFile) -> CheckedFile:
        """Opens a part file, to be read with its checksums.

        Raises:
            DataError: It cannot be read, or is not what was written.
        """
        return CheckedFile.open(self.root / part.path, self.checksums(part))


def content_fingerprint(schema_text: str, encodings: SavedEncodings, parts: Mapping[str, tuple[PartFile, ...]]) -> str:
    """Hashes a schema, fitted encodings and the content hashes of all part files (32 hex digits)."""
    listed = {name: [(p.path, p.blake2b) for p in files] for name, files in sorted(parts.items())}
    text = schema_text + json.dumps(encodings.model_dump(), sort_keys=True) + json.dumps(listed)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
