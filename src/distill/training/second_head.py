"""A second head for the teacher: a student that is trained with the heads of twice its tasks, of which half serve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from distill.batch import Batch, RankerOutput
from distill.errors import ConfigError, DataError
from distill.schema import Schema
from distill.training.optim import table_parameters

SECOND_HEAD = "distill_second_head"
"""Key of a checkpoint: weights that hold both heads, by name; the state of the model has the half that serves."""

_NOISE = 0.1
_TOLERANCE = 1e-4  # of logits: sums of another length round in another way
_MARK = "__of_teacher"


def with_second_head(schema: Schema) -> Schema:
    """Returns a schema with a task for the teacher behind those of the labels, for each of them."""
    of_teacher = [task.model_copy(update={"name": task.name + _MARK}) for task in schema.tasks]
    return schema.model_copy(update={"tasks": [*schema.tasks, *of_teacher]})


def heads_of(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Returns the weights of a checkpoint that hold both heads, by name; none of a model without a second head."""
    found = checkpoint.get(SECOND_HEAD)
    return {str(n): v for n, v in found.items() if isinstance(v, Tensor)} if isinstance(found, Mapping) else {}


@dataclass(frozen=True)
class SecondHead:
    """Which part of a model with two heads is the model that is served.

    A model has a head for each task over what the tasks share, so a model of 2 K tasks is one of K tasks with a second
    head: weights that depend on the number of tasks hold those of the served head first. Labels train the first K
    logits and the teacher the last K, so that where they disagree they disagree about the backbone alone, in the ratio
    of the terms' weights (β of the papers).

    Attributes:
        num_tasks: K.
        shapes: Of the weights and buffers of the served model.
        widths: Of its hidden vectors by name, but for those that do not have the served half in front.

    Reference: ExFM, arXiv 2502.17494 (auxiliary head); Rec-Distill, arXiv 2605.29755; the head of its own for the
    teacher's labels of YouTube, arXiv 2408.14678.
    """

    num_tasks: int
    shapes: Mapping[str, torch.Size]
    widths: Mapping[str, int]

    @classmethod
    def of(cls, model: nn.Module, served: nn.Module, batch: Batch, where: str) -> SecondHead:
        """Finds the served half of a model, and proves on a batch that it says what the whole says, whatever it learns:
        with noise on all weights but those of tables, as some begin with 0 and hide what they do.

        Args:
            model: Of twice the tasks; its hidden vectors and logits are those of the served half from now on, with the
                others in `RankerOutput.taught`.
            served: Of the tasks, otherwise built alike; its weights are overwritten, its mode too.
            batch: To run both on.
            where: The config's key, for errors.

        Raises:
            ConfigError: The heads of this model cannot be told apart.
        """
        shapes = {name: value.shape for name, value in served.state_dict().items()}
        noisy = _with_noise(model)
        if noisy.keys() != shapes.keys() or any(noisy[n].dim() != len(s) for n, s in shapes.items()):
            raise _cannot(model, where, "weights of other names with twice the tasks")
        mode = model.training
        try:
            served.load_state_dict(cls(0, shapes, {}).served(noisy))
            with torch.no_grad():
                both = functional_call(model.eval(), noisy, (batch,), tie_weights=False)
                one = served.eval()(batch)
        except RuntimeError as error:
            raise _cannot(model, where, str(error)[:300]) from error
        finally:
            model.train(mode)
        tasks = one.logits.shape[1]
        if not (far := _difference(both.logits[:, :tasks], one.logits)) <= _TOLERANCE:
            raise _cannot(model, where, f"other numbers without the second head (they differ by {far:.3g})")
        if reached := _reached(model, noisy, shapes, batch, tasks):
            raise _cannot(model, where, f"the teacher would train the head that serves, too: {reached}")
        widths = {name: int(vector.shape[1]) for name, vector in one.hidden.items()}
        in_front = {n: w for n, w in widths.items() if _difference(both.hidden[n][:, :w], one.hidden[n]) <= _TOLERANCE}
        found = cls(tasks, shapes, in_front)
        model.register_forward_hook(lambda _module, _inputs, output: found.split(output))
        return found

    def split(self, output: RankerOutput) -> RankerOutput:
        """Returns the output of the served half, with the other logits in `taught`."""
        hidden = {name: output.hidden[name][:, :width] for name, width in self.widths.items()}
        served, taught = output.logits[:, : self.num_tasks], output.logits[:, self.num_tasks :]
        return replace(output, logits=served, hidden=hidden, taught=taught)

    def served(self, state: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
        """Returns a state with the served half of weights that hold both heads, as views of them; what does not begin
        with the prefix stays as it is."""
        found = dict(state)
        for name, shape in self.shapes.items():
            value = state[prefix + name]
            for dim, size in enumerate(shape):
                value = value.narrow(dim, 0, size)
            found[prefix + name] = value
        return found

    def saved(self, state: Mapping[str, Tensor], prefix: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Takes a state apart: that of the served model, and the weights that hold both heads."""
        own = {name: state[prefix + name] for name in self.shapes}
        both = {name: value for name, value in own.items() if value.shape != self.shapes[name]}
        served = self.served(state, prefix)
        return served | {prefix + name: served[prefix + name].clone() for name in both}, both

    def whole(self, state: Mapping[str, Tensor], both: Any, prefix: str) -> dict[str, Tensor]:
        """Undoes `saved`.

        Raises:
            DataError: The checkpoint has no second head.
        """
        if not isinstance(both, Mapping) or not both.keys() <= self.shapes.keys():
            raise DataError(
                "The checkpoint is of a model without a second head.",
                where=SECOND_HEAD,
                remedy="Train with model.head=shared, or start a new training.",
            )
        return {**state, **{prefix + name: value for name, value in both.items()}}


def _with_noise(model: nn.Module) -> dict[str, Tensor]:
    """Returns the state of a model with other dense weights; tables are the same memory."""
    generator = torch.Generator().manual_seed(0)
    tables = {id(p) for p in table_parameters(model)}
    state = {name: value.detach() for name, value in model.state_dict(keep_vars=True).items()}
    dense = {name: p.detach() for name, p in model.named_parameters() if id(p) not in tables}
    return state | {name: p + _NOISE * torch.randn(p.shape, generator=generator) for name, p in dense.items()}


def _reached(
    model: nn.Module, state: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], batch: Batch, num_tasks: int
) -> str | None:
    """Returns a weight of which the second head's logits send a gradient to the served half, such as that of a chain
    of tasks which the second head's only continue."""
    split = {n: v.clone().requires_grad_() for n, v in state.items() if v.shape != shapes[n] and v.is_floating_point()}
    mode = model.training
    try:
        output = functional_call(model.eval(), {**state, **split}, (batch,), tie_weights=False)
    finally:
        model.train(mode)
    taught = output.logits[:, num_tasks:].sum()
    gradients = torch.autograd.grad(taught, list(split.values()), allow_unused=True)
    sent = {name: grad.to_dense() for name, grad in zip(split, gradients, strict=True) if grad is not None}
    served = SecondHead(num_tasks, {name: shapes[name] for name in sent}, {}).served(sent)
    return next((name for name, grad in served.items() if bool(grad.any())), None)


def _difference(some: Tensor, others: Tensor) -> float:
    return float((some - others).abs().max()) if some.shape == others.shape else torch.inf


def _cannot(model: nn.Module, where: str, why: str) -> ConfigError:
    return ConfigError(
        "This model cannot have a separate head for the teacher.",
        where=where,
        expected="a model whose heads share the rest alone, such as two_tower, three_tower, int_tower or cold",
        found=f"{type(model).__name__}: {why}",
        remedy="Choose model.head=shared, or another model.",
    )
