"""The best candidates of many requests at a time, from raw values, on a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from distill.device.program import Run, device_of, load_program
from distill.device.proof import check_top_k
from distill.device.store import DeviceItems, Stored
from distill.encodings.arrow import Int64
from distill.errors import ConfigError, DataError
from distill.schema import Side
from distill.serving import Bundle, ItemVectors
from distill.serving.columns import Values, count_values
from distill.serving.inputs import POSITIONS, score_column_of
from distill.serving.item_features import ItemFeatures
from distill.serving.manifest import TopKProgram
from distill.serving.scores import Float32


@dataclass(frozen=True)
class Best:
    """The best candidates of R requests, the best first; of equal ones the first is before the others.

    Attributes:
        keys: Raw keys of each request, at most k.
        ranking_score: `[R, k]`; -∞ where a request has fewer candidates.
        places: Among the candidates of the request `[R, k]`; -1 where it has fewer.
        logits: `[R, k, K]`; -∞ where it has fewer.
    """

    keys: list[list[Any]]
    ranking_score: Float32
    places: Int64
    logits: Float32


@dataclass(frozen=True)
class DeviceTopK:
    """A bundle whose items are held on a device; made by `load` or `of`. One thread uses it at a time.

    Attributes:
        bundle: Encodes raw values.
        program: Which finds the best.
        device: Where it runs.
    """

    bundle: Bundle
    program: TopKProgram
    device: torch.device
    _stored: Stored
    _items: DeviceItems
    _run: Run

    @classmethod
    def load(
        cls,
        root: str | Path,
        device: str = "cpu",
        items: str | Path | None = None,
        compiled: bool = False,
        check: bool = True,
        trusted: bool = False,
    ) -> DeviceTopK:
        """Opens a bundle that was exported with `top_k`, and replays its golden requests on the device.

        Args:
            root: The folder that scripts/export.py wrote.
            device: `cpu` or `cuda`.
            items: Folder of stored items; those of the bundle if not given.
            compiled: Whether the program runs that AOTInductor compiled for this device.
            check: Whether files are compared with their hashes and golden requests are replayed.
            trusted: See `of`.

        Raises:
            ConfigError: See `of`.
            DataError: See `Bundle.load` and `of`; or the device says something else than the bundle.
        """
        found = cls.of(Bundle.load(root, items=items, check=check), device, compiled, trusted)
        if check:
            check_top_k(found)
        return found

    @classmethod
    def of(cls, bundle: Bundle, device: str = "cpu", compiled: bool = False, trusted: bool = False) -> DeviceTopK:
        """Puts the items of a bundle on a device.

        Args:
            bundle: With stored items.
            device: See `load`.
            compiled: See `load`.
            trusted: That whoever wrote the bundle may run code here: torch may run some when it reads its programs.

        Raises:
            ConfigError: There is no such device, or nobody said that the bundle is trusted.
            DataError: The bundle has no program of the best candidates, none for this device, or no stored items.
        """
        if not trusted:
            raise ConfigError(
                "The program of a bundle may run code when torch reads it.",
                where="trusted",
                expected="true, for a bundle of your own",
                found="false",
                remedy="Pass trusted=True, or use distill.serving.Bundle, which runs no code from a bundle.",
            )
        place, program, items = device_of(device), bundle.manifest.top_k, bundle.items
        if program is None:
            raise _lacks(bundle, "The bundle has no program of the best candidates.")
        if not isinstance(items, ItemVectors | ItemFeatures):
            raise _lacks(bundle, "The bundle has no stored items.")
        run = load_program(bundle.root, program, place, compiled)
        held = DeviceItems.of(items, bundle.schema, program, place)
        return cls(bundle, program, place, items, held, run)

    @property
    def version(self) -> str:
        """Hash of weights and encodings."""
        return self.bundle.version

    @property
    def stored(self) -> Stored:
        """The items, as they are on disk."""
        return self._stored

    @property
    def item_bytes(self) -> int:
        """Bytes that the items take on the device."""
        return self._items.nbytes

    def top_k(
        self,
        requests: Mapping[str, Values] | Sequence[Mapping[str, Any]],
        items: Sequence[Values],
        candidates: Mapping[str, Values] | pa.Table | None = None,
        k: int | None = None,
    ) -> Best:
        """Returns the best candidates of R requests.

        Args:
            requests: Raw column to the values of the requests `[R]`; or a raw row for each.
            items: Raw keys of the candidates of each request.
            candidates: Raw column to the values of all candidates, request by request: of the fields of the pair and of
                the ranking score, where the model reads any.
            k: How many, at most those of the program; all of those if not given.

        Raises:
            DataError: A column is missing or does not hold what its field says, nothing is stored of an item, or k is
                none that the program has.
        """
        best = self._checked(k)
        lists = [_as_list(keys, row) for row, keys in enumerate(items)]
        found = self.run(self.encode(requests, lists, candidates)) if any(lists) else self._empty(len(lists))
        scores, places, logits = found
        chosen = places[:, :best]
        keys = [[own[place] for place in row if place >= 0] for own, row in zip(lists, chosen.tolist(), strict=True)]
        return Best(keys, scores[:, :best], chosen, logits[:, :best])

    def _checked(self, k: int | None) -> int:
        if k is None:
            return self.program.k
        if 0 < k <= self.program.k:
            return k
        raise DataError(
            "The program does not return that many candidates.",
            where="k",
            expected=f"1 to {self.program.k}",
            found=f"{k}",
            remedy=f"Export the bundle with top_k={k}." if k > 0 else "Ask for one at least.",
        )

    def encode(
        self,
        requests: Mapping[str, Values] | Sequence[Mapping[str, Any]],
        items: Sequence[list[Any]],
        candidates: Mapping[str, Values] | pa.Table | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Returns what the program is fed beside the items: see `top_k`; some request has candidates."""
        counts = np.array(list(map(len, items)), np.int64)
        number, bundle = int(counts.sum()), self.bundle
        keys = bundle.encoder.item_keys(list(chain.from_iterable(items)), self._stored.key)
        positions = self._stored.known_positions(keys)
        there = np.arange(int(counts.max())) < counts[:, None]
        request = self._columns(requests, len(counts))
        index = np.repeat(np.arange(len(counts)), counts)
        of_pair = bundle.encoder.pairs(request, len(counts), candidates, index)
        columns = bundle.encoder.score_columns(candidates, number)
        padded = _spread(positions, there, -1)
        return {
            **bundle.encoder.side(Side.REQUEST, request, len(counts)),
            **{name: _spread(values, there, 0) for name, values in of_pair.items()},
            **{score_column_of(name): _spread(values, there, 1) for name, values in columns.items()},
            POSITIONS: padded,
            **self._items.for_positions(padded),
        }

    def _columns(self, requests: Mapping[str, Values] | Sequence[Mapping[str, Any]], rows: int) -> Mapping[str, Values]:
        if isinstance(requests, Mapping):
            return requests
        if len(requests) != rows:
            raise DataError("There is one list of items for each request.", where="items",
                            expected=f"{len(requests)}", found=f"{rows}")  # fmt: skip
        found: dict[str, Values] = {}
        for name in self.bundle.encoder.request_columns:
            if lacking := [number for number, row in enumerate(requests) if name not in row]:
                raise DataError(
                    "A raw column is missing.",
                    where=f"request {lacking[0]}, column {name!r}",
                    found=", ".join(requests[lacking[0]]) or "none",
                    remedy="Give the column; a value that is not known is null.",
                )
            found[name] = [row[name] for row in requests]
        return found

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> tuple[Float32, Int64, Float32]:
        """Runs the program on what `encode` returned.

        Returns:
            Ranking scores, places and logits, as in `Best`.
        """
        tensors = {
            name: torch.from_numpy(np.require(inputs[name], requirements=["C", "W"])).to(self.device)
            for name in self.program.inputs
            if name in inputs
        }
        with torch.inference_mode():
            given = (tensors[name] if name in tensors else self._items.tensors[name] for name in self.program.inputs)
            scores, places, logits = (tensor.cpu().numpy() for tensor in self._run(*given))
        return scores, places, logits

    def _empty(self, rows: int) -> tuple[Float32, Int64, Float32]:
        shape, tasks = (rows, self.program.k), len(self.bundle.schema.tasks)
        scores = np.full(shape, -np.inf, np.float32)
        return scores, np.full(shape, -1, np.int64), np.full((*shape, tasks), -np.inf, np.float32)


def _lacks(bundle: Bundle, problem: str) -> DataError:
    return DataError(problem, where=str(bundle.root), remedy="Export it with top_k=K and items=FILE.")


def _as_list(keys: Values, row: int) -> list[Any]:
    count_values(keys, f"items, request {row}")
    if isinstance(keys, pa.Array | pa.ChunkedArray):
        return list(keys.to_pylist())
    return keys if isinstance(keys, list) else list(keys)


def _spread(values: npt.NDArray[Any], there: npt.NDArray[np.bool_], padding: int) -> npt.NDArray[Any]:
    """Returns values of all candidates `[sum, …]` by request `[R, N, …]`."""
    out = np.full((*there.shape, *values.shape[1:]), padding, values.dtype)
    out[there] = values
    return out
