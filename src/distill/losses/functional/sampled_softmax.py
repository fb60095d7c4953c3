"""Softmax of a positive against the other positives of the batch."""

from __future__ import annotations

import torch
from torch import Tensor


def sampled_softmax(request: Tensor, item: Tensor, item_id: Tensor, request_id: Tensor, log_q: Tensor) -> Tensor:
    """Computes ``-log softmax_j(u_i·v_j - log q_j)_i`` over the items of all rows; each row is a positive.

    Row j is left out of row i's softmax if it is an accidental hit: the same item, or an item that is a positive of the
    same request. Gradient path: to both vectors.

    Args:
        request: Vectors u `[P, D]`.
        item: Vectors v `[P, D]`.
        item_id: Item of each row `[P]`.
        request_id: Request of each row `[P]`.
        log_q: Logarithm of the item's probability of being in a batch `[P]`.

    Returns:
        `[P]`; 0 for a row without anything to compare with.

    Reference:
        Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019,
        eq. 3 to 5.
    """
    scores = request @ item.T - log_q.detach()
    same_item = item_id.unsqueeze(1) == item_id.unsqueeze(0)
    same_request = request_id.unsqueeze(1) == request_id.unsqueeze(0)
    positives_of_request = (same_request.to(scores.dtype) @ same_item.to(scores.dtype)) > 0
    itself = torch.eye(scores.shape[0], dtype=torch.bool, device=scores.device)
    scores = scores.masked_fill((same_item | positives_of_request) & ~itself, -torch.inf)
    return -scores.log_softmax(dim=1).diagonal()
