"""Vectors in fewer bits, by hand."""

from __future__ import annotations

import numpy as np

from distill.export.quantise import overlap_of_best, restored, store_as


def test_int8_by_hand() -> None:
    vectors = np.asarray([[[1.27, -0.635, 0.0]], [[0.0, 0.0, 0.0]]], np.float32)
    stored, scales = store_as(vectors, "int8")
    assert stored.tolist() == [[[127, -64, 0]], [[0, 0, 0]]]
    assert scales is not None
    np.testing.assert_allclose(scales.ravel(), [0.01, 0.0], atol=1e-9)
    np.testing.assert_allclose(restored(stored, scales)[0, 0], [1.27, -0.64, 0.0], atol=1e-6)


def test_overlap_of_the_best_by_hand() -> None:
    exact = np.asarray([[4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]], np.float32)
    other = np.asarray([[4.0, 1.0, 3.0, 2.0], [1.0, 2.0, 3.0, 4.0]], np.float32)
    assert overlap_of_best(exact, other, 2) == 0.75
    assert overlap_of_best(exact, other, 9) == 1.0
