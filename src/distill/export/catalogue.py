"""Raw items in, their vectors out: a catalogue of any size as a stream."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
import pyarrow as pa
import torch

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
from distill.engines import Advance
from distill.errors import ConfigError, DataError
from distill.export.item_workers import ItemWorkers, Piece
from distill.export.pieces import EncodedItems, ItemPiece
from distill.export.trained import Trained
from distill.models.cost.random_batch import random_block
from distill.models.prerankers.base import SplitPreRanker
from distill.schema import Keys, Schema, Score, Side
from distill.serving.items import Float32

_Piece = TypeVar("_Piece", bound=Piece)

GOLDEN_ROWS = 64
"""First items whose raw columns are stored, to prove what is stored of them."""


@dataclass(frozen=True)
class Catalogue:
    """Raw files of items, a row each.

    Attributes:
        trained: Encodes them.
        source: A file, a folder or a glob pattern.
        device: Where the item tower runs.
        memory_bytes: What reading may hold in memory.
        rows: Items in a batch of the tower.
        workers: Make the items; None makes them in this process.
    """

    trained: Trained
    source: str
    device: torch.device
    memory_bytes: int = 1 << 31
    rows: int = 1 << 15
    workers: ItemWorkers | None = None

    @property
    def key(self) -> str:
        """Raw column of the item keys.

        Raises:
            ConfigError: The schema names none.
        """
        key = self.trained.schema.keys.item
        if key is None:
            raise ConfigError(
                "The schema does not say which column holds the item.",
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

    def pieces(self, bars: PassProgress) -> Iterator[ItemPiece]:
        """Streams the vectors of all items, in the order of the files; see `encoded`."""
        return self._made(Catalogue.pieces_of, ItemPiece, bars, "item vectors")

    def encoded(self, bars: PassProgress) -> Iterator[EncodedItems]:
        """Streams the fields of all items, in the order of the files.

        Args:
            bars: For progress.

        Raises:
            DataError: There are no files, a column does not hold what its field says, or an item key is null.
        """
        return self._made(Catalogue.encoded_of, EncodedItems, bars, "items")

    def _made(
        self,
        make: Callable[[Catalogue, RawUnits, Sequence[int], Advance], Iterator[_Piece]],
        kind: type[_Piece],
        bars: PassProgress,
        what: str,
    ) -> Iterator[_Piece]:
        """Makes the pieces of all units, here or by tasks; `what` is the name of the bar."""
        with self._opened(bars) as units:
            bar = bars.begin(what, units.files.num_rows)
            if self.workers is None:
                yield from make(self, units, range(len(units)), bar.advance)
            else:
                of_task = partial(make, replace(self, workers=None), units)
                yield from self.workers.made(of_task, kind, len(units), bar.advance)

    @torch.no_grad()
    def pieces_of(self, units: RawUnits, numbers: Sequence[int], advance: Advance) -> Iterator[ItemPiece]:
        """Streams the vectors of the items in some units."""
        tower = copy.deepcopy(self._tower()).to(self.device) if self.device.type != "cpu" else self._tower()
        for items in self.encoded_of(units, numbers, advance):
            vectors = tower.encode_candidate(items.block.to(self.device))
            yield ItemPiece(items.keys, vectors.float().cpu().numpy(), items.raw)

    def encoded_of(self, units: RawUnits, numbers: Sequence[int], advance: Advance) -> Iterator[EncodedItems]:
        """Streams the fields of the items in some units."""
        schema = units.schema
        with ThreadPoolExecutor(2) as pool:
            encoder = FeatureEncoder(schema, self.trained.fitted, pool)
            chunks = (chunk for _, chunk in units.stream(numbers))
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
                advance(features.chunk.num_raw_rows)

    @contextmanager
    def _opened(self, bars: PassProgress) -> Iterator[RawUnits]:
        schema = self.schema()
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
        "An item occurs in the catalogue more than once.",
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
