"""Publishes a folder of this machine, so that commands take its URI."""

from __future__ import annotations

import argparse

from distill.console import plain_console
from distill.errors import DataError
from distill.places.publish import publish
from distill.places.uri import place_of


def run(options: argparse.Namespace) -> None:
    """Publishes `folder` at `uri`.

    Raises:
        ConfigError: The URI cannot be read.
        DataError: The folder holds no files, something is there already, or the store does not take it.
    """
    place = place_of(options.uri, "URI")
    if not any(path.is_file() for path in options.folder.rglob("*")):
        raise DataError("There are no files to publish.", where=str(options.folder), remedy="Check the folder.")
    publish(options.folder, place, options.replace)
    plain_console().print(f"{options.folder} is published at {place}", soft_wrap=True, highlight=False)
