"""What the routes do, without HTTP: bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from distill.errors import DataError, DistillError
from distill.service.answers import answer, best
from distill.service.generations import Generation, Generations, Watched
from distill.service.new_items import LayeredItems, NewItems
from distill.service.options import Options
from distill.service.refusals import Refusal, error_body
from distill.service.requests import Limits, ScoreRequest, check_keys, read_columns, read_object
from distill.serving import Bundle

_SHORT_BYTES = 1 << 16
_COLUMNS = b'"candidates"'


@dataclass(frozen=True)
class _Asked:
    """The candidates of a request that have vectors.

    Attributes:
        items: Their keys, if they come by key.
        candidates: Their raw columns.
        rows: In the request; None of all.
        missing: Keys of the others.
    """

    items: list[Any] | None
    candidates: Mapping[str, list[Any]]
    rows: npt.NDArray[np.int64] | None
    missing: list[Any]


class Scorer:
    """Answers requests with the bundles of a folder. It may be used by several threads at a time.

    Args:
        options: Limits, and where bundles are.
        folder: Shared by the workers of the service.
        watched: Is told what happens to bundles.
    """

    def __init__(self, options: Options, folder: Path, watched: Watched | None = None) -> None:
        place = Path(options.root if options.root is not None else str(options.bundle))
        root, fixed = (place, None) if options.root is not None else (place.resolve().parent, place.resolve().name)
        self.generations = Generations(root, fixed, options.keep, watched)
        self._limits = Limits(options.candidates, options.top_k)
        self._new_items = NewItems(folder, options.new_items)

    def start(self) -> None:
        """Loads the bundle.

        Raises:
            DataError: It is the only one, and refused; of a folder of bundles that is no error, as it is watched.
        """
        if self.generations.is_fixed:
            self.generations.load_fixed()
        else:
            self.generations.refresh()

    def refresh(self) -> None:
        """Swaps to the bundle that is named now, if it is another one; see `Generations.refresh`."""
        before = self.generations.current
        self.generations.refresh()
        if self.generations.current is not before:
            self._new_items.forget({kept.version for kept in self.generations.kept})

    def is_short(self, body: bytes) -> bool:
        """Whether scoring takes no longer than handing it to a thread: items by key, compared by dot products."""
        current = self.generations.current
        if current is None or len(body) > _SHORT_BYTES or _COLUMNS in body:
            return False
        interaction = current.bundle.manifest.interaction
        return interaction is not None and interaction.type != "program"

    def score(self, body: bytes) -> bytes:
        """Answers /score.

        Raises:
            Refusal: What the client sent cannot be scored, or there is no bundle.
        """
        return self._answered(body, is_top=False)

    def top_k(self, body: bytes) -> bytes:
        """Answers /top_k; see `score`."""
        return self._answered(body, is_top=True)

    def put_items(self, body: bytes) -> bytes:
        """Answers /items; see `score`."""
        generation: Generation | None = None
        try:
            given = read_object(body, ("candidates", "version"))
            generation = self._generation(given.get("version"))
            columns = read_columns(given.get("candidates"), "candidates", self._limits.candidates)
            keys = _item_keys(columns, generation.bundle)
            vectors = generation.bundle.item_vectors(columns)
            if len(keys):
                self._checked_type(generation, keys)
                self._new_items.put(generation.version, keys, vectors)
            layer = self._new_items.of(generation.version)
            held = 0 if layer is None else len(layer.rows)
            return orjson.dumps({"version": generation.version, "items": len(keys), "held": held})
        except DistillError as error:
            raise self._refusal(error, generation) from error

    def _answered(self, body: bytes, is_top: bool) -> bytes:
        generation: Generation | None = None
        try:
            asked = ScoreRequest.of(body, self._limits, is_top)
            generation = self._generation(asked.version)
            return self._scored(asked, generation)
        except DistillError as error:
            raise self._refusal(error, generation) from error

    def _scored(self, asked: ScoreRequest, generation: Generation) -> bytes:
        bundle, layered = self._with_new_items(generation)
        found = _with_vectors(asked, layered)
        scores = bundle.score(asked.request, found.candidates, found.items)
        extra: dict[str, Any] = {"version": generation.version}
        if asked.skip_missing and asked.items is not None:
            extra["missing"] = found.missing
        if asked.k is None:
            if found.rows is not None:
                extra["positions"] = found.rows
            return answer(scores, asked.fields, extra)
        scores, places = best(scores, asked.k)
        extra["positions"] = places if found.rows is None else found.rows[places]
        if found.items is not None:
            extra["items"] = [found.items[place] for place in places.tolist()]
        return answer(scores, asked.fields, extra)

    def _generation(self, version: object) -> Generation:
        current = self.generations.current
        if current is None:
            raise Refusal(503, DataError("The service has no bundle yet.", remedy="See /readyz."), {"retry-after": "1"})
        if version is None or version == current.version:
            return current
        found = self.generations.of_version(version) if isinstance(version, str) else None
        if found is None:
            error = DataError(
                "The service does not have this version.",
                where="body, version",
                expected=", ".join(kept.version for kept in self.generations.kept),
                found=str(version)[:100],
            )
            raise Refusal(409, error)
        return found

    def _with_new_items(self, generation: Generation) -> tuple[Bundle, LayeredItems]:
        bundle = generation.bundle
        layer = self._new_items.of(bundle.version)
        layered = LayeredItems(bundle.version, _key_of(bundle) or "", bundle.items, layer)
        return (bundle if layer is None else bundle.with_items(layered)), layered

    def _checked_type(self, generation: Generation, keys: Sequence[Any]) -> None:
        """Refuses keys of another type than those of the catalogue."""
        if generation.bundle.items is not None:
            generation.bundle.items.positions(keys)

    def _refusal(self, error: DistillError, generation: Generation | None) -> Refusal:
        if generation is None:
            return Refusal(400, error)
        return Refusal(400, error, body=error_body(error, str(generation.bundle.root), generation.name))


def _with_vectors(asked: ScoreRequest, layered: LayeredItems) -> _Asked:
    """Leaves out items without a vector, if that is wanted."""
    if asked.items is None or not asked.skip_missing or (layered.layer is None and layered.stored is None):
        return _Asked(asked.items, asked.candidates, None, [])
    known = layered.positions(asked.items) >= 0
    if known.all():
        return _Asked(asked.items, asked.candidates, None, [])
    kept = known.tolist()
    return _Asked(
        list(compress(asked.items, kept)),
        {name: list(compress(values, kept)) for name, values in asked.candidates.items()},
        np.flatnonzero(known),
        list(compress(asked.items, (~known).tolist())),
    )


def _key_of(bundle: Bundle) -> str | None:
    return bundle.schema.keys.item if bundle.items is None else bundle.items.key


def _item_keys(columns: Mapping[str, list[Any]], bundle: Bundle) -> list[Any]:
    """Returns the keys of raw rows of items.

    Raises:
        DataError: They are not there, null, of two types or twice.
    """
    name = _key_of(bundle)
    if name is None or name not in columns:
        raise DataError(
            "The rows of items have no keys.",
            where="body, candidates",
            expected=f"column {name!r}" if name else "keys.item",
        )
    keys = columns[name]
    check_keys(keys)
    if len(set(keys)) != len(keys):
        raise DataError("An item is there twice.", where=f"body, candidates, column {name!r}")
    return keys
