"""Softmax of a positive against the other positives of the batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from distill.losses.functional.chunks import by_rows


def sampled_softmax(
    request: Tensor, item: Tensor, item_id: Tensor, request_id: Tensor, log_q: Tensor, real: Tensor | None = None
) -> Tensor:
    """Computes ``-log softmax_j(u_i·v_j - log q_j)_i`` over the items of all rows; each row is a positive.

    Row j is left out of row i's softmax if it is an accidental hit: the same item, or an item that is a positive of the
    same request. Gradient path: to both vectors. Scores are computed for some rows at a time, again in the backward
    pass: the time grows with P², the memory with P.

    Args:
        request: Vectors u `[P, D]`.
        item: Vectors v `[P, D]`.
        item_id: Item of each row `[P]`.
        request_id: Request of each row `[P]`.
        log_q: Logarithm of the item's probability of being in a batch `[P]`.
        real: Which rows are positives `[P]` bool, the others behind them with a request of their own; None if all are.
            With it, nothing is asked of a device, and the ids of requests are sorted.

    Returns:
        `[P]`; 0 for a row without anything to compare with.

    Reference:
        Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019,
        eq. 3 to 5.
    """
    log_q = log_q.detach()
    positives_of, of_item = _looked_up(item_id, request_id) if real is None else _laid_out(item_id, request_id)

    def values(own: Tensor, vectors: Tensor) -> Tensor:
        scores = vectors @ item.T - log_q
        hits = positives_of(own).index_select(1, of_item)
        hits = (hits if real is None else hits | ~real).scatter_(1, own.unsqueeze(1), False)
        scores = scores.masked_fill(hits, -torch.inf)
        return scores.logsumexp(dim=1) - scores.gather(1, own.unsqueeze(1)).squeeze(1)

    rows = torch.arange(request.shape[0], device=request.device)
    return by_rows(values, (rows, request), elements=request.shape[0])


_PositivesOf = Callable[[Tensor], Tensor]
"""Rows `[b]` to which items are positives of their requests `[b, I]` bool."""


def _looked_up(item_id: Tensor, request_id: Tensor) -> tuple[_PositivesOf, Tensor]:
    items, of_item = torch.unique(item_id, return_inverse=True)
    requests, of_request = torch.unique(request_id, return_inverse=True)

    def positives_of(own: Tensor) -> Tensor:
        return _items_of(of_request[own], of_request, of_item, requests.shape[0], items.shape[0])

    return positives_of, of_item


def _laid_out(of_item: Tensor, request_id: Tensor) -> tuple[_PositivesOf, Tensor]:
    """The same for items that are numbers below P, and sorted requests, of which neighbouring rows have neighbouring
    ones."""
    count = of_item.shape[0]
    of_request = torch.zeros_like(request_id)
    of_request[1:] = (request_id[1:] != request_id[:-1]).cumsum(0)

    def positives_of(own: Tensor) -> Tensor:
        place = of_request - of_request.index_select(0, own[:1])
        place = torch.where((place >= 0) & (place < own.shape[0]), place, own.shape[0])  # others share a row
        table = torch.zeros((own.shape[0] + 1) * count, dtype=torch.bool, device=own.device)
        table = table.scatter_(0, place * count + of_item, True).view(-1, count)
        return table.index_select(0, place.index_select(0, own))

    return positives_of, of_item


def _items_of(wanted: Tensor, of_request: Tensor, of_item: Tensor, num_requests: int, num_items: int) -> Tensor:
    """Says which items are positives of some requests `[b]`: `[b, I]` bool."""
    distinct, place = torch.unique(wanted, return_inverse=True)
    position = torch.full((num_requests,), -1, device=wanted.device)
    position[distinct] = torch.arange(distinct.shape[0], device=wanted.device)
    (rows,) = (position[of_request] >= 0).nonzero(as_tuple=True)
    table = torch.zeros(distinct.shape[0], num_items, dtype=torch.bool, device=wanted.device)
    table[position[of_request[rows]], of_item[rows]] = True
    return table.index_select(0, place)
