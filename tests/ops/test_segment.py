from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax
from scipy.stats import rankdata

from distill.ops import segment

INDEX = torch.tensor([0, 0, 2, 2, 2, 5])
NUM_SEGMENTS = 7
EMPTY = [1, 3, 4, 6]
VALUES = torch.tensor([1.0, -2.0, 0.5, 4.0, 4.0, -7.0], dtype=torch.float64)

sizes_and_seed = st.tuples(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 2**31 - 1))


def _random(sizes, seed):
    """Rows with many ties, and the NumPy slices of their segments."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    values = torch.randint(-3, 4, (sum(sizes),), generator=generator).double()
    bounds = np.cumsum([0, *sizes])
    return values, index, [slice(a, b) for a, b in pairwise(bounds)]


def test_count_and_start_by_hand():
    assert segment.segment_count(INDEX, NUM_SEGMENTS).tolist() == [2, 0, 3, 0, 0, 1, 0]
    assert segment.segment_start(INDEX, NUM_SEGMENTS).tolist() == [0, 2, 2, 5, 5, 5, 6]


def test_reductions_by_hand():
    assert segment.segment_sum(VALUES, INDEX, NUM_SEGMENTS).tolist() == [-1.0, 0, 8.5, 0, 0, -7.0, 0]
    mean = segment.segment_mean(VALUES, INDEX, NUM_SEGMENTS)
    assert mean.tolist() == [-0.5, 0, 8.5 / 3, 0, 0, -7.0, 0]
    peak = segment.segment_max(VALUES, INDEX, NUM_SEGMENTS)
    inf = float("inf")
    assert peak.tolist() == [1.0, -inf, 4.0, -inf, -inf, -7.0, -inf]


@pytest.mark.parametrize("width", [(3,), (2, 3)])
def test_sum_and_mean_keep_further_dimensions(width, generator):
    values = torch.randn(6, *width, generator=generator)
    total = segment.segment_sum(values, INDEX, NUM_SEGMENTS)
    mean = segment.segment_mean(values, INDEX, NUM_SEGMENTS)
    assert total.shape == mean.shape == (NUM_SEGMENTS, *width)
    torch.testing.assert_close(total[2], values[2:5].sum(0))
    torch.testing.assert_close(mean[2], values[2:5].mean(0))
    assert total[EMPTY].abs().max() == mean[EMPTY].abs().max() == 0


@given(sizes_and_seed)
def test_log_softmax_equals_scipy(sizes_and_seed):
    values, index, slices = _random(*sizes_and_seed)
    actual = segment.segment_log_softmax(values, index, len(slices)).numpy()
    for rows in (rows for rows in slices if rows.stop > rows.start):
        np.testing.assert_allclose(actual[rows], log_softmax(values.numpy()[rows]), rtol=1e-10, atol=1e-12)


def test_softmax_sums_to_one_with_large_logits():
    softmax = segment.segment_log_softmax(1e4 * VALUES, INDEX, NUM_SEGMENTS).exp()
    total = segment.segment_sum(softmax, INDEX, NUM_SEGMENTS)
    np.testing.assert_allclose(total.numpy(), [1, 0, 1, 0, 0, 1, 0])
    assert softmax.tolist() == [1.0, 0.0, 0.0, 0.5, 0.5, 1.0]


@given(sizes_and_seed)
def test_rank_equals_scipy_with_ties_in_row_order(sizes_and_seed):
    scores, index, slices = _random(*sizes_and_seed)
    actual = segment.segment_rank(scores, index, len(slices))
    assert actual.dtype == torch.int64
    for rows in slices:
        expected = rankdata(-scores.numpy()[rows], method="ordinal") - 1
        assert actual[rows].tolist() == expected.tolist()


@given(sizes_and_seed)
def test_argsort_equals_lexsort(sizes_and_seed):
    scores, index, _ = _random(*sizes_and_seed)
    expected = np.lexsort((-scores.numpy(), index.numpy()))
    assert segment.segment_argsort(scores, index).tolist() == expected.tolist()


@pytest.mark.parametrize("function", [segment.segment_sum, segment.segment_mean, segment.segment_log_softmax])
def test_gradients_with_empty_segments(function, generator):
    values = torch.randn(6, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: function(x, INDEX, NUM_SEGMENTS), values)


def test_log_softmax_gradient_by_segment():
    values = VALUES.clone().requires_grad_()
    segment.segment_log_softmax(values, INDEX, NUM_SEGMENTS)[0].backward()
    softmax = VALUES[:2].softmax(0)
    torch.testing.assert_close(values.grad[:2], torch.tensor([1.0, 0.0]) - softmax)
    assert values.grad[2:].abs().max() == 0


@pytest.mark.filterwarnings("ignore:Anomaly Detection", "ignore:Error detected in")
def test_log_softmax_of_empty_segments_passes_anomaly_detection():
    values = VALUES.clone().requires_grad_()
    with torch.autograd.detect_anomaly(check_nan=True):
        segment.segment_log_softmax(values, INDEX, NUM_SEGMENTS)[0].backward()


@pytest.mark.parametrize("function", [segment.segment_sum, segment.segment_mean])
def test_no_rows_reduce_to_zero(function):
    assert function(torch.zeros(0), torch.zeros(0, dtype=torch.int64), 2).tolist() == [0.0, 0.0]


def test_no_rows_and_one_row():
    none, no_index = torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    assert segment.segment_log_softmax(none, no_index, 2).shape == (0,)
    assert segment.segment_rank(none, no_index, 2).shape == (0,)
    one = torch.zeros(1, dtype=torch.int64)
    assert segment.segment_log_softmax(torch.tensor([-3.0]), one, 1).tolist() == [0.0]
    assert segment.segment_rank(torch.tensor([-3.0]), one, 1).tolist() == [0]


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(7)
