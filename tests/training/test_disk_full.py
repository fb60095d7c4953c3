"""A file that may not grow (RLIMIT_FSIZE) stands for a full disk: the writers see the same failing write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.marks import some_fast
from tests.patience import patience

_CHECKPOINT = """
import sys, torch
from pathlib import Path
from distill.errors import DataError
from distill.training.checkpoint_io import AtomicCheckpointIO, read_checkpoint
path = Path(sys.argv[1]) / "x.ckpt"
AtomicCheckpointIO().save_checkpoint({"state_dict": {"w": torch.ones(2)}, "epoch": 1}, path)
limit(100_000)
try:
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"w": torch.ones(99_999)}, "epoch": 2}, path)
except DataError as error:
    assert "room for about 399,996 bytes" in str(error), error
    assert "bytes are free" in str(error), error
    assert str(path) in str(error), error
else:
    raise AssertionError("no error")
assert read_checkpoint(path)["epoch"] == 1
assert [p.name for p in path.parent.iterdir()] == ["x.ckpt"]
"""
_FOLDER = """
import sys, numpy as np, pyarrow as pa, pyarrow.parquet as pq
from pathlib import Path
from distill.files import atomic_directory
from distill.errors import DataError
path = Path(sys.argv[1]) / "dataset"
table = pa.table({"x": np.random.default_rng(0).random(99_999)})
limit(100_000)
try:
    with atomic_directory(path) as beside:
        pq.write_table(table, beside / "part.parquet")
except DataError as error:
    assert "no room" in str(error) and str(path) in str(error), error
else:
    raise AssertionError("no error")
assert list(path.parent.iterdir()) == []
"""
_LIMIT = """
import resource
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
"""


@pytest.mark.parametrize("script", some_fast([_CHECKPOINT, _FOLDER], 2), ids=["checkpoint", "folder"])
@pytest.mark.slow
def test_no_room_is_one_clear_error_and_leaves_nothing(tmp_path: Path, script: str) -> None:
    command = [sys.executable, "-c", _LIMIT + script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patience(), check=False)
    assert done.returncode == 0, done.stderr
