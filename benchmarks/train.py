"""Training speed: the framework against bare loops, requests against flat rows, with a teacher against without."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig

from benchmarks.epochs import BareLoop, Case, ForwardOnly
from benchmarks.interleave import interleave
from benchmarks.rows import BenchmarkRow
from distill.jobs.fit_plan import Signals
from distill.jobs.parts import load_model, model_card
from distill.jobs.score import score_dataset
from distill.jobs.sent_model import SentModel
from distill.jobs.targets import Part
from distill.signals import CheckpointSignals, ColumnSignals
from distill.signals.provenance import HiddenVectors

_RATE = "candidates/s"
_DCN = ["model=dcn_v2", "model.net.body.hidden_units=[256,128,64]"]
_TRANSFORMER = "sequence@model.net.sequence=transformer"


@dataclass(frozen=True)
class TrainBenchmark(Part):
    """Measures whole training epochs in turns.

    Attributes:
        rows: Rows of the flat data, and candidates of the request data.
        turns: How often each thing is measured.
        parts: Which comparisons: dcn_v2, two_tower, resident, requests, sequences, transformer, ranker, distinct,
            teacher, cotrained.
    """

    rows: int
    turns: int
    parts: tuple[str, ...]

    def run(self, paths: DictConfig) -> list[BenchmarkRow]:
        """Measures the parts asked for."""
        known: dict[str, Callable[[DictConfig], list[BenchmarkRow]]] = {
            "dcn_v2": lambda p: self._against_bare("dcn_v2", [*self._flat(), *_DCN], "≥ 0.95", p),
            "two_tower": lambda p: self._against_bare("two_tower", self._flat(), "≥ 0.90", p),
            "resident": lambda p: self._against_bare(
                "two_tower, rows in memory", [*self._flat(), "data.loader.resident=host"], "≥ 0.90", p
            ),
            "requests": lambda p: self._against_flat("two_tower", "no sequence", 0, [], "≥ 1.2", p),
            "sequences": lambda p: self._against_flat("two_tower", "mean of 50", 50, [], "≥ 1.9", p),
            "transformer": lambda p: self._against_flat(
                "two_tower", "Transformer over 50", 50, [_TRANSFORMER], "≥ 5", p
            ),
            "ranker": lambda p: self._against_flat(
                "dcn_v2", "Transformer over 50", 50, [*_DCN, _TRANSFORMER], "> 1", p
            ),
            "distinct": self._distinct,
            "teacher": self._teacher,
            "cotrained": self._cotrained,
        }
        return [row for part in self.parts for row in known[part](paths)]

    def _flat(self) -> list[str]:
        return ["data=benchmark_flat", f"data.adapter.rows={self.rows}"]

    def _requests(self, length: int, layout: str = "requests", share: int = 1) -> list[str]:
        count = max(self.rows // 100 // share, 1)
        adapter = {"requests": count, "sequence_length": length, "layout": layout}
        return ["data=benchmark_requests", *(f"data.adapter.{name}={value}" for name, value in adapter.items())]

    def _against_bare(self, name: str, overrides: list[str], target: str, paths: DictConfig) -> list[BenchmarkRow]:
        case = Case(overrides, paths)
        _warm_up(case)
        found = interleave({"bare": BareLoop(case), "framework": case.framework}, self.turns)
        bare, own = found["bare"], found["framework"]
        return [
            BenchmarkRow(f"train/{name}/bare", bare.typical, _RATE),
            BenchmarkRow(f"train/{name}/framework", own.typical, _RATE, own.over(bare), "bare loop", target),
            BenchmarkRow(f"train/{name}/data_wait", max(case.waits[-self.turns :]), "share", target="≤ 0.03"),
        ]

    def _against_flat(
        self, model: str, name: str, length: int, overrides: list[str], target: str, paths: DictConfig
    ) -> list[BenchmarkRow]:
        share = 10 if overrides else 1  # the flat Transformer is slow
        cases = {
            layout: Case([*self._requests(length, layout, share), *overrides], paths) for layout in ("flat", "requests")
        }
        for case in cases.values():
            _warm_up(case)
        found = interleave({layout: case.framework for layout, case in cases.items()}, self.turns)
        flat, requests = found["flat"], found["requests"]
        return [
            BenchmarkRow(f"train/{model}/flat rows, {name}", flat.typical, _RATE),
            BenchmarkRow(
                f"train/{model}/requests, {name}", requests.typical, _RATE, requests.over(flat), "flat", target
            ),
        ]

    def _distinct(self, paths: DictConfig) -> list[BenchmarkRow]:
        cases = {
            flag: Case([*self._requests(0), f"model.net.distinct_candidates={flag}"], paths)
            for flag in ("false", "true")
        }
        for case in cases.values():
            _warm_up(case)
        found = interleave({flag: case.framework for flag, case in cases.items()}, self.turns)
        ratio = found["true"].over(found["false"])
        return [
            BenchmarkRow(
                "train/two_tower/distinct candidates", found["true"].typical, _RATE, ratio, "every candidate", "> 1"
            )
        ]

    def _teacher(self, paths: DictConfig) -> list[BenchmarkRow]:
        """Cached and online signals of an untrained DCN v2: what it says does not change what it costs."""
        data = self._requests(0)
        plain_case = Case([*data, "loss=hard"], paths)
        _warm_up(plain_case)
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = _untrained(Case([*data, *_DCN], paths), Path(folder) / "teacher.ckpt")
            teacher = SentModel(checkpoint, (), 1)
            scored = score_dataset(
                teacher, plain_case.dataset, Path(folder), None, torch.device("cpu"), HiddenVectors()
            )
            cached = Signals(str(scored.folder), ColumnSignals())
            frozen = load_model(checkpoint).model
            online = Signals(None, CheckpointSignals(frozen))
            measures: dict[str, Callable[[], float]] = {
                "plain": plain_case.framework,
                "pointwise": Case([*data, "loss=pointwise"], paths, cached).framework,
                "listwise": Case([*data, "loss=listwise"], paths, cached).framework,
                "online": Case([*data, "loss=pointwise"], paths, online).framework,
                "forward": ForwardOnly(frozen, plain_case.batches()),
            }
            found = interleave(measures, self.turns)
        costs = [
            (1 / on - 1 / off) * forward
            for on, off, forward in zip(
                found["online"].values, found["pointwise"].values, found["forward"].values, strict=True
            )
        ]
        without = "no teacher"
        return [
            BenchmarkRow("train/distill/no teacher", found["plain"].typical, _RATE),
            *(
                BenchmarkRow(
                    f"train/distill/cached, {name}",
                    found[name].typical,
                    _RATE,
                    found[name].over(found["plain"]),
                    without,
                    "≥ 0.97",
                )
                for name in ("pointwise", "listwise")
            ),
            BenchmarkRow("train/distill/online, pointwise", found["online"].typical, _RATE),
            BenchmarkRow("train/distill/DCN v2 forward alone", found["forward"].typical, _RATE),
            BenchmarkRow(
                "train/distill/online teacher's cost",
                sorted(costs)[len(costs) // 2],
                "of its forward",
                target="≤ 1",
            ),
        ]

    def _cotrained(self, paths: DictConfig) -> list[BenchmarkRow]:
        """Teacher and student in the same steps, against steps of each alone; all rows are labelled."""
        data = self._requests(0)
        together = ["teacher=cotrained", "loss=pfd", "teacher.model.net.body.hidden_units=[256,128,64]"]
        listens = ["loss.terms.hard.weight=0.5", "loss.terms.soft.weight=0.5"]
        cases = {
            "student": Case([*data, "loss=hard"], paths),
            "teacher": Case([*data, *_DCN, "loss=hard"], paths),
            "shared": Case([*data, *together, *listens, "teacher.own_embeddings=[user_id]"], paths),
            "apart": Case([*data, *together, *listens, "teacher.share_embeddings=false"], paths),
        }
        for case in cases.values():
            _warm_up(case)
        found = interleave({name: case.framework for name, case in cases.items()}, self.turns)
        alone = [1 / s + 1 / t for s, t in zip(found["student"].values, found["teacher"].values, strict=True)]
        rows = [
            BenchmarkRow(f"train/cotrained/{name} alone", found[name].typical, _RATE) for name in ("student", "teacher")
        ]
        for name, said in (("shared", "Share*"), ("apart", "own tables")):
            costs = sorted(1 / both / one for both, one in zip(found[name].values, alone, strict=True))
            rows.append(
                BenchmarkRow(
                    f"train/cotrained/{said}: seconds", costs[len(costs) // 2], "of both alone", target="≤ 1.15"
                )
            )
        return rows


def _warm_up(case: Case) -> None:
    """The first epoch of a process imports and allocates; it does not count."""
    limited = Case([], case.cfg.paths)
    limited.cfg = case.cfg.copy()
    limited.cfg.trainer.limit_train_batches = 5
    limited.signals = case.signals
    limited.framework()


def _untrained(case: Case, path: Path) -> Path:
    schema = case.dataset.schema.serving_view()
    weights = {f"model.{name}": value for name, value in case.model().state_dict().items()}
    torch.save({"state_dict": weights, "distill": model_card(case.plan.net, schema, case.dataset.fingerprint)}, path)
    return path
