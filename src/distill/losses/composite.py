"""The loss of a training step: a weighted sum of named terms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from distill.batch import Batch, LossReport, Penalty, TeacherSignals
from distill.errors import ConfigError
from distill.losses.adapter import TeacherAdapter
from distill.losses.checked import ADAPTER, check_heard, check_terms
from distill.losses.gradnorm import GradNorm
from distill.losses.setting import LossSetting, TaskInfo
from distill.losses.terms.base import LossInputs, LossTerm, TermSums

Weighting = Literal["fixed", "uncertainty"]


def _same(denominators: Tensor) -> Tensor:
    return denominators


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
    divergence, say) is never given up. With a `GradNorm` it counts ``weight_m(step) · w_m mean_m`` with a w_m that
    makes gradients alike in size.

    With an adapter, the terms are given the teacher's logits as it has adapted them, and its own loss is one more part
    (`adapter`), which neither learned weights nor GradNorm look at.

    Args:
        terms: Name to term; parts and weights are reported in this order.
        weighting: `fixed` (the weights alone), `uncertainty` or a `GradNorm` (learned weights on top of them).
        adapter: Calibrates a stale teacher while the student learns; none by default.

    Raises:
        ConfigError: If there is no term, something is not a term, a name cannot be that of a module, the weighting is
            unknown, or no term would listen to the adapter.

    Reference: Kendall et al., "Multi-Task Learning Using Uncertainty to Weigh Losses", 2018, arXiv:1705.07115.
    """

    def __init__(
        self,
        terms: Mapping[str, LossTerm],
        weighting: Weighting | GradNorm = "fixed",
        adapter: TeacherAdapter | None = None,
    ) -> None:
        super().__init__()
        check_terms(terms)
        if not isinstance(weighting, GradNorm) and weighting not in get_args(Weighting):
            raise ConfigError(
                "Unknown weighting of the terms.",
                where="loss.weighting",
                expected=", ".join(get_args(Weighting)) + ", or a GradNorm (+weighting@loss.weighting=gradnorm)",
                found=str(weighting),
            )
        if adapter is not None:
            check_heard(terms)
        self.gradnorm = weighting if isinstance(weighting, GradNorm) else None
        if self.gradnorm is not None:
            self.gradnorm.start(list(terms))
        self.adapter = adapter
        self.terms = nn.ModuleDict(dict(terms))
        self.log_variances: nn.ParameterDict | None = None
        if weighting == "uncertainty":
            self.log_variances = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in terms})
        self.reduce_denominators: Callable[[Tensor], Tensor] = _same

    def named_terms(self) -> dict[str, LossTerm]:
        """Returns the terms by name, in their order."""
        return {name: term for name, term in self.terms.items() if isinstance(term, LossTerm)}

    def terms_and_adapter(self) -> dict[str, LossTerm]:
        """Returns all that has a weight: the terms, and the adapter behind them."""
        return self.named_terms() | ({} if self.adapter is None else {ADAPTER: self.adapter})

    @property
    def needs_signals(self) -> bool:
        """Whether any term reads the teacher signals."""
        return any(term.uses_signals for term in self.named_terms().values())

    @property
    def reads_parameters(self) -> bool:
        """Whether the loss looks at gradients of the model's weights."""
        return self.gradnorm is not None

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
        if self.adapter is not None:
            _named(f"{where}.{ADAPTER}", partial(self.adapter.check, tasks, has_signals))

    def setup(self, setting: LossSetting) -> None:
        """Tells every term of the run; called once before training.

        Raises:
            ConfigError: If the run lacks what a term reads; it names the term.
        """
        for name, term in self.named_terms().items():
            _named(f"{setting.where}.terms.{name}", partial(term.setup, setting))
        if self.adapter is not None:
            _named(f"{setting.where}.{ADAPTER}", partial(self.adapter.setup, setting))

    def acts_on(self, batch: Batch, signals: TeacherSignals | None, step: int) -> Tensor:
        """Says which candidates any term with a weight at `step` acts on: the others need not be scored.

        Returns:
            `[N]` bool.
        """
        return _union(self._in_force(step), batch, signals)

    def _in_force(self, step: int) -> list[LossTerm]:
        return [term for term in self.terms_and_adapter().values() if not term.weight.is_zero(step)]

    def adapted(self, inputs: LossInputs) -> LossInputs:
        """Returns the inputs as the terms are given them: with the teacher's logits adapted, if there is an adapter."""
        adapter = self.adapter
        return inputs if adapter is None else adapter.adapt(inputs, adapter.adapted_logits(inputs))

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
        given: dict[str, float | Tensor] = {name: term.weight.value(inputs.step) for name, term in terms.items()}
        penalties, logits = inputs.output.penalties, inputs.output.logits
        inputs, of_adapter = self._adapted(inputs)
        sums = {name: term(inputs) for name, term in terms.items() if not term.weight.is_zero(inputs.step)}
        means, used, penalised = self._means({**sums, **of_adapter}, penalties)
        adapting = {name: means.pop(name) for name in of_adapter}
        weights = self._weights(given)
        weighted = [given[name] * mean for name, mean in self._learned(means, used, inputs).items()]
        total = torch.stack(weighted).sum() if weighted else (logits * 0).sum()
        for idle in (p for name in terms if name not in means for p in self._own(name)):
            total = total + (idle * 0).sum()
        parts = {name: means[name].detach() if name in means else logits.new_zeros(()) for name in terms}
        if self.adapter is not None:
            weights[ADAPTER] = self.adapter.weight.value(inputs.step)
            mean = adapting.get(ADAPTER, torch.stack([(p * 0).sum() for p in self.adapter.parameters()]).sum())
            total, parts[ADAPTER] = total + weights[ADAPTER] * mean, mean.detach()
        for name, penalty in penalised.items():
            total = total + penalty
            parts[f"penalty_{name}"], weights[f"penalty_{name}"] = penalty.detach(), 1.0
        return LossReport(total=total, parts=parts, weights=weights)

    def _adapted(self, inputs: LossInputs) -> tuple[LossInputs, dict[str, TermSums]]:
        """Adapts the teacher's logits; returns the adapter's own sums too, if it learns at this step."""
        adapter = self.adapter
        if adapter is None:
            return inputs, {}
        adapted = adapter.adapted_logits(inputs)
        own = {} if adapter.weight.is_zero(inputs.step) else {ADAPTER: adapter.sums(inputs, adapted)}
        return adapter.adapt(inputs, adapted), own

    def _weights(self, given: Mapping[str, float | Tensor]) -> dict[str, float | Tensor]:
        """Returns what the mean of each term is multiplied by at this step."""
        if self.gradnorm is not None:
            learned = self.gradnorm.weights()
        elif self.log_variances is not None:
            learned = {name: s.detach().neg().exp() for name, s in self.log_variances.items()}
        else:
            return dict(given)
        return {name: weight * learned[name] for name, weight in given.items()}

    def _learned(
        self, means: Mapping[str, Tensor], used: Mapping[str, Tensor], inputs: LossInputs
    ) -> dict[str, Tensor]:
        """Weighs the means by what is learned, and lets GradNorm learn from them for the next step."""
        if self.gradnorm is None:
            return {name: self._by_variance(name, mean, used[name]) for name, mean in means.items()}
        now = self.gradnorm.weights()
        if means and self.training:
            self.gradnorm.learn(means, used, inputs.parameters, self.reduce_denominators)
        return {name: now[name].to(mean.dtype) * mean for name, mean in means.items()}

    def _by_variance(self, name: str, mean: Tensor, used: Tensor) -> Tensor:
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
