"""A bundle: a model with its encodings, in a folder that a server can use alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from distill.encodings import FittedEncodings, PackedEncodings
from distill.encodings.arrow import Int64
from distill.errors import DataError
from distill.places.here import folder_here
from distill.schema import Schema, Side
from distill.serving.columns import Values, as_counts, count_values
from distill.serving.diversity.options import Rerank
from distill.serving.inputs import CANDIDATE, REQUEST, REQUEST_INDEX
from distill.serving.interaction import combine, rows_of_requests
from distill.serving.item_features import ItemFeatures
from distill.serving.items import ItemVectors, StoredItems, check_version
from distill.serving.manifest import ITEMS, Manifest, Part, check_files, read_manifest
from distill.serving.program import RunningProgram
from distill.serving.proof import check_golden, check_golden_items
from distill.serving.ranking import TopK, reranked
from distill.serving.raw_encoder import Candidates, Inputs, RawEncoder
from distill.serving.scores import Float32, Scores, ranking_score

_WORTH_A_CALL = 32  # candidates of a request for which a program is called


@dataclass(frozen=True)
class Bundle:
    """A model that scores raw requests. It may be used by several threads at a time.

    Attributes:
        root: Its folder.
        manifest: What it says of itself.
        schema: The model's view of the schema.
        fitted: Its encodings.
        items: What is stored of a catalogue, if anything is: vectors, or encoded features of a model that is a whole.
        encoder: Encodes raw values as its programs take them.
    """

    root: Path
    manifest: Manifest
    schema: Schema
    fitted: FittedEncodings
    items: StoredItems | None
    encoder: RawEncoder
    _programs: Mapping[Part, RunningProgram]

    @classmethod
    def load(cls, root: str | Path, threads: int = 1, items: str | Path | None = None, check: bool = True) -> Bundle:
        """Opens a bundle, and replays its golden requests from raw values.

        Args:
            root: The folder that scripts/export.py wrote, or its URI.
            threads: That one call uses.
            items: Folder of stored items, or its URI; those of the bundle if not given.
            check: Whether files are compared with their hashes and golden requests are replayed.

        Raises:
            DataError: A file is damaged, vectors are of another version, or a golden score is another one.
        """
        root = folder_here(root, "root")
        found = read_manifest(root)
        if check:
            check_files(root, found.files)
        bundle = cls.assembled(root, found, threads)
        if check:
            check_golden(bundle)
        folder = folder_here(items, "items") if items is not None else root / ITEMS
        if items is None and not folder.is_dir():
            return bundle
        stored = load_items(folder, found, check)
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
        return cls(root, manifest, schema, fitted, None, RawEncoder(schema, fitted, manifest.sides), programs)

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

    def score(
        self,
        request: Mapping[str, Any],
        candidates: Candidates = None,
        items: Values | None = None,
    ) -> Scores:
        """Scores the candidates of one request from raw values.

        Args:
            request: Raw column to its value.
            candidates: Raw column to the values of all N candidates: of the fields of candidates, of the pair, and
                what the ranking score reads. With `items` the columns of candidates' own fields are not needed, but for
                those that fields of the pair are made of.
            items: Raw keys of the N candidates, of which vectors or features are stored.

        Raises:
            DataError: A column is missing or does not hold what its field says, or nothing is stored of an item.
        """
        number = self.encoder.count(candidates) if items is None else count_values(items, "items")
        if number == 0:
            return self._no_scores()
        own = self.encoder.row(request) | self.encoder.pairs_of_one(request, candidates, number)
        return self._scores({REQUEST_INDEX: np.zeros(number, np.int64), **own}, candidates, number, items)

    def score_batch(
        self,
        request: Mapping[str, Values],
        candidates: Candidates,
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
        index = np.repeat(np.arange(len(sizes)), sizes)
        own = self.encoder.side(Side.REQUEST, request, len(sizes))
        own |= self.encoder.pairs(request, len(sizes), candidates, index)
        return self._scores({REQUEST_INDEX: index, **own}, candidates, n, items)

    def top_k(
        self,
        request: Mapping[str, Any],
        candidates: Candidates = None,
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
        candidates: Candidates = None,
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
        return reranked(scores, k, options, self.encoder.columns(candidates, options.columns, number))

    def _no_scores(self) -> Scores:
        empty = np.zeros((0, len(self.schema.tasks)), np.float32)
        return Scores(empty, empty.sum(1), self.schema)

    def _scores(self, inputs: Inputs, candidates: Candidates, n: int, items: Values | None) -> Scores:
        """Scores N candidates of encoded requests and pairs."""
        inputs |= self.encoder.side(Side.CANDIDATE, candidates, n) if items is None else self._stored(items, n)
        if not self.manifest.is_whole and CANDIDATE not in inputs:
            inputs[CANDIDATE] = self._programs["candidate"].run(inputs)
        logits = self.logits(inputs)
        score = ranking_score(self.schema, logits, self.encoder.score_columns(candidates, n))
        return Scores(logits, score, self.schema, inputs[CANDIDATE] if self.manifest.has_vectors else None)

    def encode(self, request: Mapping[str, Values], candidates: Candidates, counts: Int64) -> Inputs:
        """Encodes raw columns as programs take them; see `score_batch`.

        Args:
            request: Raw column to the values of the requests.
            candidates: Raw column to the values of the candidates.
            counts: Number of candidates of each request `[R]`.

        Raises:
            DataError: A column is missing or does not hold what its field says.
        """
        index = np.repeat(np.arange(len(counts)), counts)
        return {
            REQUEST_INDEX: index,
            **self.encoder.side(Side.REQUEST, request, len(counts)),
            **self.encoder.side(Side.CANDIDATE, candidates, len(index)),
            **self.encoder.pairs(request, len(counts), candidates, index),
        }

    def encode_request(self, request: Mapping[str, Any]) -> Float32:
        """Returns the vector of one request `[1, …]` from raw values.

        Raises:
            DataError: See `score`; or the model has none.
        """
        if "request" not in self._programs:
            raise self._without("request")
        return self._programs["request"].run(self.encoder.row(request))

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
        given = {**inputs, CANDIDATE: candidate, REQUEST: request}
        few = len(request) > 1 and len(candidate) < _WORTH_A_CALL * len(request)
        if "single" not in self._programs or few:
            return self._programs["interact"].run(given)
        return self._one_by_one(self._programs["single"], given)

    def _one_by_one(self, program: RunningProgram, given: Inputs) -> Float32:
        """Returns the logits `[N, K]` of requests that are combined with their candidates one after the other."""
        request = given[REQUEST]
        if len(request) == 1:
            return program.run(given)
        of_pairs = [name for name in program.inputs if name != REQUEST]
        found = []
        for row, (first, last) in enumerate(rows_of_requests(len(request), given[REQUEST_INDEX])):
            if last > first:
                own = {name: given[name][first:last] for name in of_pairs}
                found.append(program.run({**own, REQUEST: request[row : row + 1]}))
        return np.concatenate(found)

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
        return self._vectors(Side.CANDIDATE, candidates, self.encoder.count(candidates))

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
        return self.encoder.side(Side.CANDIDATE, candidates, self.encoder.count(candidates))

    def _vectors(self, side: Side, values: Candidates, rows: int) -> Float32:
        part: Part = "request" if side is Side.REQUEST else "candidate"
        if part not in self._programs:
            raise self._without(part)
        return self._programs[part].run(self.encoder.side(side, values, rows))

    def _without(self, part: str) -> DataError:
        return DataError("This model has no vectors of that side.", where=str(self.root), found=part)

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
        return self.items.inputs(self.encoder.item_keys(keys, self.items.key))


def load_items(folder: Path, manifest: Manifest, check: bool = True) -> ItemVectors | ItemFeatures:
    """Opens what is stored of items for a bundle.

    Args:
        folder: Of vectors, or of features of a model that is a whole.
        manifest: Of the bundle.
        check: Whether the files are compared with their hashes.

    Raises:
        DataError: They are of another version, or damaged.
    """
    return (ItemFeatures if manifest.is_whole else ItemVectors).load(folder, manifest.version, check)
