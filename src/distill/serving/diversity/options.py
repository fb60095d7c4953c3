"""How a bundle re-ranks, as plain data."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Quota(_Model):
    """How many candidates may share a value of a raw column.

    Attributes:
        column: Raw column of candidates; a value that is null shares with none.
        most: That may share one.
        window: In any so many places that follow each other; None in all.
    """

    column: str = Field(min_length=1)
    most: int = Field(ge=1)
    window: int | None = Field(default=None, ge=2)

    @model_validator(mode="after")
    def _check_window(self) -> Quota:
        if self.window is not None and self.window <= self.most:
            raise ValueError(f"a window of {self.window} places never holds more than {self.most}: widen it")
        return self


class Rerank(_Model):
    """How the best candidates are chosen; relevance z is the ranking score, standardised within the request.

    Attributes:
        type: `mmr`, `dpp`, or `quotas` alone (by relevance).
        trade_off: λ in [0, 1] of relevance against diversity: of `mmr` λ·z_i − (1 − λ)·max_j cos_ij, of `dpp`
            λ·z_i + (1 − λ)·log d_i²; 1 is relevance alone. None of `quotas`.
        window: Only the last so many that were chosen count against a candidate; None for all.
        vectors: Of a model with a vector for each task: `concatenated`, or their `mean`.
        quotas: That hold where any candidate can keep them.
    """

    type: Literal["mmr", "dpp", "quotas"]
    trade_off: float | None = Field(default=None, ge=0, le=1)
    window: int | None = Field(default=None, ge=1)
    vectors: Literal["concatenated", "mean"] = "concatenated"
    quotas: tuple[Quota, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _check_together(self) -> Rerank:
        if self.type == "quotas":
            given = [name for name in ("trade_off", "window") if getattr(self, name) is not None]
            if given or self.vectors != "concatenated":
                raise ValueError(f"{(given or ['vectors'])[0]} changes nothing with type quotas")
            if not self.quotas:
                raise ValueError("type quotas needs quotas, such as [{column: brand, most: 2, window: 10}]")
        elif self.trade_off is None:
            raise ValueError(f"type {self.type} needs a trade_off in [0, 1], such as 0.7")
        return self

    @property
    def needs_vectors(self) -> bool:
        """Whether it compares vectors of the candidates."""
        return self.type != "quotas"

    @property
    def columns(self) -> list[str]:
        """Raw columns of candidates that quotas read, each once."""
        return list(dict.fromkeys(quota.column for quota in self.quotas))

    def text(self) -> str:
        """Returns it in a few words."""
        parts = []
        if self.needs_vectors:
            kept = "all chosen" if self.window is None else f"the last {self.window} chosen"
            parts.append(f"{self.type} with trade_off {self.trade_off:g} against {kept} (vectors {self.vectors})")
        for quota in self.quotas:
            places = "in all" if quota.window is None else f"in any {quota.window} places"
            parts.append(f"at most {quota.most} of a `{quota.column}` {places}")
        return "; ".join(parts)
