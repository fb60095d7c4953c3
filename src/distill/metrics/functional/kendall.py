"""Agreement of two orders of the same candidates: Kendall's τ-b and the inversion rate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distill.metrics.functional.reduce import PerRequest, sum_of_each
from distill.metrics.functional.requests import KEY_BITS, Requests
from distill.metrics.functional.ties import TiedRanks, blocks_of, sort_integers, tied_ranks


@dataclass(frozen=True)
class PairCounts:
    """Pairs of candidates of each request, by how two orders see them.

    Attributes:
        pairs: `[R]` float64, all pairs.
        student_ties: `[R]` float64, pairs that the student ties (and the reference perhaps too).
        reference_ties: `[R]` float64, pairs that the reference ties.
        both_ties: `[R]` float64, pairs that both tie.
        discordant: `[R]` float64, pairs that the two order strictly and oppositely.
    """

    pairs: Tensor
    student_ties: Tensor
    reference_ties: Tensor
    both_ties: Tensor
    discordant: Tensor

    def tau_b(self) -> PerRequest:
        """Kendall's τ-b.

        τ_b = (C − D) / √((pairs − student ties) · (pairs − reference ties)), C concordant and D discordant pairs.

        Returns:
            `[R]` values in [−1, 1]; requests of which one order ties all candidates (or that have one candidate only)
            are not used.

        Reference:
            Kendall, The treatment of ties in ranking problems, Biometrika 1945.
        """
        untied = self.pairs - self.student_ties - self.reference_ties + self.both_ties
        by_student = self.pairs - self.student_ties
        by_reference = self.pairs - self.reference_ties
        tau = (untied - 2 * self.discordant) / (by_student * by_reference).sqrt()
        return PerRequest.of(tau.clamp(-1, 1), (by_student > 0) & (by_reference > 0))

    def inversion_rate(self) -> PerRequest:
        """Share of the pairs that the reference orders strictly which the student orders the other way, ties ½.

        Returns:
            `[R]` values in [0, 1], ½ for a student that does not order at all; requests without such a pair are not
            used.
        """
        ordered = self.pairs - self.reference_ties
        half = 0.5 * (self.student_ties - self.both_ties)
        return PerRequest.of((self.discordant + half) / ordered, ordered > 0)


def count_pairs(student: Tensor, reference: Tensor, index: Tensor, num_requests: int) -> PairCounts:
    """Counts concordant, discordant and tied pairs of every request, exactly, in O(N log N).

    Args:
        student: `[N]` scores.
        reference: `[N]` scores of the same candidates.
        index: `[N]` int64, sorted, in `0..R-1`.
        num_requests: R.

    Returns:
        The counts of each request; see `count_pairs_of`.

    Raises:
        DataError: If a score is NaN, the shapes differ, or `index` is not sorted.
    """
    requests = Requests(index, num_requests)
    first, second = (tied_ranks(scores, index, num_requests, requests) for scores in (student, reference))
    return count_pairs_of(first, second, requests)


def count_pairs_of(student: TiedRanks, reference: TiedRanks, requests: Requests) -> PairCounts:
    """Counts the pairs of two orders of the same candidates.

    Knight's algorithm, with the inversions counted bit by bit: rows are sorted by student score and carry the rank of
    the reference score; a pair is inverted at the highest bit in which the two ranks differ.

    Args:
        student: Ranks of the N candidates.
        reference: Ranks of the same candidates.
        requests: Theirs.

    Returns:
        The counts of each request.

    Reference:
        Knight, A computer method for calculating Kendall's tau with ungrouped data, JASA 1966.
    """
    size = requests.size.to(torch.float64)
    key, bits = _sorted_by_both(student, reference, requests)
    same = torch.zeros_like(key)
    same[1:] = key[1:] == key[:-1]
    twins = (1 - same).cumsum_(0).sub_(1)
    both_ties = _tied_pairs(torch.bincount(twins)[twins], requests)
    discordant = _inversions(key & ((1 << bits) - 1), requests)
    student_ties, reference_ties = (_tied_pairs(ranks.tied, requests) for ranks in (student, reference))
    return PairCounts(size * (size - 1) / 2, student_ties, reference_ties, both_ties, discordant)


def _sorted_by_both(student: TiedRanks, reference: TiedRanks, requests: Requests) -> tuple[Tensor, int]:
    """Sorts the candidates of each request by both, the student first.

    Returns:
        An integer for each sorted row `[N]`, with the reference's rank from below in its lowest bits: rows have the
        same one if they are of one request and both tie them. And how many bits these are.
    """
    bits = requests.place_bits
    below = (
        requests.size.index_select(0, requests.index) - ranks.better - ranks.tied for ranks in (student, reference)
    )
    by_student, by_reference = below
    first = (requests.index << bits).bitwise_or_(by_student)
    if requests.num_requests.bit_length() + 2 * bits <= KEY_BITS:
        return sort_integers((first << bits).bitwise_or_(by_reference)), bits
    order = by_reference.argsort(stable=True)
    order = order[first[order].argsort(stable=True)]
    runs = blocks_of(first[order])
    return (runs << bits).bitwise_or_(by_reference[order]), bits


def _tied_pairs(tied: Tensor, requests: Requests) -> Tensor:
    """Pairs within ties `[R]`, from the size of the tie of each row."""
    return sum_of_each((tied - 1).to(torch.float64) / 2, requests.index, requests.num_requests)


def _inversions(code: Tensor, requests: Requests) -> Tensor:
    """Counts the pairs i < j of a request with code_i > code_j `[R]` float64, `code [N]` being non-negative integers.

    From the highest bit down, rows that agree in all higher bits lie together, in their first order: a 1 before a 0
    there is an inversion. Then zeros and ones are parted, stably, for the next bit.
    """
    index, num_requests = requests.index, requests.num_requests
    count = torch.zeros(num_requests, dtype=torch.float64, device=code.device)
    if code.numel() == 0:
        return count
    start = requests.start_of_row
    stop = requests.stop.index_select(0, index)
    position = torch.arange(code.numel(), device=code.device)
    for shift in reversed(range(int(code.max()).bit_length())):
        bit = (code >> shift) & 1
        ones = torch.cat([bit.new_zeros(1), bit.cumsum(0)])
        ones_before = ones[position] - ones[start]
        count += sum_of_each(((1 - bit) * ones_before).to(torch.float64), index, num_requests)
        first_one = stop - (ones[stop] - ones[start])
        target = torch.where(bit == 1, first_one + ones_before, position - ones_before)
        code, start, stop = _move(
            target, code, torch.where(bit == 1, first_one, start), torch.where(bit == 1, stop, first_one)
        )
    return count


def _move(target: Tensor, *columns: Tensor) -> list[Tensor]:
    """Puts row i of each column at `target[i]`."""
    return [torch.empty_like(column).scatter_(0, target, column) for column in columns]
