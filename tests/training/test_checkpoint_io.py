from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.errors import DataError
from distill.training.checkpoint_io import AtomicCheckpointIO, read_checkpoint


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a" / "x.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"w": torch.ones(2)}, "epoch": 3}, path)
    found = read_checkpoint(path)
    assert found["epoch"] == 3
    assert torch.equal(found["state_dict"]["w"], torch.ones(2))
    assert [p.name for p in path.parent.iterdir()] == ["x.ckpt"]


def test_a_failed_write_keeps_the_previous_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state_dict": {}, "epoch": 1}, path)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"No space left.*\n.*Free some space"):
        AtomicCheckpointIO().save_checkpoint({"state_dict": {}, "epoch": 2}, path)
    monkeypatch.undo()
    assert read_checkpoint(path)["epoch"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["x.ckpt"]


class _Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_loading_executes_no_code(tmp_path: Path, writer: str) -> None:
    trap, path = tmp_path / "trap", tmp_path / "x.ckpt"
    content = {"state_dict": {}, "callbacks": _Malicious(trap)}
    if writer == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match="more than tensors"):
        read_checkpoint(path)
    assert not trap.exists()


def test_missing_truncated_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    with pytest.raises(DataError, match="does not exist"):
        read_checkpoint(path)
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"w": torch.ones(99)}}, path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="damaged"):
        read_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(DataError, match="not a training checkpoint"):
        read_checkpoint(path)
