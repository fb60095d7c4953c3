"""Arrays that are written piece by piece."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from distill.export.npy import NpyWriter


def test_npy_files_grow(tmp_path: Path) -> None:
    with NpyWriter(tmp_path / "x.npy", (2, 3), np.float16) as writer:
        for size in (0, 4, 1):
            writer.append(np.full((size, 2, 3), size, np.float16))
    found = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert found.shape == (5, 2, 3)
    assert found.sum() == 6 * (4 * 4 + 1)
