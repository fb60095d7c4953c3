"""Raw text that is hard to cut, and the plainest way to cut it."""

from __future__ import annotations

import unicodedata

from hypothesis import strategies as st

from distill.schema import Tokens

PIECES = [
    "red", "Shoes", "SIZE_9", "a", "x2", "naïve", "café", "cafe\u0301", "straße", "İstanbul", "ΣΟΦΟΣ", "中文", "हिन्दी",
    "ｆｕｌｌ", "ﬁne", "½", "№5", "👍🏽", "👩\u200d👩", "e\u0327\u0301", "<b>", "-", "'s", "$9.99", "٣", "\x1c", "\0",
    " ", "  ", "\t", "\n", "\u00a0", "\u3000", "\u2028", "\u0085", "\u1680", "\u200b", "\ufeff", "\u00ad", "ǅ", "Ⅷ",
]  # fmt: skip
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.sampled_from([" ", "a", "B", "é"])), max_size=12).map("".join)
_SPACE = set("\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | {chr(c) for c in range(0x2000, 0x200B)}
_NO_SIMPLE = {"İ": "i"}  # Unicode's simple mapping is one letter


def tokens_of(text: str, tokens: Tokens) -> list[str]:
    """Cuts text letter by letter, as `Tokens` says."""
    assert tokens.ngram_range is not None
    text = unicodedata.normalize("NFKC", text)
    if tokens.strip_accents:
        bare = [c for c in unicodedata.normalize("NFKD", text) if unicodedata.category(c) != "Mn"]
        text = unicodedata.normalize("NFKC", "".join(bare))
    if tokens.lowercase:
        text = "".join(_NO_SIMPLE.get(c, c.lower()) for c in text)
    words, word = [], ""
    for letter in [*text, " "]:
        if _is_inside(letter, tokens.split):
            word += letter
        elif word:
            words.append(word)
            word = ""
    low, high = tokens.ngram_range
    if tokens.split == "characters":
        return [token for word in words for token in map("".join, _ngrams(list(f"<{word}>"), low, high))]
    return [" ".join(part) for part in _ngrams(words, low, high)]


def _is_inside(letter: str, split: str) -> bool:
    if split == "whitespace":
        return letter not in _SPACE
    return letter == "_" or unicodedata.category(letter)[0] in "LMN"


def _ngrams(units: list[str], low: int, high: int) -> list[list[str]]:
    if units and len(units) < low:
        return [units]
    return [units[i : i + n] for i in range(len(units)) for n in range(low, high + 1) if i + n <= len(units)]
