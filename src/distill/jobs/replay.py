"""Re-runs the step of a non-finite loss or gradient from the file that the run left, and says where it comes from.

`python scripts/replay.py <the same arguments> step=FILE` rebuilds the model from the file and the loss from the config,
runs the saved batch through them with the saved random state, and reports the value of each term, the first modules
whose output is not finite, the gradients that are not, and the candidates concerned. It trains and writes nothing. With
several processes the terms are those of the saved rank's rows alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from distill.batch import Batch, LossReport, TeacherSignals
from distill.console import plain_console
from distill.data.format import Dataset
from distill.errors import DataError
from distill.features import EmbeddingTables
from distill.jobs.datasets import open_dataset, warn_of_contents
from distill.jobs.fit_plan import FitPlan, Role
from distill.jobs.parts import Card, build_model, hidden_vectors, read_card, widths
from distill.jobs.sizes import assumed
from distill.jobs.teacher import scored_tasks
from distill.jobs.told import told_of_dataset
from distill.jobs.two_heads import build_two_headed
from distill.losses import CompositeLoss, LossInputs
from distill.losses.blame import non_finite_gradients
from distill.losses.setting import LossSetting, task_infos
from distill.schema import Schema
from distill.training.checkpoint_io import read_checkpoint
from distill.training.finite import StepGradients
from distill.training.module import item_tower
from distill.training.optim import dense_parameters
from distill.training.saved_step import read_batch, read_signals

_SHOWN_ROWS = 10
_EXPECTED = {"role", "step", "total_steps", "batch", "signals", "random_state", "parts", "card"}


@dataclass(frozen=True)
class Extent:
    """The values of a tensor: how many are not finite, and the least and greatest of the others (NaN if none)."""

    name: str
    bad: int
    values: int
    low: float
    high: float

    @classmethod
    def of(cls, name: str, tensor: Tensor) -> Extent:
        """Measures a tensor."""
        finite = tensor.detach()[torch.isfinite(tensor.detach())].float()
        nan = float("nan")
        low, high = (float(finite.min()), float(finite.max())) if finite.numel() else (nan, nan)
        return cls(name, tensor.numel() - finite.numel(), tensor.numel(), low, high)


@dataclass(frozen=True)
class Replay:
    """What a replay found.

    Attributes:
        role, step: Which model, and when.
        total: The loss.
        parts, weights: Of each term.
        saved: The parts when the run stopped.
        inputs, parameters: Those with values that are not finite.
        outputs: Of each module, in the order in which they ran.
        gradients: Of parameters, those with values that are not finite.
        blamed: Terms whose own gradient, with respect to what the model says, is not finite.
        rows: Candidates (positions in the batch) with an input, a signal or a logit that is not finite.
        batch: The batch.
    """

    role: str
    step: int
    total: float
    parts: dict[str, float]
    weights: dict[str, float]
    saved: dict[str, float]
    inputs: list[Extent]
    parameters: list[Extent]
    outputs: list[Extent]
    gradients: list[Extent]
    blamed: list[str]
    rows: list[int]
    batch: Batch

    @property
    def first_bad_output(self) -> Extent | None:
        """The first module whose output is not finite."""
        return next((extent for extent in self.outputs if extent.bad), None)


def run(cfg: DictConfig) -> Replay:
    """Replays the step of the file `step` and prints the report.

    Raises:
        DataError: The file is missing, damaged, holds more than plain data, or is not of a step.
        ConfigError: The config's loss is not that of the run.
    """
    found = replay(Path(cfg.step), cfg)
    _print(found, plain_console())
    return found


def replay(path: Path, cfg: DictConfig) -> Replay:
    """Runs the saved step again. See `run`."""
    saved = read_checkpoint(path)
    if missing := _EXPECTED - saved.keys():
        raise DataError("The file does not hold a step.", where=str(path), expected=", ".join(sorted(missing)))
    card = read_card(saved["card"], path)
    schema = card.schema
    plan = FitPlan.of(assumed(cfg), _role(saved["role"], path))
    model = _model(plan, card, path).train()
    batch, signals = read_batch(saved["batch"], path), read_signals(saved["signals"], path)
    taught = scored_tasks(cfg, schema)
    loss = plan.build_loss()
    setting = LossSetting(
        tasks=task_infos(schema, taught),
        has_signals=signals is not None,
        total_steps=int(saved["total_steps"]),
        where=plan.key("loss"),
        student_vectors=lambda: widths(hidden_vectors(model, batch)),
        teacher_vectors=lambda: widths({} if signals is None else signals.hidden),
    )
    loss.setup(told_of_dataset(setting, lambda: _dataset(cfg, card.dataset, path), schema, schema))
    try:
        model.load_state_dict(_below(saved["state_dict"], "model."))
        loss.load_state_dict(_below(saved["state_dict"], "loss."))
    except RuntimeError as error:
        raise DataError("The weights do not fit the model.", where=str(path), found=str(error)[:300]) from error
    outputs = _watch(model)
    if saved["random_state"] is not None:
        torch.set_rng_state(saved["random_state"])
    output = model(batch)
    tower = item_tower(model, torch.device("cpu"))
    inputs = LossInputs(batch, output, signals, int(saved["step"]), tower, dense_parameters(model))
    report: LossReport = loss(inputs)
    gradients = _gradients(report, model, loss)
    named = {**_floats(replace(batch, signals=None), "batch"), **_floats(_told(signals, schema, taught), "signals")}
    parameters = [Extent.of(name, value) for name, value in model.named_parameters()]
    return Replay(
        role=plan.role,
        step=int(saved["step"]),
        total=float(report.total.detach()),
        parts={name: float(value) for name, value in report.parts.items()},
        weights={name: float(value) for name, value in report.weights.items()},
        saved={name: float(value) for name, value in saved["parts"].items()},
        inputs=[extent for name, value in named.items() if (extent := Extent.of(name, value)).bad],
        parameters=[extent for extent in parameters if extent.bad],
        outputs=outputs,
        gradients=gradients,
        blamed=non_finite_gradients(loss, inputs, list(model.parameters())),
        rows=_bad_rows(batch, {**named, "logits": output.logits}),
        batch=batch,
    )


def _model(plan: FitPlan, card: Card, path: Path) -> nn.Module:
    """Builds the model of a step as it was trained: with the head of the teacher, if it had one."""
    where = f"{path}: net"
    if plan.decoupled:
        return build_two_headed(card.net, card.schema, where, EmbeddingTables)[0]
    return build_model(card.net, card.schema, where)


def _role(saved: Any, path: Path) -> Role:
    if saved not in get_args(Role):
        raise DataError(
            "The file names a model that runs do not have.", where=f"{path}: role", expected=", ".join(get_args(Role))
        )
    role: Role = saved
    return role


def _dataset(cfg: DictConfig, fingerprint: str, path: Path) -> Dataset:
    """Opens the dataset that the step was trained on.

    Raises:
        DataError: The config names another.
    """
    dataset = warn_of_contents(open_dataset(cfg))
    if dataset.fingerprint != fingerprint:
        raise DataError(
            "The step is of another dataset, whose items its loss looks at.",
            where=str(path),
            expected=f"dataset {fingerprint}",
            found=f"dataset {dataset.fingerprint} ({dataset.root})",
            remedy="Replay with the data of the run.",
        )
    return dataset


def _gradients(report: LossReport, model: nn.Module, loss: CompositeLoss) -> list[Extent]:
    """Measures the gradients of parameters that are not finite; of a table, those of its touched rows."""
    if not report.total.requires_grad:
        return []
    torch.autograd.backward(report.total, retain_graph=True)
    found = StepGradients(nn.ModuleDict({"model": model, "loss": loss})).values()
    return [extent for name, values in found.items() if (extent := Extent.of(name, values)).bad]


def _told(signals: TeacherSignals | None, schema: Schema, taught: Sequence[str]) -> TeacherSignals | None:
    """Returns the signals without the columns of tasks that the teacher does not score, which hold NaN."""
    if signals is None:
        return None
    columns = [position for position, name in enumerate(schema.task_names) if name in taught]
    return replace(signals, logits=signals.logits[:, columns])


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _watch(model: nn.Module) -> list[Extent]:
    """Measures the output of every module as it runs."""
    outputs: list[Extent] = []

    def measure(name: str, output: Any) -> None:
        output = getattr(output, "logits", output)
        if isinstance(output, Tensor) and output.is_floating_point():
            outputs.append(Extent.of(name, output))

    for name, module in model.named_modules():
        label = f"{name or 'model'} ({type(module).__name__})"
        module.register_forward_hook(lambda _, __, output, label=label: measure(label, output))
    return outputs


def _floats(value: Any, place: str) -> dict[str, Tensor]:
    """All floating-point tensors below a batch or signals, by their place."""
    if isinstance(value, Tensor):
        return {place: value} if value.is_floating_point() else {}
    inner = value if isinstance(value, Mapping) else getattr(value, "__dict__", {})
    found: dict[str, Tensor] = {}
    for name, item in inner.items():
        found |= _floats(item, f"{place}.{name}")
    return found


def _bad_rows(batch: Batch, tensors: Mapping[str, Tensor]) -> list[int]:
    """Candidates with a value that is not finite, be it theirs or their request's."""
    bad = torch.zeros(batch.num_candidates, dtype=torch.bool)
    for name, tensor in tensors.items():
        wrong = ~torch.isfinite(tensor.detach()).reshape(tensor.shape[0], -1).all(dim=1)
        if wrong.shape == bad.shape and not name.startswith("batch.request."):
            bad |= wrong
        elif wrong.shape[0] == batch.num_requests:
            bad |= wrong[batch.request_index]
    return bad.nonzero().flatten().tolist()


def _print(found: Replay, console: Console) -> None:
    console.print(f"Step {found.step} of the {found.role}: the loss is {found.total}")
    terms = Table("term", "value", "value in the run", "weight", "gradient", title="terms", title_justify="left")
    for name, value in found.parts.items():
        gradient = "not finite" if name in found.blamed else "finite"
        terms.add_row(name, repr(value), repr(found.saved.get(name)), repr(found.weights[name]), gradient)
    console.print(terms, _extents("modules in the order they ran", found.outputs))
    for title, extents in (
        ("inputs that are not finite", found.inputs),
        ("such parameters", found.parameters),
        ("gradients that are not finite", found.gradients),
    ):
        if extents:
            console.print(_extents(title, extents))
    first = found.first_bad_output
    place = "All outputs of modules are finite." if first is None else f"First output not finite: {first.name}"
    console.print(place, soft_wrap=True)
    console.print(_rows(found), soft_wrap=True)


def _extents(title: str, extents: list[Extent]) -> Table:
    table = Table("name", "not finite", "least", "greatest", title=title, title_justify="left")
    for extent in extents:
        table.add_row(extent.name, f"{extent.bad} of {extent.values}", f"{extent.low:.4g}", f"{extent.high:.4g}")
    return table


def _rows(found: Replay) -> str:
    if not found.rows:
        return "No single candidate is at fault: inputs, signals and logits are finite; look at the terms and weights."
    batch, lines = found.batch, [f"{len(found.rows)} of {found.batch.num_candidates} candidates are concerned:"]
    for row in found.rows[:_SHOWN_ROWS]:
        request = int(batch.request_id[batch.request_index[row]])
        lines.append(f"  row {int(batch.row[row])} of the split: request {request}, item {int(batch.item_id[row])}")
    return "\n".join(lines + (["  …"] if len(found.rows) > _SHOWN_ROWS else []))
