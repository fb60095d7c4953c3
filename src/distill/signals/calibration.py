"""Teacher logits that mean what they say: a monotone map per task, fitted on labels that training does not see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit, logit
from torch import Tensor

from distill.errors import ConfigError, SignalError
from distill.signals.base import SignalSource
from distill.signals.mapped import MappedSignals

Method = Literal["temperature", "platt", "isotonic"]
Floats = NDArray[np.float64]


class PiecewiseLinear:
    """A piecewise linear map of logits; beyond the ends the outer pieces go on.

    It maps values where they are: those of training batches on the host, before they are copied, others on a device.

    Args:
        x: `[P]` ascending, at least two.
        y: `[P]`, not descending.

    Attributes:
        x: As given, on the host.
        y: As given, on the host.
    """

    def __init__(self, x: Floats, y: Floats) -> None:
        self.x, self.y = torch.from_numpy(x).double(), torch.from_numpy(y).double()
        self._copies: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def __call__(self, values: Tensor) -> Tensor:
        """Maps `values [N]`, in float64, to `[N]` of their type."""
        x, y = self._on(values.device)
        exact = values.double()
        piece = torch.searchsorted(x, exact.contiguous()).clamp(1, x.numel() - 1)
        low, high = x[piece - 1], x[piece]
        slope = (y[piece] - y[piece - 1]) / (high - low)
        return (y[piece - 1] + slope * (exact - low)).to(values.dtype)

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._copies:
            self._copies[device] = self.x.to(device), self.y.to(device)
        return self._copies[device]


def fit_calibration(method: str, logits: Floats, labels: Floats, weight: Floats) -> PiecewiseLinear:
    """Fits a map of one task's logits, so that the probability of the result is that of the label.

    `temperature` is t / T and `platt` a·t + b with a > 0, of the least weighted cross-entropy; `isotonic` is the
    non-descending step function of the least weighted squared error, made continuous by joining the middles of its
    steps, of probabilities kept within half a row of 0 and 1.

    Args:
        method: Which map.
        logits: `[n]` of the rows that the teacher scored and the log labelled.
        labels: `[n]` 0 or 1.
        weight: `[n]`.

    Raises:
        ConfigError: The method is unknown.
        SignalError: The labels are all alike, so there is nothing to fit.

    Reference: Guo et al., "On Calibration of Modern Neural Networks", 2017, arXiv:1706.04599; Platt, "Probabilistic
    Outputs for Support Vector Machines", 1999; Zadrozny and Elkan, KDD 2002.
    """
    if method not in get_args(Method):
        raise ConfigError(
            "Unknown calibration of teacher signals.",
            where="teacher.calibration",
            expected="none, " + ", ".join(get_args(Method)),
            found=str(method),
        )
    used = weight > 0
    logits, labels, weight = logits[used], labels[used], weight[used]
    if not labels.size or labels.min() == labels.max():
        raise SignalError(
            "The teacher cannot be calibrated: the validation split has labels of one kind only on rows it scored.",
            where="teacher.calibration",
            found=f"{labels.size} labelled and scored rows",
            remedy="Hold out a larger validation split, or leave calibration out.",
        )
    return _isotonic(logits, labels, weight) if method == "isotonic" else _affine(method, logits, labels, weight)


def _affine(method: str, logits: Floats, labels: Floats, weight: Floats) -> PiecewiseLinear:
    """The map through (0, b) and (1, a + b), with a = e^α."""
    share = weight / weight.sum()

    def loss(parameters: Floats) -> tuple[float, Floats]:
        scale = np.exp(parameters[0])
        z = scale * logits + (parameters[1] if parameters.size > 1 else 0.0)
        error = share * (expit(z) - labels)
        value = float((share * (np.logaddexp(0, z) - labels * z)).sum())
        return value, np.array([(error * logits).sum() * scale, error.sum()])[: parameters.size]

    bounds = [(-7.0, 7.0), (-50.0, 50.0)][: 1 if method == "temperature" else 2]
    found = minimize(loss, np.zeros(len(bounds)), jac=True, bounds=bounds, method="L-BFGS-B").x
    scale, shift = float(np.exp(found[0])), float(found[1]) if found.size > 1 else 0.0
    return PiecewiseLinear(np.array([0.0, 1.0]), np.array([shift, scale + shift]))


def _isotonic(logits: Floats, labels: Floats, weight: Floats) -> PiecewiseLinear:
    order = np.argsort(logits, kind="stable")
    logits, labels, weight = logits[order], labels[order], weight[order]
    distinct, start = np.unique(logits, return_index=True)
    mass = np.add.reduceat(weight, start)
    mean = np.add.reduceat(weight * labels, start) / mass
    fitted = isotonic_regression(mean, weights=mass)
    first = fitted.blocks[:-1]
    block_mass = np.add.reduceat(mass, first)
    middle = np.add.reduceat(mass * distinct, first) / block_mass
    edge = 0.5 / weight.sum() * weight.mean()
    value = logit(np.clip(fitted.x[first], edge, 1 - edge))
    if middle.size == 1:  # one step: the same for all
        return PiecewiseLinear(np.array([middle[0], middle[0] + 1]), np.array([value[0], value[0]]))
    return PiecewiseLinear(middle, value)


class CalibratedSignals(MappedSignals):
    """Maps the logits of another source, task by task.

    Args:
        source: Gives the signals.
        maps: Column of a task to its map; other tasks stay as they are.
    """

    def __init__(self, source: SignalSource, maps: Mapping[int, PiecewiseLinear]) -> None:
        super().__init__(source)
        self.maps = dict(maps)

    def mapped(self, column: int, logits: Tensor) -> Tensor:
        """See `MappedSignals.mapped`."""
        return self.maps[column](logits) if column in self.maps else logits
