"""Principal components against scikit-learn's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from distill.errors import ConfigError, SignalError
from distill.signals.principal import PrincipalComponents


@pytest.fixture
def vectors() -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    scale = torch.tensor([5.0, 3.0, 2.0, 1.0, 0.5, 0.1])
    mixed = torch.randn(6, 6, generator=generator)
    return torch.randn(500, 6, generator=generator) * scale @ mixed + 4.0


def test_components_are_those_of_scikit_learn(vectors: torch.Tensor) -> None:
    found = PrincipalComponents.fit(vectors.split(123), 3, "")
    expected = PCA(3, svd_solver="full").fit(vectors.double().numpy())
    ours = found(vectors).numpy()
    theirs = expected.transform(vectors.double().numpy())
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), rtol=1e-3, atol=1e-3)
    assert found.kept == pytest.approx(expected.explained_variance_ratio_.sum(), rel=1e-6)
    largest = found.basis.abs().argmax(0)
    assert (found.basis[largest, torch.arange(3)] > 0).all()


def test_they_come_back_from_a_file(vectors: torch.Tensor, tmp_path: Path) -> None:
    components = PrincipalComponents.fit([vectors], 2, "")
    components.save(tmp_path / "c.safetensors")
    again = PrincipalComponents.load(tmp_path / "c.safetensors")
    assert torch.equal(again(vectors), components(vectors))
    (tmp_path / "c.safetensors").write_bytes(b"no")
    with pytest.raises(SignalError, match=r"c\.safetensors"):
        PrincipalComponents.load(tmp_path / "c.safetensors")


@pytest.mark.parametrize(("rows", "width"), [(500, 6), (500, 0), (3, 3)])
def test_what_cannot_be_reduced_is_refused(vectors: torch.Tensor, rows: int, width: int) -> None:
    with pytest.raises(ConfigError, match="principal components"):
        PrincipalComponents.fit([vectors[:rows]], width, "hidden_width")
