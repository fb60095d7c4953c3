"""A real S3 server behind a network that fails: the same bytes, or a clear end and nothing half-published."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from distill.errors import DataError
from distill.places import remote, retry
from distill.places.fetch import fetch_folder, fetch_matches, published
from distill.places.manifest import MANIFEST
from distill.places.publish import publish
from distill.places.uri import place_of
from tests.places.servers import BUCKET, bucket_at, lead_to, proxy, s3_server

pytestmark = pytest.mark.slow
OUT = place_of(f"s3://{BUCKET}/out", "out")
KINDS = ("drop", "cut", "slow", "503")


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    with s3_server() as port:
        yield port


@pytest.fixture(autouse=True)
def fresh(server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "RETRIES", retry.Retries(attempts=8, first_pause=0.01))
    monkeypatch.setenv("DISTILL_LOCAL", str(tmp_path / "local"))
    bucket_at(server).delete_dir_contents(BUCKET)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Files of several sizes, one of them sent in several requests."""
    rng, folder = np.random.default_rng(0), tmp_path / "made"
    for name, size in {"a": 0, "b": 10, "day=1/c d+e.parquet": 300_000, "large": 12 << 20}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(rng.bytes(size))
    return folder


def _below(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_what_comes_back_is_what_was_published(
    server: int, made: Path, monkeypatch: pytest.MonkeyPatch, kind: str | None
) -> None:
    chance = random.Random(0)
    with proxy(server, lambda *_: kind if chance.random() < 0.3 else None, 1.5) as between:
        lead_to(monkeypatch, between.endpoint)
        publish(made, OUT)
        assert _below(fetch_folder(OUT)) == _below(made)
        assert _below(fetch_matches(OUT)) == _below(made)
    assert (between.faults > 3) == (kind is not None)
    assert published_names(server) == sorted([MANIFEST, *_below(made)])


def published_names(server: int) -> list[str]:
    lister = remote.pafs.FileSelector(f"{BUCKET}/out", recursive=True, allow_not_found=True)
    return sorted(info.path[len(BUCKET) + 5 :] for info in bucket_at(server).get_file_info(lister) if info.is_file)


@pytest.mark.parametrize("method", ["PUT", "POST"])  # a small file, the start or end of a large one
@pytest.mark.parametrize("kind", ["drop", "slow", "503"])
def test_a_publication_that_cannot_end_is_a_clear_error_and_not_there(
    server: int, made: Path, monkeypatch: pytest.MonkeyPatch, kind: str, method: str
) -> None:
    with proxy(server, lambda _, asked: kind if asked == method else None, 1.5) as between:
        lead_to(monkeypatch, between.endpoint)
        start = time.perf_counter()
        with pytest.raises(DataError, match="cannot be written") as raised:
            publish(made, OUT)
    assert time.perf_counter() - start < 60
    assert str(raised.value.where).startswith(f"s3://{BUCKET}/out/")
    assert "after 8 attempts: " in str(raised.value.found)
    lead_to(monkeypatch, f"http://127.0.0.1:{server}")
    assert published(OUT) is None
    publish(made, OUT)
    assert _below(fetch_folder(OUT)) == _below(made)


def test_a_server_that_is_gone_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    lead_to(monkeypatch, "http://127.0.0.1:1")
    with pytest.raises(DataError, match="after 8 attempts") as raised:
        fetch_folder(OUT)
    assert raised.value.where == f"s3://{BUCKET}/out/{MANIFEST}"


def test_a_bucket_that_is_not_there_is_said_at_once(server: int, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lead_to(monkeypatch, f"http://127.0.0.1:{server}")
    with pytest.raises(DataError, match="NO_SUCH_BUCKET"):
        publish(made, place_of("s3://no-such-bucket/out", "out"))
