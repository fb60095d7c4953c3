"""What preparation as a whole promises: fitted on train, the same bytes again, bars that name its passes."""

from pathlib import Path

import pytest

from distill.data.format import SPLITS
from distill.data.prepare import prepare
from distill.data.raw import RawDataset
from distill.data.split import RandomSplit
from tests.data.prepare.builders import BY_COLUMN, pairs, prepare_quietly, schema_of, write


def test_fits_on_train_only(tmp_path: Path) -> None:
    """Whatever val and test hold, the encodings are the same."""
    one = prepare_quietly(write(tmp_path / "a.parquet", pairs()), tmp_path / "one")
    changed = pairs(price=[1.0, 3.0, 1.0, 3.0, 2.0, -50.0, 9.0], item=[10, 11, 10, 12, 10, 7, 7])
    two = prepare_quietly(write(tmp_path / "b.parquet", changed), tmp_path / "two")
    assert one.manifest.encodings == two.manifest.encodings
    assert one.fingerprint != two.fingerprint


def test_same_input_same_bytes(tmp_path: Path) -> None:
    raw = write(tmp_path / "a.parquet", pairs())
    one, two = (prepare_quietly(raw, tmp_path / name) for name in ("one", "two"))
    files = sorted(p.relative_to(one.root) for p in one.root.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(two.root) for p in two.root.rglob("*") if p.is_file())
    assert all((one.root / f).read_bytes() == (two.root / f).read_bytes() for f in files)


def test_random_split_shares_and_seed(tmp_path: Path) -> None:
    columns = {"rid": list(range(1000)), "uid": [1] * 1000, "item": [1] * 1000, "price": [1.0] * 1000}
    raw = write(tmp_path / "a.parquet", {**columns, "click": [0] * 1000})
    dataset = prepare_quietly(raw, tmp_path / "out", split=RandomSplit(0.2, 0.1, seed=3))
    sizes = [dataset.manifest.counts[f"requests/{split}"] for split in SPLITS]
    assert sum(sizes) == 1000
    assert abs(sizes[1] - 200) < 60
    assert abs(sizes[2] - 100) < 45
    other = prepare_quietly(raw, tmp_path / "other", split=RandomSplit(0.2, 0.1, seed=4))
    assert other.fingerprint != dataset.fingerprint


def test_bars_name_the_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = RawDataset((write(tmp_path / "a.parquet", pairs()),), schema_of(), BY_COLUMN)
    prepare(raw, tmp_path / "out")
    shown = capsys.readouterr().err
    assert all(name in shown for name in ("spread rows", "group rows", "fit encodings", "write splits", "rows/s"))
