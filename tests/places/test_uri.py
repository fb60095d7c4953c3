"""URIs, and the paths that stand for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.errors import ConfigError
from distill.places.mirror import local_of, named, place_of_local, shown_path
from distill.places.uri import Place, is_uri, local_text, place_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/a/b=1/c d.parquet", Place("s3", "bucket", "a/b=1/c d.parquet")),
        ("S3://bucket/a/", Place("s3", "bucket", "a")),
        ("gs://bucket", Place("gs", "bucket", "")),
        ("hdfs://host:8020/logs", Place("hdfs", "host:8020", "logs")),
        ("hdfs:///logs", Place("hdfs", "", "logs")),
    ],
)
def test_a_uri_is_read_and_its_path_names_it(text: str, expected: Place) -> None:
    place = place_of(text, "source")
    assert place == expected
    assert place_of_local(local_of(place)) == place
    assert named(f"x {local_of(place / 'y')} z") == f"x {place}/y z"


@pytest.mark.parametrize("text", ["ftp://host/a", "s3:///a", "s3://bucket/../a", "s3://bucket//a", "s4://b/c"])
def test_others_are_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        place_of(text, "data.source")
    assert raised.value.where == "data.source"
    assert raised.value.found == text


def test_what_is_no_uri() -> None:
    assert not any(map(is_uri, ["/logs", "logs", "C:/x", "", None, 3, ["s3://b"]]))
    assert all(map(is_uri, ["s3://b/x", "ftp://x"]))
    assert local_text("file:///logs/x") == "/logs/x"
    assert place_of_local(Path("/logs/x")) is None


def test_the_folder_before_a_pattern() -> None:
    assert place_of("s3://b/logs/day=*/x", "source").fixed == Place("s3", "b", "logs")
    assert place_of("s3://b/*", "source").fixed == Place("s3", "b", "")


def test_a_path_is_told_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "runs" / "a") == str(Path("runs") / "a")
    assert shown_path(tmp_path.parent) == str(tmp_path.parent)
    monkeypatch.setenv("DISTILL_LOCAL", str(tmp_path / "local"))
    place = Place("s3", "bucket", "models/1")
    assert shown_path(local_of(place)) == "s3://bucket/models/1"
