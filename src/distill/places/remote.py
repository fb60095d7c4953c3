"""What is read, listed and written of a store, each tried again where it fails: pyarrow's file systems."""

from __future__ import annotations

import hashlib
import os
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pyarrow.fs as pafs

from distill.errors import ConfigError
from distill.places.retry import persistent
from distill.places.uri import Place

_BLOCK = 1 << 23
_CONNECT_SECONDS, _REQUEST_SECONDS = 5.0, 20.0
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")


class Found(NamedTuple):
    """What a store says of a file: bytes, and when it was changed, in nanoseconds since 1970."""

    bytes: int
    changed: int


def file_system(place: Place) -> Any:
    """Returns the file system of a place; one for all places of a bucket or host in a process."""
    return _file_system(place.scheme, place.authority, _variable(_ENDPOINTS), _variable(_REGIONS))


@cache
def _file_system(scheme: str, authority: str, endpoint: str | None, region: str | None) -> Any:
    if scheme == "s3":
        return _s3(authority, endpoint, region)
    if scheme == "gs":
        return pafs.GcsFileSystem(retry_time_limit=timedelta(seconds=_REQUEST_SECONDS))
    host, _, port = authority.partition(":")
    place = Place(scheme, authority, "")
    return persistent(place, "reached", lambda: pafs.HadoopFileSystem(host or "default", int(port or 0)))


def _s3(bucket: str, endpoint: str | None, region: str | None) -> Any:
    server: dict[str, Any] = {}
    if endpoint is not None:
        address = urlsplit(endpoint)
        if address.scheme not in ("http", "https") or not address.netloc:
            raise ConfigError(
                "The address of the S3 server cannot be read.",
                where=" or ".join(_ENDPOINTS),
                expected="such as http://127.0.0.1:9000",
                found=endpoint,
            )
        server = {"scheme": address.scheme, "endpoint_override": address.netloc + address.path.rstrip("/")}
    elif region is None:
        region = persistent(Place("s3", bucket, ""), "reached", lambda: pafs.resolve_s3_region(bucket))
    once = pafs.AwsStandardS3RetryStrategy(max_attempts=1)  # `persistent` counts, and says what it does
    limits = {"connect_timeout": _CONNECT_SECONDS, "request_timeout": _REQUEST_SECONDS, "retry_strategy": once}
    try:  # a small file is one request then, in place of three
        return pafs.S3FileSystem(region=region, allow_delayed_open=True, **server, **limits)
    except TypeError:  # pyarrow 19
        return pafs.S3FileSystem(region=region, **server, **limits)


def _variable(names: tuple[str, ...]) -> str | None:
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def path_of(place: Place) -> str:
    """Returns a place as its file system names it."""
    return f"/{place.key}" if place.scheme == "hdfs" else f"{place.authority}/{place.key}".rstrip("/")


def list_files(place: Place) -> dict[str, Found]:
    """Returns all files below a folder, by their path from it; empty if there is no such folder.

    Raises:
        DataError: The store does not answer.
    """
    selector = pafs.FileSelector(path_of(place), recursive=True, allow_not_found=True)
    found = persistent(place, "listed", lambda: file_system(place).get_file_info(selector))
    root = path_of(place).strip("/")
    below = {info.path.strip("/")[len(root) :].strip("/"): info for info in found}
    return {name: _said(info) for name, info in sorted(below.items()) if name and info.type == pafs.FileType.File}


def file_at(place: Place) -> Found | None:
    """Returns what the store says of a file, None if there is none.

    Raises:
        DataError: The store does not answer.
    """
    if not place.key:
        return None
    info = persistent(place, "found", lambda: file_system(place).get_file_info([path_of(place)])[0])
    return _said(info) if info.type == pafs.FileType.File else None


def _said(info: Any) -> Found:
    return Found(int(info.size), int(info.mtime_ns or 0))


def download(place: Place, path: Path, size: int) -> str:
    """Writes a file of a store to `path`, and returns its hash (blake2b, 32 hex digits).

    After a failure it goes on where it was.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: The store does not answer, or the file ends before its size.
    """
    digest = hashlib.blake2b(digest_size=16)
    with path.open("wb") as out:

        def rest() -> None:
            with file_system(place).open_input_file(path_of(place)) as source:
                source.seek(out.tell())
                while (left := size - out.tell()) > 0:
                    block = source.read(min(_BLOCK, left))
                    if not block:
                        raise OSError(f"it ends at byte {out.tell():,} of {size:,}")
                    out.write(block)
                    digest.update(block)

        persistent(place, "read", rest, lambda: out.tell() // _BLOCK)
    return digest.hexdigest()


def upload(path: Path, place: Place) -> tuple[int, str]:
    """Writes a file to a store; returns its bytes and hash as they were sent.

    Raises:
        DataError: The store does not take it.
    """

    def whole() -> tuple[int, str]:
        _make_parent(place)
        digest, size = hashlib.blake2b(digest_size=16), 0
        with path.open("rb") as source, file_system(place).open_output_stream(path_of(place)) as out:
            while block := source.read(_BLOCK):
                out.write(block)
                digest.update(block)
                size += len(block)
        return size, digest.hexdigest()

    return persistent(place, "written", whole)


def delete(place: Place) -> None:
    """Deletes a file, if it is there.

    Raises:
        DataError: The store does not do it.
    """

    def once() -> None:
        try:
            file_system(place).delete_file(path_of(place))
        except FileNotFoundError:
            return

    persistent(place, "deleted", once)


def _make_parent(place: Place) -> None:
    """Object stores have no folders, and are not asked to keep a mark for one."""
    if place.scheme == "hdfs":
        file_system(place).create_dir(path_of(place).rpartition("/")[0], recursive=True)
