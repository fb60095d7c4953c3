"""How a raw column becomes model input. Ids 0 and 1 are reserved: missing, and out of vocabulary."""

from __future__ import annotations

from typing import Annotated, Literal, Union

from pydantic import BaseModel, ConfigDict, Field

MISSING_ID = 0
OOV_ID = 1
NUM_RESERVED = 2
MAX_IDS = 2**31 - 1 - NUM_RESERVED
"""Most values of an embedding table: prepared ids are int32."""
MISSING_NUMBER = -30_000.0
"""What a missing number is encoded as where numbers are embedded: it has a vector of its own."""
LARGEST_EMBEDDED = 10_000.0
"""Largest size of an encoded number that is embedded; `MISSING_NUMBER` is beyond it, and float16 holds both."""
MAX_BINS = 1024
"""Most bins of a piecewise linear encoding: float32 then tells 16,384 places in each bin apart."""
MAX_QUANTILES = 1_000_000
"""Most quantile buckets: the boundaries are those of at most so many sampled values."""


class Encoding(BaseModel):
    """Base of the encodings: immutable, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def makes_ids(self) -> bool:
        """Whether the encoded column holds ids of an embedding table (else float32 numbers)."""
        return False

    @property
    def embeds_number(self) -> bool:
        """Whether models give the encoded number a vector, as they do an id, rather than take it as it is."""
        return False


class Vocabulary(Encoding):
    """One id per value seen at least `min_count` times in the training split, most frequent first."""

    type: Literal["vocabulary"] = "vocabulary"
    min_count: int = Field(default=1, ge=1, le=2**63 - 1)
    max_size: int | None = Field(default=None, ge=1, le=MAX_IDS)

    @property
    def makes_ids(self) -> bool:
        return True


class HashBuckets(Encoding):
    """A stable 64-bit hash of the value modulo `buckets`; the same on every machine and version."""

    type: Literal["hash"] = "hash"
    buckets: int = Field(ge=1, le=MAX_IDS)

    @property
    def makes_ids(self) -> bool:
        return True


class QuantileBuckets(Encoding):
    """The quantile bucket of a number, with boundaries from the training split."""

    type: Literal["quantile"] = "quantile"
    buckets: int = Field(ge=2, le=MAX_QUANTILES)

    @property
    def makes_ids(self) -> bool:
        return True


class IdentityIds(Encoding):
    """Integers in `0..size-1`, used as they are behind the reserved ids; larger ones are out of vocabulary."""

    type: Literal["ids"] = "ids"
    size: int = Field(ge=1, le=MAX_IDS)

    @property
    def makes_ids(self) -> bool:
        return True


class Standardise(Encoding):
    """(x − mean) / deviation, of the training split."""

    type: Literal["standardise"] = "standardise"


class Log(Encoding):
    """sign(x)·log(1 + |x|), then standardised on the training split unless `standardise` is off."""

    type: Literal["log"] = "log"
    standardise: bool = True


class Identity(Encoding):
    """The number as it is."""

    type: Literal["identity"] = "identity"


class PiecewiseLinear(Encoding):
    """The place of a number among quantiles of the training split, for an embedding that is piecewise linear in it.

    Attributes:
        bins: Between neighbouring quantiles; fewer if quantiles coincide.
    """

    type: Literal["piecewise_linear"] = "piecewise_linear"
    bins: int = Field(ge=2, le=MAX_BINS)

    @property
    def embeds_number(self) -> bool:
        return True


class AutoDis(Encoding):
    """A standardised number, for an embedding that is a mixture of learned ones.

    Attributes:
        buckets: Embeddings that are mixed.
        temperature: Of the softmax that weighs them.
        skip: Weight of the hidden layer beside its projection.
        log: Whether the number is taken as sign(x)·log(1 + |x|).
    """

    type: Literal["autodis"] = "autodis"
    buckets: int = Field(ge=2, le=MAX_BINS)
    temperature: float = Field(default=0.1, ge=1e-6, le=1e6)
    skip: float = Field(default=0.8, ge=0.0, le=1e6)
    log: bool = False

    @property
    def embeds_number(self) -> bool:
        return True


AnyEncoding = Annotated[
    Union[  # noqa: UP007
        Vocabulary,
        HashBuckets,
        QuantileBuckets,
        IdentityIds,
        Standardise,
        Log,
        Identity,
        PiecewiseLinear,
        AutoDis,
    ],
    Field(discriminator="type"),
]
