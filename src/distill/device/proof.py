"""Golden requests over items of the catalogue: a device says of them what the bundle does, or it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distill.encodings.arrow import Int64
from distill.errors import DataError
from distill.serving.columns import Values
from distill.serving.inputs import CANDIDATE
from distill.serving.proof import TOLERANCE, golden_requests
from distill.serving.scores import Scores

if TYPE_CHECKING:
    from distill.device.top_k import Best, DeviceTopK

_MOST = 4096  # candidates of a request


def check_top_k(found: DeviceTopK) -> float:
    """Compares the best candidates of golden requests with what the bundle says of them.

    The requests are those of the bundle; their candidates are items drawn of the catalogue, 0 to 2·k, some of them
    twice. A device that holds vectors in float16 is compared with the bundle and vectors rounded so: what rounding
    costs is at most that of a store in float16.

    Returns:
        The largest difference of a ranking score or a logit: absolute, or beyond 1 relative to it.

    Raises:
        DataError: A difference is above 1e-5, or a candidate that is left out is better than one of the best.
    """
    keys = found.stored.keys()
    if len(keys) == 0:
        return 0.0
    request, candidates, drawn = golden_requests(found.bundle)
    counts = np.linspace(0, min(2 * found.program.k, _MOST), len(drawn)).astype(np.int64)
    rng = np.random.default_rng(0)
    rows = pa.array(rng.integers(0, int(drawn.sum()), int(counts.sum())))
    columns = {name: values.take(rows) for name, values in candidates.items()}
    items = keys.take(pa.array(rng.integers(0, len(keys), int(counts.sum()))))
    bundle = found.bundle.with_items(_Rounded.of(found))
    wanted = bundle.score_batch(request, columns, counts, items)
    firsts = np.cumsum(counts) - counts
    lists = [items.slice(first, count).to_pylist() for first, count in zip(firsts, counts, strict=True)]
    return compare(found.top_k(request, lists, columns), wanted, counts, str(found.bundle.root))


def compare(best: Best, wanted: Scores, counts: Int64, where: str) -> float:
    """Compares the best candidates of R requests with the scores of all; equal ones may change places.

    Args:
        best: Of each request.
        wanted: Of all candidates, request by request.
        counts: Candidates of each request `[R]`.
        where: What said `best`, for errors.

    Raises:
        DataError: See `check_top_k`.
    """
    k, worst = best.places.shape[1], 0.0
    first = 0
    for row, count in enumerate(counts.tolist()):
        own = slice(first, first + count)
        taken = min(k, count)
        places, rest = np.split(best.places[row], [taken])
        if not (rest == -1).all() or len(np.unique(places)) != taken or not ((places >= 0) & (places < count)).all():
            raise _differs(where, row, f"{taken} places of {count}", str(best.places[row].tolist())[:100])
        order = np.sort(wanted.ranking_score[own])[::-1][:taken]
        scores = best.ranking_score[row, :taken]
        powers = wanted.schema.score.tasks or dict.fromkeys(wanted.schema.task_names, 1.0)
        share = 1 + sum(map(abs, powers.values()))  # a score sums up logits
        for said, right, part in (
            (scores, order, share),
            (scores, wanted.ranking_score[own][places], share),
            (best.logits[row, :taken], wanted.logits[own][places], 1.0),
        ):
            difference = float((np.abs(said - right) / np.maximum(1.0, np.abs(right))).max(initial=0.0)) / part
            if not difference <= TOLERANCE:
                raise _differs(where, row, f"within {TOLERANCE:g}", f"a difference of {difference:.2g}")
            worst = max(worst, difference)
        first += count
    return worst


def _differs(where: str, row: int, expected: str, found: str) -> DataError:
    return DataError(
        "A program for devices does not find the best candidates of its golden requests as the bundle does.",
        where=f"{where}, request {row}",
        expected=expected,
        found=found,
        remedy="Do not serve it. Export it again with this release, and report the model if that does not help.",
    )


@dataclass(frozen=True)
class _Rounded:
    """Stored vectors in the type of the device, or what is stored as it is: `StoredItems` of a bundle."""

    version: str
    key: str
    _stored: Any
    _type: str

    @classmethod
    def of(cls, found: DeviceTopK) -> _Rounded:
        return cls(found.version, found.stored.key, found.stored, found.program.type)

    def positions(self, keys: Values) -> Int64:
        found: Int64 = self._stored.positions(keys)
        return found

    def inputs(self, keys: Values) -> dict[str, npt.NDArray[Any]]:
        given: dict[str, npt.NDArray[Any]] = self._stored.inputs(keys)
        return {
            name: values.astype(self._type).astype(np.float32) if name == CANDIDATE else values
            for name, values in given.items()
        }
