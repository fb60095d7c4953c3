"""What a writer leaves that is killed in the middle is gone when the next one has taken the lock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from distill.data.build import build_dataset
from distill.files import remove_leftovers, remove_leftovers_below, temporary_sibling
from tests.data.test_content import Source
from tests.marks import slow_except

ROOT = Path(__file__).parents[2]
KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from distill import files
from distill.data.build import build_dataset
from distill.data.prepare.writer import PartWriter
from distill.signals import aligned
from distill.training.checkpoint_io import AtomicCheckpointIO
from tests.data.test_content import Source, score

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

what, root = sys.argv[1], Path(sys.argv[2])
if what == "raw":
    Source.write_raw = die
elif what == "prepare":
    PartWriter.close = die
elif what == "signals":
    dataset = build_dataset(Source(), root, progress=False)
    Path.replace = die
    score(dataset, root / "signals")
elif what == "checkpoint":
    torch.save = die
    AtomicCheckpointIO().save_checkpoint({"state_dict": {}}, root / "last.ckpt")
build_dataset(Source(), root, progress=False)
"""


def killed(what: str, root: Path) -> set[str]:
    """Runs a writer that is killed, and returns the hidden names that it leaves."""
    found = subprocess.run([sys.executable, "-c", KILLED, what, str(root)], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == -9, found.stderr
    return leftovers(root)


def leftovers(root: Path) -> set[str]:
    return {path.name for path in root.rglob(".*") if path.suffix != ".lock"}


@pytest.mark.parametrize(("what", "count"), slow_except([("raw", 1), ("prepare", 2)], ("prepare", 2)))
@pytest.mark.slow
def test_a_killed_preparation(tmp_path: Path, what: str, count: int) -> None:
    assert len(killed(what, tmp_path)) == count
    (tmp_path / ".shop-0123456789abc.raw-x").mkdir()  # of another dataset, whose name begins alike
    build_dataset(Source(), tmp_path, progress=False)
    assert leftovers(tmp_path) == {".shop-0123456789abc.raw-x"}
    killed_again = tmp_path / ".shop-0123456789ab.raw-y"
    killed_again.mkdir()
    build_dataset(Source(), tmp_path, progress=False)  # also where the dataset is there already
    assert not killed_again.exists()


@pytest.mark.slow
def test_a_killed_writer_of_signals(tmp_path: Path) -> None:
    assert len(killed("signals", tmp_path)) == 1
    (tmp_path / "signals" / "train" / "part-00009.parquet").touch()
    remove_leftovers_below(tmp_path / "signals")
    assert leftovers(tmp_path) == set()
    assert (tmp_path / "signals" / "train" / "part-00009.parquet").exists()


@pytest.mark.slow
def test_a_killed_writer_of_a_checkpoint(tmp_path: Path) -> None:
    assert len(killed("checkpoint", tmp_path)) == 1
    remove_leftovers(tmp_path / "last.ckpt")
    assert leftovers(tmp_path) == set()


def test_names_are_taken_as_they_are(tmp_path: Path) -> None:
    """A name with characters of a pattern stands for itself."""
    mine, other = temporary_sibling(tmp_path / "a[12]*"), temporary_sibling(tmp_path / "a1")
    mine.touch()
    other.touch()
    remove_leftovers(tmp_path / "a[12]*")
    assert list(tmp_path.iterdir()) == [other]
