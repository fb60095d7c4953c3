"""How raw text becomes tokens, which are the values of a sequence."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from distill.schema.keys import Model

MOST_NGRAM = 10
_N = Annotated[int, Field(ge=1, le=MOST_NGRAM)]
_NGRAM_RANGE = {"words": (1, 1), "whitespace": (1, 1), "characters": (3, 3)}


class Tokens(Model):
    """How the text of a field is normalised and cut.

    Text is normalised to Unicode's NFKC, accents are taken away and letters made small where that is said, in this
    order. Then it is cut: `words` are runs of letters, marks, digits and `_` (all else is between words), `whitespace`
    takes whatever stands between white space for a word, `characters` are n-grams of the letters of each word between
    `<` and `>`, `subwords` those of a tokenizer, by its own rules.

    Reference: letter n-grams of words between marks are those of Huang et al., "Learning Deep Structured Semantic
    Models for Web Search using Clickthrough Data" (DSSM), CIKM 2013, section 3.2, and of fastText (Bojanowski et al.,
    "Enriching Word Vectors with Subword Information", TACL 2017, section 3.2).

    Attributes:
        split: words | whitespace | characters | subwords.
        ngram_range: Fewest and most words, or letters and marks, of a token: [1, 1] of words, [3, 3] of characters if
            not given. What is shorter than the fewest is one token. Tokens come by where they begin, short ones first.
        lowercase: Whether letters are made small, one for one (Unicode's simple mapping); yes if not given.
        strip_accents: Whether accents are taken away (NFKD without marks of category Mn); no if not given.
        tokenizer: Of subwords: a `tokenizer.json` of Hugging Face, relative to the file of the schema.
    """

    split: Literal["words", "whitespace", "characters", "subwords"] = "words"
    ngram_range: tuple[_N, _N] | None = None
    lowercase: bool | None = None
    strip_accents: bool | None = None
    tokenizer: str | None = Field(default=None, min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, data: object) -> object:
        if isinstance(data, str):
            data = {"split": data}
        if not isinstance(data, dict):
            return data
        filled = dict(data)
        if (own := _NGRAM_RANGE.get(str(filled.get("split", "words")))) is not None:
            for name, value in (("ngram_range", own), ("lowercase", True), ("strip_accents", False)):
                if filled.get(name) is None:
                    filled[name] = value
        return filled

    @model_validator(mode="after")
    def _check(self) -> Tokens:
        if self.split == "subwords":
            if self.tokenizer is None:
                raise ValueError("subwords need their `tokenizer`: the path of a tokenizer.json")
            for name in ("ngram_range", "lowercase", "strip_accents"):
                if getattr(self, name) is not None:
                    raise ValueError(f"`{name}` is not for subwords: the tokenizer has its own rules")
        elif self.tokenizer is not None:
            raise ValueError("`tokenizer` belongs to `split: subwords` only")
        if self.ngram_range is not None and self.ngram_range[0] > self.ngram_range[1]:
            raise ValueError("`ngram_range` is the fewest and the most: the first cannot be larger than the second")
        return self
