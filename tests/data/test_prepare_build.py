from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from distill.data.build import build_dataset, dataset_folder
from distill.data.raw import RawDataset
from distill.errors import DataError
from tests.data.prepare.builders import BY_COLUMN, pairs, schema_of, write


@dataclass
class Source:
    """Counts how often its raw files are written."""

    version: str = "0123456789abcdef"
    broken: bool = False
    written: list[Path] = field(default_factory=list)

    @property
    def name(self) -> str:
        return "tiny"

    def fingerprint(self) -> str:
        return self.version

    def write_raw(self, directory: Path) -> RawDataset:
        self.written.append(directory)
        columns = pairs(click=[5] * 7) if self.broken else pairs()
        return RawDataset((write(directory / "raw.parquet", columns),), schema_of(), BY_COLUMN)


def test_is_prepared_once(tmp_path: Path) -> None:
    source = Source()
    first = build_dataset(source, tmp_path, progress=False)
    second = build_dataset(source, tmp_path, progress=False)
    assert first.root == tmp_path / "tiny-0123456789ab" == dataset_folder(source, tmp_path)
    assert second.manifest == first.manifest
    assert len(source.written) == 1
    assert not source.written[0].exists()
    build_dataset(Source(version="f" * 32), tmp_path, progress=False)
    assert len([p for p in tmp_path.iterdir() if p.name.startswith("tiny-")]) == 2


@pytest.mark.parametrize("damage", ["cut", "flip", "manifest"])
def test_a_damaged_dataset_is_prepared_again(tmp_path: Path, damage: str) -> None:
    source = Source()
    first = build_dataset(source, tmp_path, progress=False)
    part = first.root / first.parts("train")[0].path
    data = bytearray(part.read_bytes())
    if damage == "manifest":
        (first.root / "manifest.json").write_text("{")
    elif damage == "cut":
        part.write_bytes(bytes(data[:-1]))
    else:
        data[10] ^= 1
        part.write_bytes(bytes(data))
    again = build_dataset(source, tmp_path, progress=False)
    assert len(source.written) == 2
    assert again.fingerprint == first.fingerprint


def test_leftovers_of_a_killed_job_are_removed(tmp_path: Path) -> None:
    source = Source()
    leftover = tmp_path / ".tiny-0123456789ab.writing-abc"
    leftover.mkdir()
    build_dataset(source, tmp_path, progress=False)
    assert not leftover.exists()


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="binary label"):
        build_dataset(Source(broken=True), tmp_path, progress=False)
    assert [p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")] == []


def test_parallel_jobs_share_one_preparation(tmp_path: Path) -> None:
    source = Source()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: build_dataset(source, tmp_path, progress=False).fingerprint, range(4)))
    assert len(set(found)) == 1
    assert len(source.written) == 1
