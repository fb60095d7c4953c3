"""The main job: teacher (if needed), control and student, tested on the same rows and shown side by side."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import cast

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from distill import __version__
from distill.console import plain_console
from distill.data.format import Dataset
from distill.data.prepare.progress import PassProgress
from distill.encodings import FittedEncodings
from distill.export import BundleOptions, check_exportable
from distill.files import hash_once
from distill.jobs.beforehand import check_config, check_terms, warn_of_equal_requests, warn_of_few_steps
from distill.jobs.cache import train_or_reuse
from distill.jobs.content_key import content_key
from distill.jobs.cotrain import teacher_of
from distill.jobs.datasets import open_dataset, raw_schema, warn_of_contents
from distill.jobs.encoding_cost import encoding_milliseconds
from distill.jobs.export import ItemOptions, export_bundle, names_items, say
from distill.jobs.fit import FitJob
from distill.jobs.fit_plan import HEAD_BIAS, FitPlan, FitResult, Signals
from distill.jobs.fit_results import checkpoints_by_role, learning_by_role, validation_by_role
from distill.jobs.identity import FOLD, config_hash, fitting, shards
from distill.jobs.learnable import check_labels
from distill.jobs.loggers import log_folder, log_test
from distill.jobs.machine import device, job_ranks, processes
from distill.jobs.manifest import RunRecord, write_record
from distill.jobs.monitor_choice import with_monitor
from distill.jobs.monitored import monitored
from distill.jobs.node import plain
from distill.jobs.parts import build_metrics, load_model
from distill.jobs.report_page import write_report
from distill.jobs.reported import check_reported
from distill.jobs.resumed import check_resumed, check_same_dataset
from distill.jobs.sizes import sized
from distill.jobs.teacher import frozen_signals, scored_tasks, teacher_signals
from distill.jobs.tensorboard import event_files_written, log_comparison
from distill.jobs.trained import load_trained
from distill.metrics import ScoredRows
from distill.metrics.curves import Curves
from distill.models.cost import measure_cost
from distill.ops.ranks import rank
from distill.places.mirror import named, shown_path
from distill.reports.compare import compare
from distill.reports.evidence import DataRead, Evidence
from distill.reports.roles import RoleMetrics, Teacher, measure_roles
from distill.reports.summary import Summary
from distill.reports.table import print_summary, summary_text
from distill.schema import Side
from distill.screen.lines import FILE_ONLY
from distill.training.callbacks import TrialPruned
from distill.training.optim import count_weights

_log = logging.getLogger(__name__)
_APART = ("init_from", "vectors", "head_bias")  # files are known by their content, and others only if they are set


def run(cfg: DictConfig) -> Summary:
    """Trains and tests everything that a config asks for, in as many processes; a pruned trial is not tested."""
    job_dir = Path(HydraConfig.get().runtime.output_dir)
    record = None if cfg.resume is None else check_resumed(job_dir, cfg)
    if record is None and cfg.resume is not None:  # a job of a sweep that had not begun
        cfg = cast("DictConfig", OmegaConf.merge(cfg, {"resume": None}))
    with job_ranks(cfg, job_dir) as (agreed, shared_dir):
        try:
            with event_files_written():
                return _Run(agreed, shared_dir, cfg, record).run()
        except TrialPruned as stop:  # on all ranks: they end together as after any run
            if rank() == 0:
                _log.info("Trial %s is %s; it is not tested.", agreed.study.trial, stop)
            return Summary.of_pruned(str(agreed.name), int(agreed.seed), stop.validations)


class _Run:
    """One run: the config, its folder, and what has been trained so far."""

    def __init__(self, cfg: DictConfig, job_dir: Path, composed: DictConfig, record: RunRecord | None) -> None:
        self.cfg = cfg
        self.job_dir = job_dir
        self.composed = composed  # with interpolations: what follows from the seed is found anew for another
        check_config(cfg, raw_schema(cfg))
        if cfg.export:
            check_exportable(job_dir / "bundle")
        self.dataset: Dataset = open_dataset(cfg)
        check_reported(cfg, self.dataset.schema)  # of data whose schema was not known before
        if record is not None:
            check_same_dataset(record, self.dataset)
        warn_of_contents(self.dataset)
        cfg, metric = with_monitor(cfg, self.dataset.schema, record, composed)
        self.cfg, sizes = sized(cfg, self.dataset, record)
        self.chosen: dict[str, int | str] = {**metric, **sizes}
        self.results: dict[str, FitResult] = {}
        self.cached: list[str] = []

    def run(self) -> Summary:
        plan, has_teacher = FitPlan.main(self.cfg), self.cfg.teacher.source != "none"
        main = "distilled" if has_teacher and plan.taught else "model"
        check_terms(plan, self.dataset.schema, scored_tasks(self.cfg, self.dataset.schema), has_teacher)
        check_labels(self.cfg, self.dataset)
        if rank() == 0:
            write_record(self.job_dir, self.composed, self.cfg, self.dataset, self.chosen)
        signals = self._signals(plan) if plan.cotraining is None else None
        for warn in (warn_of_few_steps, warn_of_equal_requests):
            warn(self._job(plan, None, self.job_dir))
        if plan.cotraining is not None:
            signals = self._train_together(plan, main)
        rows: dict[str, ScoredRows] = {}
        if signals is not None and main == "distilled" and self.cfg.control.enabled:
            rows["control"] = self._control(signals)
        rows[main] = self._main(plan, signals, main)
        found = self._measured(rows, signals)
        summary = self._summary(found, main)
        if rank() == 0:
            self._report(summary, found.curves)
            if self.cfg.export:
                self._export(self.results[main].checkpoint)
        return summary

    def _export(self, checkpoint: Path) -> None:
        """Writes the bundle of the run's model into its folder."""
        out, catalogue = self.job_dir / "bundle", self.cfg.data.get("items")
        shutil.rmtree(out, ignore_errors=True)  # of the run before it was resumed
        start, trained = time.perf_counter(), load_trained(checkpoint)
        with_items = catalogue is not None and names_items(trained)
        items = ItemOptions(str(catalogue), device(self.cfg)) if with_items else None
        with PassProgress(True) as bars:
            found = export_bundle(trained, out, BundleOptions(), items, bars)
        say(replace(found, seconds=time.perf_counter() - start))

    def _report(self, summary: Summary, curves: Mapping[str, Curves]) -> None:
        summary.save(self.job_dir)
        data = DataRead.of(self.dataset, named(str(self.dataset.root)))
        Evidence(data, dict(curves), learning_by_role(self.results)).save(self.job_dir)
        page = write_report([summary], compare([summary]), None, self.job_dir)
        logs = log_folder(self.job_dir)
        shutil.rmtree(logs / "test", ignore_errors=True)  # of a run killed while it reported
        if self.cfg.logger.tensorboard:
            log_comparison(logs, summary, self.cfg)
        log_test(self.cfg, self.job_dir, summary, self.results, FitPlan.main(self.cfg).role)
        print_summary(summary, plain_console())
        _log.info("%s", summary_text(summary), extra=FILE_ONLY)
        if self.cfg.teacher.source == "cotrained" and "control" in summary.seconds:
            both, alone = summary.seconds["distilled"], summary.seconds["control"]
            _log.info("Teacher and student trained together for %.0f s; the student alone, for %.0f s.", both, alone)
        _log.info("Run folder: %s; page: %s", shown_path(self.job_dir), page.name)

    def _signals(self, plan: FitPlan) -> Signals | None:
        return teacher_signals(self.cfg, self.dataset, lambda: self._teacher().checkpoint, plan)

    def _teacher(self) -> FitResult:
        return self._cached(FitPlan.of(self.cfg, "teacher"), None)

    def _control(self, signals: Signals) -> ScoredRows:
        plan = FitPlan.of(self.cfg, "control")
        result = self._cached(plan, signals)
        return self._job(plan, signals, result.checkpoint.parent).test(result.checkpoint)

    def _main(self, plan: FitPlan, signals: Signals | None, name: str) -> ScoredRows:
        job = self._job(plan, signals, self.job_dir / "checkpoints")
        if name not in self.results:
            self.results[name] = self._train(job)
        return job.test(self.results[name].checkpoint)

    def _train_together(self, plan: FitPlan, name: str) -> Signals:
        """Trains the student and its teacher, and returns what the teacher of the best checkpoint says."""
        result = self._train(self._job(plan, None, self.job_dir / "checkpoints"))
        teacher = teacher_of(result.checkpoint)
        parameters = count_weights(load_model(teacher).model)
        self.results |= {
            "teacher": replace(result, checkpoint=teacher, parameters=parameters, learning=None),
            name: result,
        }
        return frozen_signals(teacher, self.dataset)

    def _job(self, plan: FitPlan, signals: Signals | None, folder: Path) -> FitJob:
        resume = self.cfg.resume is not None
        return FitJob(self.cfg, plan, self.dataset, signals, folder, self.job_dir, resume)

    def _cached(self, plan: FitPlan, signals: Signals | None) -> FitResult:
        """Trains a model, or takes it from the cache. A teacher that is only measured does not change the key."""
        config = fitting(plain(self.cfg))
        content = {
            "version": __version__,
            "plan": {n: getattr(plan, n) for n in (*plan.__dataclass_fields__, "taught") if n not in _APART},
            "init_from": None if plan.init_from is None else hash_once(plan.init_from),
            **({"vectors": {name: file.identity() for name, file in plan.vectors.items()}} if plan.vectors else {}),
            **({} if self.cfg.embedding.dtype == "float32" else {"embedding": str(self.cfg.embedding.dtype)}),
            **({} if plan.head_bias == HEAD_BIAS else {"head_bias": plan.head_bias}),
            "trainer": {name: value for name, value in config["trainer"].items() if name != "max_epochs"},  # the plan's
            "stopping": config["callbacks"],
            "loader": config["data"]["loader"],
            "monitored": monitored(self.cfg, self.dataset.schema),
            "seed": self.cfg.seed,
            "dataset": self.dataset.fingerprint,
            "shards": shards(self.cfg.data.loader, processes(self.cfg)),
        }
        folder = Path(self.cfg.paths.cache) / "models" / f"{plan.role}-{content_key(content)}"
        job = self._job(plan, signals, folder)
        result, cached = train_or_reuse(job, partial(self._train, job))
        self.results[plan.role] = result
        if cached:
            self.cached.append(plan.role)
            if rank() == 0:
                _log.info("%-9s is in the cache, trained before", plan.role)
                _log.info(result.ending.says(plan.role, result.epochs, result.steps, shown_path(result.checkpoint)))
        return result

    def _train(self, job: FitJob) -> FitResult:
        pl.seed_everything(self.cfg.seed, workers=True, verbose=False)
        if rank() == 0 and not job.resume and job.folder.exists():
            shutil.rmtree(job.folder)
        if rank() == 0:
            job.folder.mkdir(parents=True, exist_ok=True)
        return job.run()

    def _costs(self) -> dict[str, dict[str, float]]:
        seconds = float(self.cfg.cost.seconds)
        models = {role: load_model(result.checkpoint) for role, result in self.results.items()}
        fitted = FittedEncodings.load(self.dataset.root, self.dataset.manifest.encodings)
        encoding: dict[tuple[str, ...], Mapping[str, float]] = {}  # most roles read the same of a request
        costs = {}
        for role, m in models.items():
            names = tuple(f.name for f in m.schema.side(Side.REQUEST))
            if names not in encoding:
                encoding[names] = encoding_milliseconds(m.schema, fitted, seconds / 4)
            costs[role] = {**measure_cost(m.model, m.schema, seconds).as_numbers(), **encoding[names]}
        return costs

    def _measured(self, rows: Mapping[str, ScoredRows], signals: Signals | None) -> RoleMetrics:
        suite = build_metrics(self.cfg.metrics, self.dataset)
        teacher = None if signals is None else Teacher(signals.source.tasks, signals.probabilities)
        return measure_roles(suite, rows, self.dataset.schema.task_names, teacher, device(self.cfg))

    def _summary(self, found: RoleMetrics, main: str) -> Summary:
        return Summary(
            name=self.cfg.name,
            seed=self.cfg.seed,
            **{name: getattr(found, name) for name in found.__dataclass_fields__ if name != "curves"},
            parameters={role: result.parameters for role, result in self.results.items()},
            seconds={role: result.seconds for role, result in self.results.items()},
            steps={role: result.steps for role, result in self.results.items()},
            cached=self.cached,
            endings={role: asdict(result.ending) for role, result in self.results.items()},
            config_hash=config_hash(self.composed),
            dataset=self.dataset.fingerprint,
            validation=validation_by_role(self.results, main),
            checkpoints=checkpoints_by_role(self.results, self.job_dir),
            folder=str(self.job_dir),
            cost=self._costs() if rank() == 0 and self.cfg.cost.enabled else {},
            overrides=list(OmegaConf.to_container(HydraConfig.get().overrides.task)),  # type: ignore[arg-type]
            main_task=str(self.cfg.data.main_task),
            data_of_seed=_data_of_seed(self.composed),
            fold=OmegaConf.select(self.composed, FOLD),
        )


def _data_of_seed(composed: DictConfig) -> bool:
    """Whether another seed means other data."""
    one, other = (plain(OmegaConf.merge(composed, {"seed": seed}))["data"] for seed in (0, 1))
    return bool(one != other)
