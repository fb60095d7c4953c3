"""Raw items in, their vectors out: a catalogue of any size as a stream."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import torch

from distill.batch import FeatureBlock
from distill.data.found import find_files
from distill.data.prepare.ahead import ahead
from distill.data.prepare.plan import check_columns, open_files
from distill.data.prepare.progress import PassProgress
from distill.data.prepare.source import BATCH_BYTES
from distill.data.unlabelled import FeatureEncoder, RawUnits
from distill.data.unlabelled.uses import scoring_uses
from distill.encodings.arrow import null_mask
from distill.encodings.hashing import hash_values
from distill.encodings.id_values import to_id_values
from distill.encodings.place import Place
from distill.encodings.values import first
from distill.errors import ConfigError, DataError
from distill.export.trained import Trained
from distill.models.cost.random_batch import random_block
from distill.models.prerankers.base import SplitPreRanker
from distill.schema import Keys, Schema, Score, Side
from distill.serving.items import Float32

GOLDEN_ROWS = 64
"""First items whose raw columns are stored, to prove what is stored of them."""


@dataclass(frozen=True)
class ItemPiece:
    """Some items.

    Attributes:
        keys: Raw keys `[n]`.
        vectors: `[n, …]`.
        raw: The raw columns that they came from, n rows.
    """

    keys: pa.Array
    vectors: Float32
    raw: pa.Table

    def filter(self, kept: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> ItemPiece:
        """Returns some of the items."""
        mask = pa.array(kept)
        return ItemPiece(self.keys.filter(mask), self.vectors[kept], self.raw.filter(mask))


@dataclass(frozen=True)
class EncodedItems:
    """Some items as their tower, or their model, reads them.

    Attributes:
        keys: Raw keys `[n]`.
        block: Their fields, n rows.
        raw: The raw columns that they came from, n rows.
    """

    keys: pa.Array
    block: FeatureBlock
    raw: pa.Table


@dataclass(frozen=True)
class Catalogue:
    """Raw files of items, a row each.

    Attributes:
        trained: Encodes them.
        source: A file, a folder or a glob pattern.
        device: Where the item tower runs.
        memory_bytes: What reading may hold in memory.
        rows: Items in a batch of the tower.
    """

    trained: Trained
    source: str
    device: torch.device
    memory_bytes: int = 1 << 31
    rows: int = 1 << 15

    @property
    def key(self) -> str:
        """Raw column of the item keys.

        Raises:
            ConfigError: The schema names none.
        """
        key = self.trained.schema.keys.item
        if key is None:
            raise ConfigError(
                "Nothing says which column names an item.",
                where="items",
                expected="`keys.item` in the schema that the model was trained with",
            )
        return key

    def schema(self) -> Schema:
        """The schema of the catalogue: the fields of candidates alone, a row each."""
        own = self.trained.schema
        return own.model_copy(
            update={
                "layout": "flat",
                "keys": Keys(item=self.key),
                "fields": own.side(Side.CANDIDATE),
                "score": Score(),
                "evaluation": (),
                "teacher": None,
                "duplicates": "keep",
            }
        )

    def shape(self) -> tuple[int, ...]:
        """Shape of a vector."""
        block = random_block(self.trained.schema.side(Side.CANDIDATE), 2, torch.Generator().manual_seed(0))
        with torch.no_grad():
            return tuple(self._tower().encode_candidate(block).shape[1:])

    def _tower(self) -> SplitPreRanker:
        model = self.trained.model
        assert isinstance(model, SplitPreRanker)
        return model

    @torch.no_grad()
    def pieces(self, bars: PassProgress) -> Iterator[ItemPiece]:
        """Streams the vectors of all items, in the order of the files; see `encoded`."""
        tower = copy.deepcopy(self._tower()).to(self.device) if self.device.type != "cpu" else self._tower()
        for items in self.encoded(bars, "item vectors"):
            vectors = tower.encode_candidate(items.block.to(self.device))
            yield ItemPiece(items.keys, vectors.float().cpu().numpy(), items.raw)

    def encoded(self, bars: PassProgress, what: str) -> Iterator[EncodedItems]:
        """Streams the fields of all items, in the order of the files.

        Args:
            bars: For progress.
            what: Is made of them, for the bar.

        Raises:
            DataError: There are no files, a column does not hold what its field says, or an item key is null.
        """
        schema = self.schema()
        with self._opened(schema, bars) as units, ThreadPoolExecutor(2) as pool:
            encoder = FeatureEncoder(schema, self.trained.fitted, pool)
            bar = bars.begin(what, units.files.num_rows)
            chunks = (chunk for _, chunk in units.stream(range(len(units))))
            for features in ahead(map(encoder.encode, ahead(chunks))):
                array, place = features.chunk.column(Side.CANDIDATE, self.key, "keys.item")
                keys = _checked(array, place)
                block = features.sides[Side.CANDIDATE]
                names = dict.fromkeys(source.column for f in schema.fields for source in f.sources)
                raw = pa.table({name: features.chunk.candidate[name] for name in names})
                for begin in range(0, len(keys), self.rows):
                    rows = torch.arange(begin, min(begin + self.rows, len(keys)))
                    own = keys.slice(begin, len(rows))
                    yield EncodedItems(own, block.select(rows), raw.slice(begin, len(rows)))
                bar.advance(features.chunk.num_raw_rows)

    @contextmanager
    def _opened(self, schema: Schema, bars: PassProgress) -> Iterator[RawUnits]:
        source = str(Path(self.source).expanduser())
        found = find_files(source, None)
        if not found.read:
            raise DataError("There are no files of items.", where="items", found=source, remedy="Check items.")
        uses = scoring_uses(schema)
        files = open_files(found.read, schema, uses, min(BATCH_BYTES, self.memory_bytes // 16), schema.value_reading)
        check_columns(files, uses, "flat")
        with TemporaryDirectory() as scratch:
            yield RawUnits.plan(files, schema, uses, "flat", Path(scratch), self.memory_bytes, bars)


def _checked(array: pa.Array, place: Place) -> pa.Array:
    keys = to_id_values(array, place)
    if pa.types.is_dictionary(keys.type):
        keys = keys.dictionary_decode()
    if (row := first(null_mask(keys))) >= 0:
        raise DataError(
            "An item has no key.", where=place.at(row), found="null", remedy="Fill it, or leave the item out."
        )
    return keys


def check_distinct(keys: pa.ChunkedArray, source: str, column: str) -> None:
    """Refuses a catalogue in which an item stands twice.

    Raises:
        DataError: It does.
    """
    hashes = np.sort(np.concatenate([np.zeros(0, np.uint64), *map(hash_values, keys.chunks)]))
    if not (hashes[1:] == hashes[:-1]).any():  # far less memory than a table of all keys
        return
    counts = keys.value_counts()
    twice = counts.filter(pa.array(counts.field("counts").to_numpy() > 1))
    if len(twice) == 0:
        return
    raise DataError(
        "An item stands in the catalogue more than once.",
        where=f"{source}, column {column!r}",
        expected="each item once",
        found=f"{twice[0]['values'].as_py()!r}, {twice[0]['counts'].as_py()} times; {len(twice):,} such items",
        remedy="Keep the newest row of each item.",
    )


def changed_rows(vectors: Float32, before: Float32) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Says which vectors `[n, …]` differ from those before by more than rounding in another batch does."""
    of_each = tuple(range(1, vectors.ndim))
    largest = np.maximum(1.0, np.abs(before).max(axis=of_each, initial=0.0))
    difference = np.abs(vectors - before).max(axis=of_each, initial=0.0)
    changed: np.ndarray[tuple[int], np.dtype[np.bool_]] = difference > 1e-5 * largest
    return changed
