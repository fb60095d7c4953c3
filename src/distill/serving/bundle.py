"""A bundle: a model with its encodings, in a folder that a server can use alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distill.encodings import FittedEncodings, PackedEncodings
from distill.encodings.arrow import Int64
from distill.encodings.declared import DeclaredColumns
from distill.errors import DataError
from distill.schema import FieldSpec, Schema, Side
from distill.serving.columns import (
    Values,
    as_columns,
    as_counts,
    as_mapping,
    count_values,
    encode_fields,
    read_column,
    score_columns,
)
from distill.serving.diversity.options import Rerank
from distill.serving.inputs import CANDIDATE, REQUEST, REQUEST_INDEX, as_inputs
from distill.serving.interaction import combine
from distill.serving.item_features import ItemFeatures
from distill.serving.items import ItemVectors, StoredItems, check_version
from distill.serving.manifest import ITEMS, Manifest, Part, check_files, read_manifest
from distill.serving.program import RunningProgram
from distill.serving.proof import check_golden, check_golden_items
from distill.serving.ranking import TopK, reranked
from distill.serving.request import RequestEncoder
from distill.serving.scores import Float32, Scores, ranking_score

Inputs = dict[str, npt.NDArray[Any]]
_CANDIDATES = "candidates"


@dataclass(frozen=True)
class Bundle:
    """A model that scores raw requests. It may be used by several threads at a time.

    Attributes:
        root: Its folder.
        manifest: What it says of itself.
        schema: The model's view of the schema.
        fitted: Its encodings.
        items: What is stored of a catalogue, if anything is: vectors, or encoded features of a model that is a whole.
    """

    root: Path
    manifest: Manifest
    schema: Schema
    fitted: FittedEncodings
    items: StoredItems | None
    _programs: Mapping[Part, RunningProgram]
    _requests: RequestEncoder

    @classmethod
    def load(cls, root: str | Path, threads: int = 1, items: str | Path | None = None, check: bool = True) -> Bundle:
        """Opens a bundle, and replays its golden requests from raw values.

        Args:
            root: The folder that scripts/export.py wrote.
            threads: That one call uses.
            items: Folder of stored items; those of the bundle if not given.
            check: Whether files are compared with their hashes and golden requests are replayed.

        Raises:
            DataError: A file is damaged, vectors are of another version, or a golden score is another one.
        """
        root = Path(root)
        found = read_manifest(root)
        if check:
            check_files(root, found.files)
        bundle = cls.assembled(root, found, threads)
        if check:
            check_golden(bundle)
        folder = Path(items) if items is not None else root / ITEMS
        if items is None and not folder.is_dir():
            return bundle
        stored = (ItemFeatures if found.is_whole else ItemVectors).load(folder, found.version, check)
        bundle = bundle.with_items(stored)
        if check:
            check_golden_items(bundle, stored)
        return bundle

    @classmethod
    def assembled(cls, root: Path, manifest: Manifest, threads: int = 1) -> Bundle:
        """Puts a bundle together from its files, unchecked."""
        fitted = FittedEncodings.unpacked(PackedEncodings.read(root, manifest.encodings))
        programs = {part: RunningProgram(root, program, threads) for part, program in manifest.programs.items()}
        schema = manifest.schema_of(root)
        return cls(root, manifest, schema, fitted, None, programs, RequestEncoder(schema, fitted))

    def with_items(self, items: StoredItems | None) -> Bundle:
        """Returns the same bundle with other stored items.

        Raises:
            DataError: They are of another version of the model.
        """
        if items is not None:
            check_version(items.version, self.version, "items")
        return replace(self, items=items)

    @property
    def version(self) -> str:
        """Hash of weights and encodings."""
        return self.manifest.version

    @cached_property
    def _sides(self) -> dict[Side, tuple[FieldSpec, ...]]:
        """The sides that programs read, and their fields."""
        return {side: self.schema.side(side) for side in self.manifest.sides}

    @cached_property
    def _declared(self) -> DeclaredColumns:
        return DeclaredColumns(self.schema.raw)

    def score(
        self,
        request: Mapping[str, Any],
        candidates: Mapping[str, Values] | pa.Table | None = None,
        items: Values | None = None,
    ) -> Scores:
        """Scores the candidates of one request from raw values.

        Args:
            request: Raw column to its value.
            candidates: Raw column to the values of all N candidates: of the fields of candidates, of the pair, and
                what the ranking score reads. With `items` the columns of candidates' own fields are not needed.
            items: Raw keys of the N candidates, of which vectors or features are stored.

        Raises:
            DataError: A column is missing or does not hold what its field says, or nothing is stored of an item.
        """
        columns = as_mapping(candidates, _CANDIDATES)
        number = _rows(columns) if items is None else count_values(items, "items")
        if number == 0:
            return self._no_scores()
        inputs: Inputs = {REQUEST_INDEX: np.zeros(number, np.int64)}
        if Side.REQUEST in self._sides:
            inputs |= self.encode_row(as_mapping(request, REQUEST))
        return self._scores(inputs, columns, number, items)

    def score_batch(
        self,
        request: Mapping[str, Values],
        candidates: Mapping[str, Values] | pa.Table | None,
        counts: Sequence[int] | Int64,
        items: Values | None = None,
    ) -> Scores:
        """Scores the candidates of R requests.

        Args:
            request: Raw column to the values of the requests `[R]`.
            candidates: Raw column to the values of all candidates `[N]`, request by request.
            counts: Number of candidates of each request `[R]`.
            items: Raw keys of all candidates `[N]`; see `score`.

        Raises:
            DataError: See `score`.
        """
        sizes = as_counts(counts)
        n = int(sizes.sum())
        if n == 0:
            return self._no_scores()
        inputs: Inputs = {REQUEST_INDEX: np.repeat(np.arange(len(sizes)), sizes)}
        inputs |= self.encode_requests(request, len(sizes))
        return self._scores(inputs, as_mapping(candidates, _CANDIDATES), n, items)

    def top_k(
        self,
        request: Mapping[str, Any],
        candidates: Mapping[str, Values] | pa.Table | None = None,
        items: Values | None = None,
        *,
        k: int,
        rerank: Rerank | bool = True,
    ) -> TopK:
        """Chooses the best k candidates of one request.

        Args:
            request: See `score`.
            candidates: See `score`; and the raw columns that quotas read.
            items: See `score`.
            k: How many; all if there are fewer.
            rerank: How; True as the bundle says, False in the order of the ranking score.

        Raises:
            DataError: See `score` and `best`.
        """
        scores = self.score(request, candidates, items)
        places = self.best(scores, k, candidates, rerank)
        if isinstance(items, pa.Array | pa.ChunkedArray):
            items = items.take(pa.array(places))
        elif items is not None:
            items = [items[place] for place in places.tolist()]
        return TopK(places, scores.take(places), items)

    def best(
        self,
        scores: Scores,
        k: int,
        candidates: Mapping[str, Values] | pa.Table | None = None,
        rerank: Rerank | bool = True,
    ) -> Int64:
        """Returns the positions of the best k candidates of one request that was scored, the best first; see `top_k`.

        Raises:
            DataError: A column that quotas read is missing, or vectors are compared of a model that has none.
        """
        if k < 0:
            raise DataError("A number of candidates is negative.", where="k", expected="from 0 on", found=f"{k}")
        options = (self.manifest.rerank if rerank else None) if isinstance(rerank, bool) else rerank
        number = len(scores.ranking_score)
        if options is None or number == 0:
            return scores.order()[:k]
        return reranked(scores, k, options, self.quota_columns(options, candidates, number))

    def quota_columns(
        self, rerank: Rerank, candidates: Mapping[str, Values] | pa.Table | None, rows: int
    ) -> dict[str, pa.Array]:
        """Returns the raw columns of candidates that quotas read.

        Raises:
            DataError: One is missing, or does not hold what the schema declares.
        """
        return as_columns(as_mapping(candidates, _CANDIDATES), rerank.columns, rows, _CANDIDATES, self._declared)

    def _no_scores(self) -> Scores:
        empty = np.zeros((0, len(self.schema.tasks)), np.float32)
        return Scores(empty, empty.sum(1), self.schema)

    def _scores(self, inputs: Inputs, columns: Mapping[str, Values], n: int, items: Values | None) -> Scores:
        """Scores N candidates of encoded requests."""
        if items is None and Side.CANDIDATE in self._sides:
            inputs |= self._encode(Side.CANDIDATE, columns, n)
        inputs |= self.encode_pairs(columns, n)
        if items is not None:
            inputs |= self._stored(items, n)
        if not self.manifest.is_whole and CANDIDATE not in inputs:
            inputs[CANDIDATE] = self._programs["candidate"].run(inputs)
        logits = self.logits(inputs)
        score = ranking_score(self.schema, logits, self.read_score_columns(columns, n))
        return Scores(logits, score, self.schema, inputs[CANDIDATE] if self.manifest.has_vectors else None)

    def read_score_columns(self, candidates: Mapping[str, Values] | pa.Table | None, rows: int) -> dict[str, Float32]:
        """Reads the columns of the ranking score of N candidates.

        Raises:
            DataError: One is missing, or a number is missing or not positive.
        """
        columns = as_mapping(candidates, _CANDIDATES)
        wanted = tuple(self.schema.score.columns)
        return score_columns(self.schema, as_columns(columns, wanted, rows, _CANDIDATES, self._declared))

    def encode_requests(self, request: Mapping[str, Values], rows: int) -> Inputs:
        """Encodes R requests as programs take them; nothing of a model that reads none of their fields.

        Raises:
            DataError: A column is missing or does not hold what its field says.
        """
        of_request = Side.REQUEST in self._sides
        return self._encode(Side.REQUEST, as_mapping(request, REQUEST), rows) if of_request else {}

    def encode_pairs(self, candidates: Mapping[str, Values] | pa.Table | None, rows: int) -> Inputs:
        """Encodes the fields of the pairs of N candidates as programs take them; nothing of a model that reads none.

        Raises:
            DataError: A column is missing or does not hold what its field says.
        """
        of_pair = Side.CROSS in self._sides
        return self._encode(Side.CROSS, as_mapping(candidates, _CANDIDATES), rows) if of_pair else {}

    def encode(
        self,
        request: Mapping[str, Values],
        candidates: Mapping[str, Values],
        counts: Int64,
    ) -> Inputs:
        """Encodes raw columns as programs take them; see `score_batch`.

        Args:
            request: Raw column to the values of the requests.
            candidates: Raw column to the values of the candidates.
            counts: Number of candidates of each request `[R]`.

        Raises:
            DataError: A column is missing or does not hold what its field says.
        """
        n = int(counts.sum())
        inputs: Inputs = {REQUEST_INDEX: np.repeat(np.arange(len(counts)), counts)}
        for side in self._sides:
            of_request = side is Side.REQUEST
            inputs |= self._encode(side, request if of_request else candidates, len(counts) if of_request else n)
        return inputs

    def encode_request(self, request: Mapping[str, Any]) -> Float32:
        """Returns the vector of one request `[1, …]` from raw values.

        Raises:
            DataError: See `score`; or the model has none.
        """
        if "request" not in self._programs:
            raise self._without("request")
        return self._programs["request"].run(self.encode_row(as_mapping(request, REQUEST)))

    def logits(self, inputs: Inputs) -> Float32:
        """Returns the logits `[N, K]` of encoded requests.

        Args:
            inputs: Encoded sides by the names that programs know, and `request_index [N]`; for the fields of candidates
                there may be their vectors, as `candidate [N, …]`.
        """
        if self.manifest.is_whole:
            return self._programs["whole"].run(inputs)
        request = self._programs["request"].run(inputs) if "request" in self._programs else None
        candidate = inputs[CANDIDATE] if CANDIDATE in inputs else self._programs["candidate"].run(inputs)
        interaction = self.manifest.interaction
        assert interaction is not None
        if interaction.type != "program":
            return combine(interaction, request, candidate, inputs[REQUEST_INDEX])
        assert request is not None
        return self._programs["interact"].run({**inputs, CANDIDATE: candidate, REQUEST: request})

    def request_vectors(self, request: Mapping[str, Values], rows: int) -> Float32:
        """Returns the vectors of R requests `[R, …]` from raw columns.

        Raises:
            DataError: See `score`; or the model has none.
        """
        return self._vectors(Side.REQUEST, request, rows)

    def item_vectors(self, candidates: Mapping[str, Values] | pa.Table) -> Float32:
        """Returns the vectors of N candidates `[N, …]` from raw columns.

        Raises:
            DataError: See `score`; or the model has none.
        """
        columns = as_mapping(candidates, _CANDIDATES)
        return self._vectors(Side.CANDIDATE, columns, _rows(columns))

    def compute_items(self, candidates: Mapping[str, Values] | pa.Table) -> Inputs:
        """Returns what is stored of N items, as programs take it: their vectors, or the features of a whole model.

        Raises:
            DataError: See `score`.
        """
        return self.encode_items(candidates) if self.manifest.is_whole else {CANDIDATE: self.item_vectors(candidates)}

    def encode_items(self, candidates: Mapping[str, Values] | pa.Table) -> Inputs:
        """Returns the fields of N candidates as programs take them, from raw columns.

        Raises:
            DataError: See `score`.
        """
        columns = as_mapping(candidates, _CANDIDATES)
        return self._encode(Side.CANDIDATE, columns, _rows(columns))

    def _vectors(self, side: Side, values: Mapping[str, Values], rows: int) -> Float32:
        part: Part = "request" if side is Side.REQUEST else "candidate"
        if part not in self._programs:
            raise self._without(part)
        return self._programs[part].run(self._encode(side, values, rows))

    def _without(self, part: str) -> DataError:
        return DataError("This model has no vectors of that side.", where=str(self.root), found=part)

    def encode_row(self, request: Mapping[str, Any]) -> Inputs:
        """Encodes one request as programs take it.

        Raises:
            DataError: A column is missing or does not hold what its field says.
        """
        return as_inputs(self._sides[Side.REQUEST], Side.REQUEST, self._requests.encode(request))

    def _encode(self, side: Side, values: Mapping[str, Values], rows: int) -> Inputs:
        fields = self._sides[side]
        owner = REQUEST if side is Side.REQUEST else _CANDIDATES
        columns = as_columns(values, tuple(dict.fromkeys(f.column for f in fields)), rows, owner, self._declared)
        return as_inputs(fields, side, encode_fields(fields, self.fitted, columns, rows, owner))

    def _stored(self, keys: Values, rows: int) -> Inputs:
        if self.items is None:
            raise DataError(
                "The bundle has no stored items.",
                where=str(self.root),
                remedy="Export them with items=FILE, or give the candidates' raw columns.",
            )
        if (given := count_values(keys, "items")) != rows:
            raise DataError(
                "There is one item key for each candidate.", where="items", expected=f"{rows}", found=f"{given}"
            )
        return self.items.inputs(self.read_item_keys(keys, self.items.key))

    def read_item_keys(self, keys: Values, column: str) -> Values:
        """Returns raw keys as the schema declares their column."""
        return read_column(column, keys, "items", self._declared) if self._declared.concerns(column) else keys


def _rows(columns: Mapping[str, Values]) -> int:
    return next((count_values(values, f"{_CANDIDATES}, column {name!r}") for name, values in columns.items()), 0)
