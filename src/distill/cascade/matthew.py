"""How the exposures of a round are spread over items: the Matthew effect, the tail, new items."""

from __future__ import annotations

import math

from torch import Tensor

from distill.metrics.functional.inequality import gini

_TOPS = {"top_1_percent": 0.01, "top_10_percent": 0.1}


def spread(exposures: Tensor, candidates: Tensor, arrived: int, tail: Tensor, before: int) -> dict[str, float]:
    """Measures a round.

    Args:
        exposures: Of each item `[I]`; of items that have not arrived it is 0.
        candidates: How often each was a candidate `[I]`.
        arrived: Items that were there, the first ones.
        tail: `[I]` bool, items of the tail before the loop began.
        before: Items that were there before the loop began, the first ones; later ones are new.

    Returns:
        `gini` of the exposures of items that were there; `top_1_percent` and `top_10_percent`, the share of exposures
        that the most shown items of that share have; `coverage`, the share of items that were shown at all; `tail` and
        `new`, their shares of the exposures; `new_lift`, exposures per candidacy of new items over those of all: 1 if a
        new item that is a candidate is shown as often as another (NaN without new candidates).

    Reference:
        Of the Matthew effect as inequality of exposure: Gini as in Fleder and Hosanagar, Blockbuster culture's next
        rise or fall, Management Science 2009.
    """
    own = exposures[:arrived].double()
    total = float(own.sum())
    ordered = own.sort(descending=True).values
    found = {"gini": float(gini(own))}
    found |= {name: float(ordered[: math.ceil(share * arrived)].sum()) / total for name, share in _TOPS.items()}
    found["coverage"] = float((own > 0).double().mean())
    found["tail"] = float(own[tail[:arrived]].sum()) / total
    found["new"] = float(own[before:].sum()) / total
    new = float(candidates[before:].sum())
    rate = total / float(candidates.sum())
    found["new_lift"] = float(own[before:].sum()) / new / rate if new else math.nan
    return found
