"""Where on this machine a place of a store lies: a path that names its URI.

`DISTILL_LOCAL` names the folder (by default `~/.cache/distill`). In it `folders/` holds what commands of this package
wrote, or are writing to be published; `raw/` holds files of others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from distill.errors import DistillError
from distill.places.manifest import MANIFEST, Entry, read_manifest
from distill.places.uri import SCHEMES, Place

FOLDER_VARIABLE = "DISTILL_LOCAL"
Tree = Literal["folders", "raw"]
_NO_HOST = "default"


def local_root() -> Path:
    """Returns the folder of all that is fetched and staged on this machine."""
    return Path(os.environ.get(FOLDER_VARIABLE) or Path.home() / ".cache" / "distill").expanduser().absolute()


def local_of(place: Place, tree: Tree = "folders") -> Path:
    """Returns where a place lies on this machine, whether it is there yet or not."""
    return local_root() / tree / place.scheme / (place.authority or _NO_HOST) / place.key


def place_of_local(path: Path) -> Place | None:
    """Returns the place that a path below `folders/` stands for; None for a path of its own."""
    root = local_root() / "folders"
    parts = path.relative_to(root).parts if path.is_relative_to(root) else ()
    if len(parts) < 2:
        return None
    return Place(parts[0], "" if parts[1] == _NO_HOST else parts[1], "/".join(parts[2:]))


def entry_of(path: Path) -> Entry | None:
    """Returns what the manifest of a published folder says of one of its files; None of a path that is of none."""
    root = local_root() / "folders"
    for folder in path.parents if path.is_relative_to(root) else ():
        if (folder / MANIFEST).is_file():
            return read_manifest(folder / MANIFEST).get(path.relative_to(folder).as_posix())
    return None


def named(text: str) -> str:
    """Returns text with URIs in place of the paths that stand for them."""
    root, schemes = re.escape(str(local_root())), "|".join(SCHEMES)
    found = re.compile(rf"{root}/(?:folders|raw)/({schemes})/([^/\s]+)")
    return found.sub(lambda match: f"{match[1]}://{'' if match[2] == _NO_HOST else match[2]}", text)


def shown_path(path: Path) -> str:
    """Returns a path as a person is told it: a URI for what stands for one, and short where it is below the current
    folder."""
    text, here = named(str(path)), Path.cwd()
    return str(path.relative_to(here)) if text == str(path) and path.is_relative_to(here) else text


def named_data(value: Any) -> Any:
    """Returns plain data with `named` texts."""
    if isinstance(value, Mapping):
        return {key: named_data(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(named_data, value))
    return named(value) if isinstance(value, str) else value


def named_error(error: DistillError) -> DistillError:
    """Returns an error with URIs for the paths that stand for them; its remedy may name a folder of this machine."""
    texts = {name: getattr(error, name) for name in ("where", "expected", "found")}
    told = {name: None if text is None else named(text) for name, text in texts.items()}
    if told == texts:
        return error
    return type(error)(error.problem, **told, remedy=error.remedy).with_traceback(error.__traceback__)
