"""What the keys of a config take that are not arguments of a part, and what arguments of a name take in any part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

MAX_SEED = 2**32 - 1

_Count = Annotated[int, Field(ge=1)]
_Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
_Text = Annotated[str, Field(min_length=1)]
_Texts = Annotated[list[_Text], Field(min_length=1)]
_Seconds = Annotated[float, Field(ge=0)]
_HiddenType = Literal["float32", "float16"]
_Calibration = Literal["none", "temperature", "platt", "isotonic"]

# By pattern; the first that matches a key counts. Objects: a mapping stands there, or nothing.
KEYS: dict[str, Any] = {
    "name": _Text | None,  # of a run; null of what select_fields writes is the name of the run
    "seed": _Seed,
    "threads": _Count | None,
    "trusted": list[_Text],
    "resume": _Text | None,
    "privileged": bool,
    "engine": Literal["local", "ray"],
    "ray.address": _Text | None,
    "ray.workers": _Count | None,
    "ray.object_store_bytes": _Count | None,
    "export": bool,
    "out": _Text | None,
    "paths.*": _Text,
    "logger.tensorboard": bool,
    "logger.extra": Mapping[str, Any],
    "embedding.sharding": Literal["row_wise", "table_wise", "planned"] | None,
    "embedding.dtype": Literal["float32", "bfloat16"],
    "compile.enabled": bool,
    "compile.mode": _Text,
    "compile.dynamic": bool | None,
    "cost.enabled": bool,
    "cost.seconds": _Seconds,
    "control": Mapping[str, Any],
    "control.enabled": bool,
    "control.optimizer": Mapping[str, Any] | None,
    "control.max_epochs": _Count | None,
    "study": Mapping[str, Any] | None,
    # Data.
    "data.main_task": _Text,
    "data.root": _Text | None,
    "data.source": _Text | _Texts | Mapping[Literal["train", "val", "test"], _Text | _Texts | None] | None,
    "data.source.*": _Text | _Texts | None,
    "data.schema": _Text,
    "data.items": _Text | None,
    "data.events": dict[str, _Text] | None,
    "data.adapter": Mapping[str, Any] | None,
    "data.loader.batch_candidates": _Count | Literal["auto"],
    "data.loader.eval_batch_candidates": _Count | None,
    "data.loader.shuffle_buffer": _Count,
    "data.loader.num_shards": _Count | None,
    "data.loader.prefetch": bool,
    "data.loader.workers": _Count | None,
    "data.loader.resident": Literal["host", "device"] | None,
    "memory_bytes": _Count,
    "encodings": _Text | None,
    "grow": bool,
    # Models, losses and what is measured.
    "model.name": _Text,
    "teacher.model.name": _Text,
    "model.init_from": _Text | None,
    "teacher.model.init_from": _Text | None,
    "model.init_optimizer": bool,
    "model.head": Literal["shared", "decoupled"],
    "model.head_bias": Literal["default", "prior"],
    "teacher.model.head_bias": Literal["default", "prior"],
    "teacher.model.init_optimizer": bool,
    "model.vectors": Mapping[str, Any],
    "teacher.model.vectors": Mapping[str, Any],
    "model.vectors.*": Any,  # files by table, which FitPlan reads
    "teacher.model.vectors.*": Any,
    "sampling": Mapping[str, Any],
    "loss.terms": Mapping[str, Any],
    # Callbacks.
    "callbacks.monitor": _Text,
    "callbacks.mode": Literal["auto", "min", "max"],
    "callbacks.patience": Annotated[int, Field(ge=0)] | Literal["auto"] | None,
    "callbacks.min_delta": Annotated[float, Field(ge=0)],
    "callbacks.checkpoint_every_n_steps": _Count | None,
    "callbacks.weight_average": Annotated[float, Field(gt=0, lt=1)] | None,
    "callbacks.progress_bar": bool,
    "callbacks.extra": Mapping[str, Any],
    # Lightning's Trainer, where this program asks for more than it does.
    "trainer.accelerator": Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"] | Mapping[str, Any],
    "trainer.precision": Literal[
        "auto",
        "32-true",
        "bf16-mixed",
        "16-mixed",
        "64-true",
        "bf16-true",
        "16-true",
        "transformer-engine",
        "transformer-engine-float16",
    ],
    "trainer.matmul_precision": Literal["highest", "high", "medium"],
    "trainer.capture": Literal["auto", "off"],
    "trainer.devices": _Count | Literal["auto"],
    "trainer.num_nodes": _Count,
    "trainer.max_epochs": _Count | Literal["auto"],
    "trainer.max_steps": Annotated[int, Field(ge=-1)],
    "trainer.accumulate_grad_batches": _Count,
    "trainer.check_val_every_n_epoch": _Count,
    "trainer.val_check_interval": _Count | Annotated[float, Field(gt=0, le=1)],
    "trainer.limit_*_batches": Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, le=1)] | None,
    "trainer.log_every_n_steps": _Count,
    # The teacher.
    "teacher.source": Literal["none", "trained", "checkpoint", "column", "ensemble", "cotrained"],
    "teacher.path": _Text | None,
    "teacher.signals": Literal["cached", "online"],
    "teacher.calibration": _Calibration,
    "teacher.hidden_type": _HiddenType,
    "teacher.hidden_width": _Count | None,
    "teacher.max_epochs": _Count | Literal["auto"],
    "teacher.privileged": bool,
    "teacher.share_embeddings": bool,
    "teacher.own_embeddings": list[str],
    "teacher.members": list[str],
    "teacher.weights": list[float] | None,
    "teacher.mean": Literal["logits", "probabilities"],
    # scripts/score.py.
    "keys": bool,
    "hidden": list[str],
    "hidden_type": _HiddenType,
    "hidden_width": _Count | None,
    "hidden_components": _Text | None,
    # scripts/past_vectors.py.
    "signals": _Text,
    "vector": _Text | None,
    "task": _Text | None,
    "most": _Count,
    "delay": Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^\d+(\.\d+)? ?[smhdw]$")],
    "field": Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")],
    "scale": Annotated[float, Field(gt=0)],
    "part_rows": _Count | None,
    # scripts/replay.py.
    "step": _Text,
    # scripts/predict.py.
    "source": _Text | _Texts,
    "keep": list[_Text],
    "top_k": _Count | None,
    "batch_candidates": _Count,
    "unit_rows": _Count | None,
    # scripts/export.py.
    "what": Literal["bundle", "items"],
    "items": _Text | None,
    "item_type": Literal["float32", "float16", "int8"],
    "base": _Text | None,
    "whole_catalogue": bool,
    "in_parts": bool,
    "key_value": bool,
    "index": Literal["flat", "ivf"] | None,
    "exported": bool,
    "top_k_type": Literal["float32", "float16"],
    "compile_for": list[Literal["cpu", "cuda"]],
    "rerank": Mapping[str, Any] | None,
    "rerank.*": Any,  # which read_rerank reads
    # scripts/evaluate.py.
    "path": _Text | list[_Text] | dict[str, _Text],
    "path.*": _Text,
    "teacher_path": _Text | None,
    "data_split": Literal["train", "val", "test"],
    "each": bool,
    "item_types": list[Literal["float32", "float16", "int8"]],
    # scripts/cascade.py.
    "ks": Annotated[list[_Count], Field(min_length=1)],
    "ranked": _Count,
    "shown": _Count,
    "best": _Count,
    "truth": _Text | None,
    "truth_is_log": bool,
    "propensity": _Text | None,
    "clip": Annotated[float, Field(ge=1)],
    "rerank_vectors": _Text | None,
    "diversity": Mapping[str, Any] | None,
    "diversity.*": Any,  # which the job reads
    # scripts/select_fields.py.
    "run": _Text | None,
    "curve": list[str] | None,
    "metric": _Text,
    "order": Literal["gate", "gate_per_cost"],
    "budget.metric": Literal["flops", "milliseconds", "groups"],
    "budget.limits": list[float] | None,
    "budget.seconds": Annotated[float, Field(gt=0)],
    # +sweep=optuna.
    "study.params": Mapping[str, Any],
    "study.params.*": str | bool | int | float | None,
    "study.n_trials": _Count,
    "study.n_jobs": _Count | None,
    "study.objective": _Text,
    "study.mode": Literal["auto", "min", "max"],
    "study.seeds": list[_Seed] | None,
    "study.sampler_seed": _Seed,
    "study.storage": _Text | None,
    "study.name": _Text,
    "study.trial": Annotated[int, Field(ge=0)] | None,
}

# Keys among the arguments of a part of which this program makes something else than its constructor would.
OWN = frozenset({"trainer.precision", "trainer.matmul_precision", "trainer.capture", "trainer.max_epochs"})

# What a part must be, where that is told apart: by name, so that a job imports those only that it has.
PARTS: dict[str, str] = {
    "trainer": "pytorch_lightning.Trainer",
    "loss": "distill.losses.CompositeLoss",
    "teacher.loss": "distill.losses.CompositeLoss",
    "optimizer": "distill.training.optim.OptimizerFactory",
    "*.optimizer": "distill.training.optim.OptimizerFactory",
    "scheduler": "distill.training.lr_schedule.LRSchedule",
    "*.scheduler": "distill.training.lr_schedule.LRSchedule",
    "metrics": "distill.metrics.MetricSuite",
    "callbacks.extra.*": "pytorch_lightning.Callback",
    "logger.extra.*": "pytorch_lightning.loggers.Logger",
}

# What to give where the config says ???.
EXAMPLES = {
    "path": "FILE.ckpt",
    "source": "DIR",
    "out": "DIR",
    "data.source": "DIR",
    "data.schema": "FILE",
    "data.root": "DIR",
    "teacher.path": "FILE.ckpt",
    "teacher_path": "FILE.ckpt",
    "teacher.members": "[A.ckpt,B.ckpt]",
}


@dataclass(frozen=True)
class Bound:
    """A range of numbers, with its ends unless they are open."""

    text: str
    least: float = 0.0
    most: float = float("inf")
    open_start: bool = False

    def holds(self, number: float) -> bool:
        """Whether a number is in it."""
        return self.least <= number <= self.most and not (self.open_start and number == self.least)


# Arguments that mean the same in every part, by name.
BOUNDS = {
    "seed": Bound(f"0 to {MAX_SEED}", 0, MAX_SEED),
}
