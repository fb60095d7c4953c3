"""Principal components of hidden vectors, so that a wide vector of a teacher takes little room beside the data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from distill.data.files import write_bytes_atomic
from distill.errors import ConfigError, SignalError


@dataclass(frozen=True)
class PrincipalComponents:
    """``(h - mean) basis``: the D directions in which hidden vectors of width W vary most, the largest first.

    Of all linear images of width D this one keeps most of the distances between vectors.

    Attributes:
        mean: `[W]` float32.
        basis: `[W, D]` float32 with orthonormal columns.
        kept: Share of the variance that is kept.
    """

    mean: Tensor
    basis: Tensor
    kept: float

    @classmethod
    def fit(cls, vectors: Iterable[Tensor], width: int, where: str) -> PrincipalComponents:
        """Finds the components of vectors `[N, W]`, given in pieces; sums are kept in float64.

        Raises:
            ConfigError: The vectors are not wider than the components asked for, or are fewer.
        """
        rows, total, squares = 0, torch.zeros(0), torch.zeros(0)
        for piece in vectors:
            exact = piece.detach().cpu().double()
            if rows == 0:
                total, squares = exact.new_zeros(exact.shape[1]), exact.new_zeros(exact.shape[1], exact.shape[1])
            rows, total = rows + exact.shape[0], total + exact.sum(0)
            squares.addmm_(exact.T, exact)
        if not 1 <= width < total.shape[0] or rows <= width:
            raise ConfigError(
                "The hidden vector has no so many principal components to be reduced to.",
                where=where,
                expected="from 1 to less than the vector's width and the number of candidates",
                found=f"{width} of a vector [{total.shape[0]}], {rows} candidates",
                remedy="Leave hidden_width out (null) to write the vector as it is.",
            )
        mean = total / rows
        variance, directions = torch.linalg.eigh(squares / rows - torch.outer(mean, mean))
        basis = directions.flip(1)[:, :width]
        largest = basis.abs().argmax(0)
        basis = basis * basis[largest, torch.arange(width)].sign()  # the sign of an eigenvector is any
        kept = float(variance.flip(0)[:width].sum() / variance.sum().clamp(min=1e-30))
        return cls(mean.float(), basis.float().contiguous(), kept)

    def __call__(self, vectors: Tensor) -> Tensor:
        """Returns the components `[N, D]` of vectors `[N, W]`."""
        return (vectors - self.mean.to(vectors.device)) @ self.basis.to(vectors.device)

    def save(self, path: Path) -> None:
        """Writes a safetensors file, whole or not at all."""
        write_bytes_atomic(path, save({"mean": self.mean, "basis": self.basis, "kept": torch.tensor([self.kept])}))

    @classmethod
    def load(cls, path: Path) -> PrincipalComponents:
        """Reads what `save` wrote.

        Raises:
            SignalError: The file is damaged.
        """
        try:
            found = load_file(path)
            return cls(found["mean"], found["basis"], float(found["kept"]))
        except (SafetensorError, KeyError, OSError) as error:
            raise SignalError(
                "The principal components of a hidden vector cannot be read.",
                where=str(path),
                found=f"{type(error).__name__}: {error}",
                remedy="Delete the folder and score the dataset again.",
            ) from error
