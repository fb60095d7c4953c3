"""URIs of files and folders: `s3://bucket/key`, `gs://bucket/key`, `hdfs://host:port/path`."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass

from distill.errors import ConfigError

SCHEMES = ("s3", "gs", "hdfs")
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://(.*)", re.DOTALL)
_FILE = "file"


@dataclass(frozen=True)
class Place:
    """A file or a folder that a URI names.

    Attributes:
        scheme: One of `SCHEMES`.
        authority: The bucket; of hdfs host and port, empty for the one that Hadoop's own config names.
        key: The path below it, without slashes at its ends.
    """

    scheme: str
    authority: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}/{self.key}".rstrip("/")

    def __truediv__(self, name: str) -> Place:
        """Returns what lies below, by its path from here."""
        return Place(self.scheme, self.authority, "/".join(part for part in (self.key, name) if part))

    @property
    def name(self) -> str:
        """The last part."""
        return self.key.rpartition("/")[2] or self.authority

    @property
    def parent(self) -> Place:
        """The folder that it is in."""
        return Place(self.scheme, self.authority, self.key.rpartition("/")[0])

    @property
    def fixed(self) -> Place:
        """What stands before the first wildcard: the folder that has to be listed; itself without any."""
        parts = self.key.split("/")
        first = next((i for i, part in enumerate(parts) if glob.has_magic(part)), None)
        return self if first is None else Place(self.scheme, self.authority, "/".join(parts[:first]))


def is_uri(value: object) -> bool:
    """Whether a value is text with a scheme, such as `s3://…`; the scheme may be one that nobody knows."""
    return isinstance(value, str) and _URI.match(value) is not None


def local_text(text: str) -> str:
    """Returns a path of this machine as text: `file:///x` is `/x`."""
    return text[len(_FILE) + 3 :] if text.lower().startswith(f"{_FILE}:///") else text


def place_of(text: str, where: str) -> Place:
    """Reads a URI.

    Args:
        text: The URI.
        where: The key of the config, for errors.

    Raises:
        ConfigError: Its scheme is none that is read, or the bucket or a name is missing.
    """
    found = _URI.fullmatch(text)
    scheme = found.group(1).lower() if found else ""
    if found is None or scheme not in SCHEMES:
        raise ConfigError(
            "A URI has a scheme that is not read.",
            where=where,
            expected=f"{', '.join(f'{known}://…' for known in SCHEMES)}, or a path of this machine",
            found=text,
        )
    authority, _, key = found.group(2).partition("/")
    key = key.rstrip("/")
    if (not authority and scheme != "hdfs") or any(part in ("", ".", "..") for part in key.split("/") if key):
        raise ConfigError(
            "A URI lacks a name.",
            where=where,
            expected=f"{scheme}://{'HOST:PORT/FOLDER' if scheme == 'hdfs' else 'BUCKET/FOLDER'}, without . or ..",
            found=text,
        )
    return Place(scheme, authority, key)
