"""Subwords of a Hugging Face tokenizer that is given as the content of its `tokenizer.json`: data, never code."""

from __future__ import annotations

import json
from typing import Any

from distill.errors import ConfigError, DataError

MAX_BYTES = 1 << 26


class SubwordTokenizer:
    """Cuts text into the subwords of a tokenizer, without special tokens, padding or truncation.

    Args:
        content: Of its `tokenizer.json`.
        where: What has it, for errors.

    Raises:
        ConfigError: The package `tokenizers` is not installed.
        DataError: The content is not a tokenizer, or one whose subwords are drawn at random.
    """

    def __init__(self, content: bytes, where: str) -> None:
        library = _library(where)
        if len(content) > MAX_BYTES:
            raise _unreadable(where, f"{len(content):,} bytes, and no tokenizer has more than {MAX_BYTES:,}")
        try:
            described = json.loads(content)
            self._tokenizer = library.Tokenizer.from_str(content.decode())
        except Exception as error:  # the library raises nothing more specific
            raise _unreadable(where, f"{type(error).__name__}: {error}") from error
        if (described.get("model") or {}).get("dropout"):
            raise _unreadable(where, "`dropout`, with which the same text has other subwords each time: set it to null")
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def split(self, texts: list[str]) -> list[list[str]]:
        """Returns the subwords of each text."""
        return [found.tokens for found in self._tokenizer.encode_batch(texts, add_special_tokens=False)]


def _library(where: str) -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise ConfigError(
            "Text is cut into subwords with the package tokenizers, which is not installed.",
            where=where,
            remedy="Install it: pip install tokenizers.",
        ) from error
    return tokenizers


def _unreadable(where: str, found: str) -> DataError:
    return DataError(
        "A tokenizer cannot be used.",
        where=where,
        expected="a tokenizer.json as Hugging Face's tokenizers write it",
        found=f"{found:.300}",
    )
