"""Principal components of hidden vectors, so that a wide vector of a teacher takes little room beside the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from distill.errors import ConfigError, SignalError
from distill.files import hash_bytes, write_bytes_atomic

_SEAL = "checksum"


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
                "The hidden vector has fewer principal components.",
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
        """Writes a safetensors file that carries the hash of its content, whole or not at all."""
        content = {"mean": self.mean, "basis": self.basis, "kept": torch.tensor([self.kept])}
        write_bytes_atomic(path, save(content, {_SEAL: _hash(content)}))

    @classmethod
    def load(cls, path: Path) -> PrincipalComponents:
        """Reads what `save` wrote.

        Raises:
            SignalError: The file is damaged.
        """
        try:
            with safe_open(path, "pt") as file:
                found = {name: file.get_tensor(name) for name in ("mean", "basis", "kept")}
                if (file.metadata() or {}).get(_SEAL) != _hash(found):
                    raise ValueError("the content does not have the checksum that was written with it")
            return cls(found["mean"], found["basis"], float(found["kept"]))
        except (SafetensorError, ValueError, OSError) as error:
            raise SignalError(
                "The principal components of a hidden vector cannot be read.",
                where=str(path),
                found=f"{type(error).__name__}: {error}",
                remedy="Delete the folder and score the dataset again.",
            ) from error


def _hash(content: Mapping[str, Tensor]) -> str:
    """Hashes the tensors with their names, types and shapes."""
    texts = [f"{name} {tensor.dtype} {tuple(tensor.shape)} " for name, tensor in sorted(content.items())]
    data = [tensor.contiguous().numpy().tobytes() for _, tensor in sorted(content.items())]
    return hash_bytes(b"".join([*(text.encode() for text in texts), *data]))
