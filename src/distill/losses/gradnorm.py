"""Weights of terms under which their gradients are of one size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from distill.checks import require_number
from distill.errors import ConfigError

_BETAS = (0.9, 0.999)


class GradNorm(nn.Module):
    """Learns a weight w_i per term, so that terms that learn at one pace send gradients of one size.

    With ``n_i = ‖∇_W L_i‖`` of the term's mean L_i, ``G_i = w_i n_i``, their mean Ḡ and the relative inverse training
    rate ``r_i = (L_i / L_i(0)) / mean_j (L_j / L_j(0))``, the weights descend on ``Σ_i |G_i - Ḡ r_i^α|``, of which
    Ḡ r_i^α is a constant, and add up to the number T of terms after each step. L_i(0) is the mean of the first batch in
    which the term has rows. A term without rows or without a gradient at a step takes no part in it.

    Deviations: log w_i is learned, by Adam with its `rate`, so that weights stay positive and find each other over any
    ratio of scales (∂/∂ log w_i = sign(G_i - Ḡ r_i^α) G_i). The weights of the config stay out of the balance, and are
    the shares of the gradient that the terms have of each other under it. W are all dense weights of the model unless
    `parameters` names fewer; the paper takes the last layer that all tasks share.

    Args:
        alpha: How strongly terms that are behind are pulled; 0 makes all gradients the same size.
        rate: Learning rate of the logarithms.
        parameters: Pattern of the names of the weights W within the model, such as `*tower*`; the fewer and the later
            they are, the less a step costs.

    Raises:
        ConfigError: `alpha` or `rate` is out of range.

    Reference: Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask Networks",
    ICML 2018, arXiv:1711.02257, eq. 1 and 2, algorithm 1.
    """

    log_weights: Tensor
    first: Tensor
    moments: Tensor
    steps: Tensor

    def __init__(self, alpha: float = 1.5, rate: float = 0.025, parameters: str = "*") -> None:
        super().__init__()
        require_number("GradNorm.alpha", alpha, 0.0, 100.0)
        require_number("GradNorm.rate", rate, 1e-9, 10.0)
        self.alpha, self.rate, self.pattern = alpha, rate, parameters
        self.names: tuple[str, ...] = ()

    def start(self, names: Sequence[str]) -> None:
        """Learns which terms there are; all weights are 1."""
        self.names = tuple(names)
        count = len(self.names)
        self.register_buffer("log_weights", torch.zeros(count))
        self.register_buffer("first", torch.full((count,), torch.nan))
        self.register_buffer("moments", torch.zeros(2, count))
        self.register_buffer("steps", torch.zeros(count))

    def weights(self) -> dict[str, Tensor]:
        """Returns the weight of each term, a scalar without gradient that later steps do not change."""
        return dict(zip(self.names, self.log_weights.exp().unbind(), strict=True))

    def learn(
        self,
        means: Mapping[str, Tensor],
        used: Mapping[str, Tensor],
        parameters: Mapping[str, nn.Parameter],
        reduce: Callable[[Tensor], Tensor],
    ) -> None:
        """Does a step on the weights.

        Args:
            means: Mean of each term that is computed at this step, with gradient to the model.
            used: Whether it has any row on any process.
            parameters: Dense weights of the model, by name.
            reduce: Averages a vector over the processes.

        Raises:
            ConfigError: No weight of the model has such a name.
        """
        norms = self._norms(means, self._chosen(parameters), reduce)
        with torch.no_grad():
            zero = self.log_weights.new_zeros(())
            losses = torch.stack([means[name].detach().to(zero) if name in means else zero for name in self.names])
            losses = reduce(losses)
            there = torch.stack([used.get(name, zero > 0) for name in self.names])
            self._step(losses, norms, there & (norms > 0) & norms.isfinite() & losses.isfinite())

    def _chosen(self, parameters: Mapping[str, nn.Parameter]) -> list[nn.Parameter]:
        chosen = [p for name, p in parameters.items() if fnmatchcase(name, self.pattern)]
        if not chosen:
            raise ConfigError(
                "No dense weight of the model has such a name, so there is no gradient to balance.",
                where="GradNorm.parameters",
                expected="a pattern of some of: " + (", ".join(parameters) or "a model with dense weights"),
                found=self.pattern,
            )
        return chosen

    def _norms(
        self, means: Mapping[str, Tensor], chosen: Sequence[nn.Parameter], reduce: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Returns the norm of each term's gradient `[T]`: that of all processes' rows; 0 where there is none."""
        found = []
        for name in self.names:
            mean = means.get(name)
            if mean is None or not mean.requires_grad:
                found.append(self.log_weights.new_zeros(()))
                continue
            grads = torch.autograd.grad(mean, chosen, retain_graph=True, allow_unused=True)
            flat = [(p.new_zeros(p.numel()) if g is None else g.flatten()) for p, g in zip(chosen, grads, strict=True)]
            found.append(torch.linalg.vector_norm(reduce(torch.cat(flat)).to(self.log_weights)))
        return torch.stack(found)

    def _step(self, losses: Tensor, norms: Tensor, active: Tensor) -> None:
        """Moves the weights by the losses `[T]` and the norms `[T]` of the terms that take part `[T]` bool."""
        self.first.copy_(torch.where(active & self.first.isnan(), losses, self.first))
        count = active.sum().clamp(min=1)
        sizes = torch.where(active, self.log_weights.exp() * norms, 0.0)
        ratio = torch.where(active, losses / self.first.clamp(min=1e-12), 0.0)
        pace = ratio / (ratio.sum() / count).clamp(min=1e-12)
        wanted = sizes.sum() / count * pace.clamp(min=0.0) ** self.alpha
        gradient = (sizes - wanted).sign() * sizes / (sizes.sum() / count).clamp(min=1e-30)
        powers = gradient, gradient**2
        self.steps += active
        direction = []
        for moment, beta, power in zip(self.moments, _BETAS, powers, strict=True):
            moment.copy_(torch.where(active, beta * moment + (1 - beta) * power, moment))
            direction.append(moment / (1 - beta ** self.steps.clamp(min=1)))
        moved = self.log_weights - self.rate * direction[0] / (direction[1].sqrt() + 1e-8)
        moved = torch.where(active, moved, self.log_weights)
        self.log_weights.copy_(moved - moved.exp().mean().log())
