"""URIs in a config: what they name is fetched, and the job reads and writes paths of this machine that stand for them.

A config without a URI is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from distill.errors import ConfigError
from distill.jobs.keys import KEYS
from distill.places.mirror import local_of
from distill.places.uri import SCHEMES, Place, is_uri, local_text, place_of
from distill.schema.plain_yaml import read_yaml

_REPEATS = re.compile(r"\$\{([\w.]+)\}")
_SPLITS = ("train/", "val/", "test/", "items/")


def on_this_machine(cfg: DictConfig) -> DictConfig:
    """Returns a config whose URIs are paths of this machine, with all that is read there.

    Raises:
        ConfigError: A URI cannot be read, or stands where none is taken.
        DataError: What it names is not there, the store does not answer, or there is no room.
    """
    given = {key: value for key, value in _given(cfg) if _has_uri(value)}
    found = {key: here for key, value in given.items() if (here := _local(value, key)) != value}
    if not found:
        return cfg
    own = cfg.copy()
    with read_write(own), open_dict(own):
        for key, value in found.items():
            OmegaConf.update(own, key, value)
    return own


def source_here(source: str, key: str) -> str:
    """Returns a file, a folder or a pattern on this machine for one that may be a URI; its files are fetched."""
    return str(_local(source, key))


def is_part(name: str) -> bool:
    """Whether a file of a dataset, by its path below it, is one of rows: it is fetched when it is read."""
    return name.endswith(".parquet") and name.startswith(_SPLITS)


def _given(cfg: DictConfig) -> Iterator[tuple[str, Any]]:
    """Yields keys with their values; of those that only repeat a key whose value is replaced, none."""
    for key, value in _leaves(OmegaConf.to_container(cfg, resolve=False)):
        if not isinstance(value, str) or "${" not in value:
            yield key, value
        elif _reader(key) is not None and not ((same := _REPEATS.fullmatch(value)) and _reader(same[1])):
            with suppress(OmegaConfBaseException):  # whoever reads the value says what is wrong with it
                yield key, OmegaConf.select(cfg, key)


def _reader(key: str) -> Callable[[Place, str], Path] | None:
    return next((function for pattern, function in _KEYS.items() if fnmatchcase(key, pattern)), None)


def _leaves(node: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, f"{where}.{key}" if where else str(key))
    else:
        yield where, node


def _has_uri(value: Any) -> bool:
    return any(is_uri(one) for one in (value if isinstance(value, list) else [value]))


def _local(value: Any, key: str) -> Any:
    if isinstance(value, list):
        return [_local(one, key) for one in value]
    if not isinstance(value, str) or not is_uri(local_text(value)):
        return local_text(value) if isinstance(value, str) else value
    if (reads := _reader(key)) is not None:
        return str(reads(place_of(value, key), key))
    if value.partition("://")[0].lower() in SCHEMES and any(fnmatchcase(key, pattern) for pattern in KEYS):
        raise ConfigError("This key does not accept a URI.", where=key, expected="a path of this machine", found=value)
    return value


def _here(place: Place, key: str) -> Path:
    """What the job fetches and publishes itself."""
    return local_of(place)


def _source(place: Place, key: str) -> Path:
    from distill.places.fetch import fetch_matches

    return fetch_matches(place)


def _file(place: Place, key: str) -> Path:
    from distill.places.fetch import fetch_file

    found = fetch_file(place)
    if found is None:
        raise ConfigError("There is no such file.", where=key, found=str(place), remedy="Check the URI.")
    return found


def _schema(place: Place, key: str) -> Path:
    """A schema, with the tokenizers that it names by paths relative to it."""
    from distill.places.fetch import fetch_file

    path = _file(place, key)
    with suppress(ValueError, YAMLError):  # whoever reads the schema says what is wrong with it
        for name in _tokenizers(read_yaml(path.read_text(encoding="utf-8"))):
            fetch_file(place_of(f"{place.parent}/{name}", key))
    return path


def _tokenizers(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for inner in node:
            yield from _tokenizers(inner)
    for key, value in node.items() if isinstance(node, Mapping) else ():
        if key == "tokenizer" and isinstance(value, str) and not value.startswith(("/", "~", "..")):
            yield value
        yield from _tokenizers(value)


def _made(place: Place, key: str) -> Path:
    """A file, or a folder that a command of this package published."""
    from distill.places.fetch import fetch_file, fetch_folder

    return fetch_file(place) or fetch_folder(place)


def _dataset(place: Place, key: str) -> Path:
    from distill.places.fetch import fetch_folder

    return fetch_folder(place, later=is_part)


# By pattern; the first that matches a key counts.
_KEYS: dict[str, Callable[[Place, str], Path]] = {
    "data.source": _source,
    "data.source.*": _source,
    "data.adapter.source": _source,
    "data.events.*": _source,
    "data.items": _source,
    "source": _source,
    "items": _source,
    "data.schema": _schema,
    "*.vectors.*.path": _file,
    "data.root": _dataset,
    "path": _made,
    "path.*": _made,
    "teacher.path": _made,
    "teacher_path": _made,
    "teacher.members": _made,
    "*init_from": _made,
    "encodings": _made,
    "signals": _made,
    "hidden_components": _made,
    "base": _made,
    "out": _here,
    "paths.data": _here,
    "paths.cache": _here,
    "paths.runs": _here,
    "resume": lambda place, key: local_of(place),  # fetched where the folder of the run is named
}
