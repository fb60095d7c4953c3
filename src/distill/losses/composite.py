"""The loss of a training step: a weighted sum of named terms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from distill.batch import Batch, LossReport, Penalty, TeacherSignals
from distill.errors import ConfigError
from distill.losses.setting import LossSetting, TaskInfo
from distill.losses.terms.base import LossInputs, LossTerm, TermSums

Weighting = Literal["fixed", "uncertainty"]


def _same(denominators: Tensor) -> Tensor:
    return denominators


def _check(terms: Mapping[str, LossTerm]) -> None:
    if not terms:
        raise ConfigError("The loss has no terms.", where="loss.terms", expected="at least one loss term", found="none")
    for name, term in terms.items():
        if not isinstance(term, LossTerm):
            raise ConfigError(
                "The loss holds something that is not a loss term.",
                where=f"loss.terms.{name}",
                expected="a term of distill.losses.terms",
                found=f"{type(term).__name__}: {term!r}",
                remedy="Give its `_target_`, or remove the whole key (`~loss.terms.<name>`).",
            )
        if not name.isidentifier() or hasattr(nn.ModuleDict, name):
            raise ConfigError(
                "A loss term has a name that a module cannot have.",
                where=f"loss.terms.{name}",
                expected="a Python identifier that is not an attribute of torch.nn.ModuleDict",
                found=repr(name),
                remedy="Choose another name.",
            )


def _named(where: str, setup: Callable[[], None]) -> None:
    """Sets a term up; its errors say which one it is."""
    try:
        setup()
    except ConfigError as error:
        raise ConfigError(
            error.problem,
            where=where if error.where is None else f"{where} ({error.where})",
            expected=error.expected,
            found=error.found,
            remedy=error.remedy,
        ) from error


class CompositeLoss(nn.Module):
    """The sum of the terms' means, each multiplied by its weight at the step.

    ``total = Σ_m weight_m(step) · mean_m``, plus the penalties that the model asks for itself. A term whose weight is 0
    at a step is not computed: its part is reported as 0 and its weight as 0, so that the log shows when it joins.
    Parameters of its own get a gradient of 0 then: DDP wants one from every parameter.

    Several processes: `reduce_denominators` gets the detached denominators of all computed terms in one vector `[U]`,
    once a step, and returns the vector to divide by. With the mean of the denominators over the processes (sum divided
    by the world size), the mean over processes of the gradients, and of the parts, is what one process would have got
    from all rows, however unevenly they are spread; penalties are divided likewise. It is left out when no term has a
    weight and there is no penalty, which is so on all processes at once, since weights depend on the step alone.

    With `weighting="uncertainty"` the mean of term m counts ``weight_m(step) · (exp(-s_m) mean_m + s_m / 2)`` with a
    learned s_m, 0 at first, that the optimiser trains with the model; where a term has no rows, it is left alone. The
    least of this is at exp(s_m) = 2 mean_m: terms that get small count for more, and a term that can reach 0 (a KL
    divergence, say) is never given up.

    Args:
        terms: Name to term; parts and weights are reported in this order.
        weighting: `fixed` (the weights alone) or `uncertainty` (learned weights on top of them).

    Raises:
        ConfigError: If there is no term, something is not a term, a name cannot be that of a module, or the weighting
            is unknown.

    Reference: Kendall et al., "Multi-Task Learning Using Uncertainty to Weigh Losses", 2018, arXiv:1705.07115.
    """

    def __init__(self, terms: Mapping[str, LossTerm], weighting: Weighting = "fixed") -> None:
        super().__init__()
        _check(terms)
        if weighting not in get_args(Weighting):
            raise ConfigError(
                "Unknown weighting of the terms.",
                where="loss.weighting",
                expected=" or ".join(get_args(Weighting)),
                found=str(weighting),
            )
        self.terms = nn.ModuleDict(dict(terms))
        self.log_variances: nn.ParameterDict | None = None
        if weighting == "uncertainty":
            self.log_variances = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in terms})
        self.reduce_denominators: Callable[[Tensor], Tensor] = _same

    def named_terms(self) -> dict[str, LossTerm]:
        """Returns the terms by name, in their order."""
        return {name: term for name, term in self.terms.items() if isinstance(term, LossTerm)}

    @property
    def needs_signals(self) -> bool:
        """Whether any term reads the teacher signals."""
        return any(term.uses_signals for term in self.named_terms().values())

    @property
    def teacher_vectors(self) -> tuple[str, ...]:
        """Names of the teacher's hidden vectors that the terms read, sorted."""
        return tuple(sorted({name for term in self.named_terms().values() for name in term.teacher_vectors}))

    def check(self, tasks: Sequence[TaskInfo], has_signals: bool, where: str = "loss") -> None:
        """Checks that every term can act on the tasks; can be called before anything is trained.

        Args:
            tasks: Tasks in the order of the logits' columns.
            has_signals: Whether batches will come with teacher signals.
            where: Where the config describes the loss, for errors.

        Raises:
            ConfigError: If a term asks for an unknown task or for signals that there will not be; it names the term.
        """
        for name, term in self.named_terms().items():
            _named(f"{where}.terms.{name}", partial(term.check, tasks, has_signals))

    def setup(self, setting: LossSetting) -> None:
        """Tells every term of the run; called once before training.

        Raises:
            ConfigError: If the run lacks what a term reads; it names the term.
        """
        for name, term in self.named_terms().items():
            _named(f"{setting.where}.terms.{name}", partial(term.setup, setting))

    def acts_on(self, batch: Batch, signals: TeacherSignals | None, step: int) -> Tensor:
        """Says which candidates any term with a weight at `step` acts on: the others need not be scored.

        Returns:
            `[N]` bool.
        """
        return _union(self._in_force(step), batch, signals)

    def _in_force(self, step: int) -> list[LossTerm]:
        return [term for term in self.named_terms().values() if not term.weight.is_zero(step)]

    def listens_to(self, batch: Batch, step: int) -> Tensor:
        """Says which candidates any term with a weight at `step` would read the teacher's signals of, if it scored all.

        Returns:
            `[N]` bool.
        """
        anything = TeacherSignals(torch.zeros_like(batch.labels), torch.ones_like(batch.weight, dtype=torch.bool), {})
        return _union([term for term in self._in_force(step) if term.uses_signals], batch, anything)

    def forward(self, inputs: LossInputs) -> LossReport:
        """Computes the loss of a batch.

        Args:
            inputs: The batch, the student's output, the teacher's signals and the step.

        Returns:
            The total with gradient, 0 if no term has a weight or a row; the unweighted means and the weights of all
            terms.
        """
        terms = self.named_terms()
        weights: dict[str, float | Tensor] = {name: term.weight.value(inputs.step) for name, term in terms.items()}
        penalties = inputs.output.penalties
        sums = {name: term(inputs) for name, term in terms.items() if not term.weight.is_zero(inputs.step)}
        means, used, penalised = self._means(sums, penalties)
        logits = inputs.output.logits
        weighted = [weights[name] * self._learned(name, mean, used[name]) for name, mean in means.items()]
        total = torch.stack(weighted).sum() if weighted else (logits * 0).sum()
        for idle in (p for name in terms if name not in means for p in self._own(name)):
            total = total + (idle * 0).sum()
        if self.log_variances is not None:
            learned = {name: s.detach().neg().exp() for name, s in self.log_variances.items()}
            weights = {name: weight * learned[name] for name, weight in weights.items()}
        parts = {name: means[name].detach() if name in means else logits.new_zeros(()) for name in terms}
        for name, penalty in penalised.items():
            total = total + penalty
            parts[f"penalty_{name}"], weights[f"penalty_{name}"] = penalty.detach(), 1.0
        return LossReport(total=total, parts=parts, weights=weights)

    def _learned(self, name: str, mean: Tensor, used: Tensor) -> Tensor:
        """Weighs a mean by the term's learned variance, if it has one; `used` is whether it has any row anywhere."""
        if self.log_variances is None:
            return mean
        s = self.log_variances[name].to(mean.dtype)
        return torch.where(used, (-s).exp() * mean + 0.5 * s, mean)

    def _own(self, name: str) -> Iterator[nn.Parameter]:
        yield from self.terms[name].parameters()
        if self.log_variances is not None:
            yield self.log_variances[name]

    def _means(
        self, sums: Mapping[str, TermSums], penalties: Mapping[str, Penalty]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Returns the mean of each term, whether it has any row on any process, and the mean of each penalty."""
        own = [term.denominators for term in sums.values()] + [p.denominator.view(1) for p in penalties.values()]
        if not own:
            return {}, {}, {}
        with torch.no_grad():
            joined = self.reduce_denominators(torch.cat(own))
        shares = torch.split(joined, [denominators.numel() for denominators in own])
        of_terms, of_penalties = shares[: len(sums)], shares[len(sums) :]
        means = {name: term.mean(share) for (name, term), share in zip(sums.items(), of_terms, strict=True)}
        used = {name: (share > 0).any() for name, share in zip(sums, of_terms, strict=True)}
        scalars = {name: p.mean(share[0]) for (name, p), share in zip(penalties.items(), of_penalties, strict=True)}
        return means, used, scalars


def _union(terms: Sequence[LossTerm], batch: Batch, signals: TeacherSignals | None) -> Tensor:
    """Rows that any of the terms acts on `[N]` bool."""
    rows = torch.zeros_like(batch.weight, dtype=torch.bool)
    for term in terms:
        rows = rows | term.acts_on(batch, signals)
    return rows
