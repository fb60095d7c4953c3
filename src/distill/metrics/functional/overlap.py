"""Overlap of the student's top-k with the top-m of a reference order."""

from __future__ import annotations

from distill.metrics.functional.reduce import PerRequest, sum_of_each
from distill.metrics.functional.ties import TiedRanks
from distill.metrics.functional.topk import membership


def overlap_per_request(student: TiedRanks, reference: TiedRanks, k: int, m: int) -> PerRequest:
    """Share of the reference's top-m that the student's top-k holds, on the same candidates.

    recall@(k, m) = |student top-k ∩ reference top-m| / min(m, size of the request)
                  = Σ_i P_student(i in top-k) · P_reference(i in top-m) / min(m, size),

    expected when each order breaks its ties at random and independently. The best value is min(1, k/m).

    Where the student's top-k is the whole request (size ≤ k) the overlap is 1 whatever the student does: such requests
    are not used.

    Args:
        student: Ranks of N candidates in R requests.
        reference: Ranks of the same candidates by the teacher or a column; rows without a reference must have been
            left out of both.
        k: How many the student passes on.
        m: How many of the reference's best are wanted.

    Returns:
        `[R]` values; requests with no more than k candidates are not used.

    Raises:
        ConfigError: If `k` or `m` is not positive.

    Reference:
        Wang et al., COLD: Towards the Next Generation of Pre-Ranking System, 2020, arXiv:2007.16122 (recall of the
        ranker's top in the pre-ranker's top).
    """
    both = membership(student, k) * membership(reference, m)
    size = student.request_size()
    shared = sum_of_each(both, student.index, student.num_requests)
    return PerRequest.of(shared / size.clamp(max=m), size > k)
