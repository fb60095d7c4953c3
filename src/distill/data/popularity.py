"""How often items were exposed in the training split: what bands of popularity and random negatives go by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from distill.batch import MISSING_KEY, Stage
from distill.data.checked_file import CheckedFile
from distill.data.checksums import FileChecksums
from distill.data.format import ITEM_KEY, STAGE, Dataset
from distill.errors import ConfigError


@dataclass(frozen=True)
class ItemExposures:
    """Exposures of the items of a training split.

    Attributes:
        item_id: `[M]` int64, ascending, distinct.
        count: `[M]` int64, how often each was exposed, at least 1; candidates whose item is not known are left out.
    """

    item_id: Tensor
    count: Tensor

    def of(self, item_id: Tensor) -> Tensor:
        """Returns the exposures of `item_id [N]`: `[N]` int64, 0 for items that were never exposed."""
        if self.item_id.numel() == 0:
            return torch.zeros_like(item_id)
        place = torch.searchsorted(self.item_id, item_id).clamp_(max=self.item_id.numel() - 1)
        return torch.where(self.item_id[place] == item_id, self.count[place], 0)

    def bands(self, shares: tuple[float, ...]) -> tuple[int, ...]:
        """Divides items into bands that hold given shares of all exposures.

        Args:
            shares: Ascending cumulative shares in (0, 1), most popular items first: (.5, .8) makes three bands.

        Returns:
            The least count of each band but the last, descending; items of equal count are in one band.

        Raises:
            ConfigError: The shares do not ascend within (0, 1).
        """
        if any(not low < high for low, high in zip((0.0, *shares), (*shares, 1.0), strict=True)):
            raise ConfigError(
                "The bounds of the popularity bands are wrong.",
                where="metrics.metrics.*.shares",
                expected="ascending shares between 0 and 1, such as [0.5, 0.8]",
                found=str(list(shares)),
            )
        count = self.count.sort(descending=True).values
        before = count.cumsum(0) - count
        total = int(count.sum())
        return tuple(int(count[before < share * total][-1]) if total else 1 for share in shares)

    def band_of(self, item_id: Tensor, least: Sequence[int] | Tensor) -> Tensor:
        """Returns the band of each item `[N]` int64: 0 the most popular; what was never exposed is in the last.

        Args:
            item_id: `[N]`.
            least: What `bands` found.
        """
        bounds = torch.as_tensor(least, dtype=torch.int64, device=item_id.device)
        return (self.of(item_id).unsqueeze(1) < bounds).sum(1)


def item_exposures(dataset: Dataset) -> ItemExposures:
    """Counts the exposures of every item in the training split, once per dataset and process."""
    parts = dataset.parts("train")
    return _count(tuple((dataset.root / part.path, dataset.checksums(part)) for part in parts))


@lru_cache(maxsize=4)
def _count(files: tuple[tuple[Path, FileChecksums | None], ...]) -> ItemExposures:
    found: dict[int, int] = {}
    for path, checksums in files:
        for table in CheckedFile.open(path, checksums).tables([ITEM_KEY, STAGE]):
            items, stage = (_flat(table.column(name)) for name in (ITEM_KEY, STAGE))
            exposed = items.filter(pc.equal(stage, int(Stage.EXPOSED)))
            for entry in pc.value_counts(exposed).to_pylist():
                found[entry["values"]] = found.get(entry["values"], 0) + entry["counts"]
    found.pop(MISSING_KEY, None)
    ids = np.fromiter(sorted(found), dtype=np.int64, count=len(found))
    counts = np.fromiter((found[int(i)] for i in ids), dtype=np.int64, count=len(found))
    return ItemExposures(torch.from_numpy(ids), torch.from_numpy(counts))


def _flat(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    return array.flatten() if pa.types.is_list(array.type) else array
