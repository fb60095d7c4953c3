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
from distill.service.answers import answer
from distill.service.generations import Generation, Generations, Watched
from distill.service.new_items import LayeredItems, NewItems
from distill.service.options import Options
from distill.service.refusals import Refusal, error_body
from distill.service.requests import Limits, ScoreRequest, check_keys, read_columns, read_object
from distill.service.together import Wanted, score_together
from distill.serving import Bundle, Scores

_SHORT_BYTES = 1 << 16
_COLUMNS = b'"candidates"'


@dataclass(frozen=True)
class Body:
    """A request for /score, or for /top_k (`is_top`)."""

    content: bytes
    is_top: bool


@dataclass(frozen=True)
class _Asked:
    """A request, and which of its candidates are scored.

    Attributes:
        asked: What was sent.
        generation: That answers it.
        wanted: Candidates that have vectors, or raw columns.
        rows: Of these in the request; None of all.
        missing: Keys of the others.
    """

    asked: ScoreRequest
    generation: Generation
    wanted: Wanted
    rows: npt.NDArray[np.int64] | None = None
    missing: Sequence[Any] = ()


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
            DataError: It is the only one, and refused; of a folder of bundles that is not an error, as it is watched.
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
        """Whether scoring takes no longer than handing it to a thread: items by key, compared by dot products, and not
        re-ranked."""
        current = self.generations.current
        if current is None or len(body) > _SHORT_BYTES or _COLUMNS in body:
            return False
        if current.bundle.manifest.rerank is not None:
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
            arrays = generation.bundle.compute_items(columns)
            if len(keys):
                self._checked_type(generation, keys)
                self._new_items.put(generation.version, keys, arrays)
            layer = self._new_items.of(generation.version)
            held = 0 if layer is None else len(layer.rows)
            return orjson.dumps({"version": generation.version, "items": len(keys), "held": held})
        except DistillError as error:
            raise self._refusal(error, generation) from error

    def answer_together(self, bodies: Sequence[Body]) -> list[bytes | Exception]:
        """Answers several requests, scored in as few calls as possible.

        Returns:
            The answer of each; or what is to be raised for it, such as a `Refusal`.
        """
        read = [self._tried(body) for body in bodies]
        asked = [one for one in read if isinstance(one, _Asked)]
        scored = iter(score_together([one.wanted for one in asked]))
        return [self._said(one, next(scored)) if isinstance(one, _Asked) else one for one in read]

    def _tried(self, body: Body) -> _Asked | Exception:
        try:
            return self._asked(body.content, body.is_top)
        except Exception as error:  # of one request alone
            return error

    def _said(self, asked: _Asked, scores: Scores | Exception) -> bytes | Exception:
        try:
            if isinstance(scores, Exception):
                raise scores
            return self._answer(asked, scores)
        except DistillError as error:
            return self._refusal(error, asked.generation)
        except Exception as error:
            return error

    def _answered(self, body: bytes, is_top: bool) -> bytes:
        asked = self._asked(body, is_top)
        try:
            return self._answer(asked, asked.wanted.score())
        except DistillError as error:
            raise self._refusal(error, asked.generation) from error

    def _asked(self, body: bytes, is_top: bool) -> _Asked:
        """Reads a request, and finds what is to answer it.

        Raises:
            Refusal: It cannot be read, or there is no such bundle.
        """
        generation: Generation | None = None
        try:
            asked = ScoreRequest.of(body, self._limits, is_top)
            generation = self._generation(asked.version)
            bundle, layered = self._with_new_items(generation)
            return _with_vectors(asked, generation, bundle, layered)
        except DistillError as error:
            raise self._refusal(error, generation) from error

    def _answer(self, found: _Asked, scores: Scores) -> bytes:
        asked = found.asked
        extra: dict[str, Any] = {"version": found.generation.version}
        if asked.skip_missing and asked.items is not None:
            extra["missing"] = found.missing
        if asked.k is None:
            if found.rows is not None:
                extra["positions"] = found.rows
            return answer(scores, asked.fields, extra)
        places = found.wanted.bundle.best(scores, asked.k, found.wanted.candidates, asked.rerank)
        extra["positions"] = places if found.rows is None else found.rows[places]
        if found.wanted.items is not None:
            extra["items"] = [found.wanted.items[place] for place in places.tolist()]
        return answer(scores.take(places), asked.fields, extra)

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


def _with_vectors(asked: ScoreRequest, generation: Generation, bundle: Bundle, layered: LayeredItems) -> _Asked:
    """Leaves out items of which nothing is stored, if that is wanted."""
    source = (generation.identity, id(layered.layer))
    everything = Wanted(bundle, source, asked.request, asked.candidates, asked.items, asked.count)
    if asked.items is None or not asked.skip_missing or (layered.layer is None and layered.stored is None):
        return _Asked(asked, generation, everything)
    known = layered.positions(asked.items) >= 0
    if known.all():
        return _Asked(asked, generation, everything)
    kept = known.tolist()
    wanted = Wanted(
        bundle,
        source,
        asked.request,
        {name: list(compress(values, kept)) for name, values in asked.candidates.items()},
        list(compress(asked.items, kept)),
        int(known.sum()),
    )
    return _Asked(asked, generation, wanted, np.flatnonzero(known), list(compress(asked.items, (~known).tolist())))


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
        raise DataError("An item occurs twice.", where=f"body, candidates, column {name!r}")
    return keys
