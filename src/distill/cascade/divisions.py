"""Candidates divided by popularity of the item, activity of the user, and how far the log's cascade let them."""

from __future__ import annotations

import torch
from torch import Tensor

from distill.batch import MISSING_KEY, Stage
from distill.cascade.measures import Division
from distill.data.popularity import ItemExposures
from distill.metrics.long_tail import BANDS
from distill.metrics.rows import ScoredRows

_BAND_SHARES = (0.5, 0.8)
_ACTIVITY = ("busy", "middle", "seldom")
_ACTIVITY_SHARES = (1 / 3, 2 / 3)


def divisions(rows: ScoredRows, index: Tensor, exposures: ItemExposures | None) -> dict[str, Division]:
    """Returns the divisions that the rows have.

    - `popularity`: head, torso and tail, as in `PopularityBands`, by exposures in the training split.
    - `activity`: busy, middle and seldom users, each of about a third of the requests measured.
    - `stage`: how far the cascade that wrote the log let the candidate.

    Args:
        rows: A canonical table.
        index: Request of each row `[N]`.
        exposures: Of the items; None if they are not known.
    """
    found = {}
    if exposures is not None and exposures.item_id.numel():
        found["popularity"] = _by_popularity(rows.item_id, exposures)
    if not bool((rows.user_id == rows.request_id).all()):
        found["activity"] = _by_activity(rows.user_id, index)
    if bool((rows.stage != rows.stage[0]).any()):
        found["stage"] = Division(rows.stage.clone(), [stage.name.lower() for stage in sorted(Stage)])
    return found


def _by_popularity(item_id: Tensor, exposures: ItemExposures) -> Division:
    code = exposures.band_of(item_id, exposures.bands(_BAND_SHARES))
    return Division(code.masked_fill(item_id == MISSING_KEY, -1), BANDS)


def _by_activity(user_id: Tensor, index: Tensor) -> Division:
    first = torch.ones_like(index, dtype=torch.bool)
    first[1:] = index[1:] != index[:-1]
    users, requests = torch.unique(user_id[first & (user_id != MISSING_KEY)], return_counts=True)
    made = ItemExposures(users, requests)
    code = made.band_of(user_id, made.bands(_ACTIVITY_SHARES))
    return Division(code.masked_fill(user_id == MISSING_KEY, -1), _ACTIVITY)
