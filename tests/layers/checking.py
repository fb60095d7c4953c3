"""What every dense layer must do, and the fields that the tests of layers over fields use."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

EQUAL = ({"a": 3, "b": 3}, {"a": 2, "b": 2, "c": 2, "d": 2, "e": 2})
UNEQUAL = ({"a": 3, "b": 1}, {"a": 2, "b": 5, "c": 1, "d": 2})


def arrays(module: nn.Module) -> dict[str, np.ndarray]:
    """The parameters of a module by name."""
    return {name: value.detach().numpy() for name, value in module.named_parameters()}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def rows(num_rows: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(num_rows, width)))


def randomise(module: nn.Module, seed: int = 0) -> None:
    """Gives every parameter, biases too, a value of its own: a term that the layer forgets then shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)


def split(row: np.ndarray, widths: dict[str, int]) -> list[np.ndarray]:
    """The fields of one row."""
    return np.split(row, np.cumsum(list(widths.values()))[:-1])


def check_layer(layer: nn.Module, in_features: int) -> None:
    """Batch of one and of none, gradients by input and by weights, bf16 autocast, one graph for the compiler."""
    layer = layer.double().eval()
    x = rows(5, in_features, seed=7)
    together = layer(x)
    assert together.shape[-1] == layer.out_features
    torch.testing.assert_close(layer(x[3:4]), together[3:4])
    assert layer(x[:0]).shape == (0, *together.shape[1:])
    check_gradients(layer, x[:2])
    compiled = torch.compile(copy.deepcopy(layer), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), together)
    torch._dynamo.reset()
    check_autocast(layer, x)


def check_gradients(layer: nn.Module, *inputs: torch.Tensor) -> None:
    """Compares the gradients of inputs and weights with differences."""
    names = [name for name, _ in layer.named_parameters()]
    weights = [value.detach().clone().requires_grad_() for value in layer.parameters()]
    leaves = [value.detach().clone().requires_grad_() for value in inputs]

    def call(*values: torch.Tensor) -> torch.Tensor:
        parameters = dict(zip(names, values[len(leaves) :], strict=True))
        return functional_call(layer, parameters, values[: len(leaves)])

    assert torch.autograd.gradcheck(call, (*leaves, *weights))


def check_autocast(layer: nn.Module, x: torch.Tensor) -> None:
    layer = copy.deepcopy(layer).float()
    x = x.float().requires_grad_()
    expected = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(x)
    scale = float(expected.detach().abs().max()) + 1e-6
    torch.testing.assert_close(found.float() / scale, expected / scale, atol=0.1, rtol=0)
    found.float().sum().backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())
