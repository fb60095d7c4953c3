"""A tiny tokenizer: byte pairs of a few words, as Hugging Face writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_LETTERS = [*"abcdefghijklmnopqrstuvwxyz0123456789é"]
_MERGES = [["r", "e"], ["re", "d"], ["s", "h"], ["sh", "o"], ["o", "e"], ["a", "b"]]


def write_tokenizer(path: Path, merges: int = len(_MERGES), **model: Any) -> Path:
    """Writes byte-pair encoding over small letters, padded and cut as models of language want it."""
    kept = _MERGES[:merges]
    vocabulary = ["[UNK]", "[CLS]", *_LETTERS, *dict.fromkeys(a + b for a, b in kept)]
    content = {
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                    "pad_type_id": 0, "pad_token": "[UNK]"},
        "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                           {"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                           {"Sequence": {"id": "B", "type_id": 0}}],
                           "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]}}},
        "decoder": None,
        "model": {"type": "BPE", "dropout": None, "unk_token": "[UNK]", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {token: i for i, token in enumerate(vocabulary)}, "merges": kept, **model},
    }  # fmt: skip
    path.write_text(json.dumps(content))
    return path
