"""How fast raw rows become predictions, against reading them and against the model's forward pass alone."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import torch
from omegaconf import DictConfig

from benchmarks.data import RequestBenchmark
from benchmarks.interleave import interleave
from benchmarks.rows import BenchmarkRow
from distill.batch import Batch
from distill.data.build import build_dataset
from distill.data.prepare.plan import open_files
from distill.data.prepare.progress import PassProgress
from distill.data.unlabelled import FeatureEncoder, RawUnits
from distill.data.unlabelled.uses import scoring_uses
from distill.encodings import FittedEncodings
from distill.files import raw_sibling, remove_leftovers
from distill.jobs.checkpoints import BEST
from distill.jobs.commands import COMMANDS
from distill.jobs.in_process import run_in_process
from distill.jobs.parts import LoadedModel, load_model
from distill.jobs.targets import Part
from distill.lock import locked

TARGET = 0.9
_BATCH = 32_768
_WARM_BATCHES = 8


@dataclass(frozen=True)
class PredictBenchmark(Part):
    """Predicts raw requests with a two-tower.

    Attributes:
        rows: Candidates, 100 in each request.
        turns: How often each way is measured.
    """

    rows: int
    turns: int

    def run(self, paths: DictConfig) -> list[BenchmarkRow]:
        """Measures reading and encoding, the forward pass, and the whole command."""
        root = Path(paths.data)
        source = RequestBenchmark(max(self.rows // 100, 100))
        dataset = build_dataset(source, root)
        with locked(root / ".predict.lock"):
            remove_leftovers(root / "predict")
            with raw_sibling(root / "predict") as folder:
                raw = source.write_raw(folder / "raw")
                checkpoint = _trained(dataset.root, folder)
                return _measured(raw.files, load_model(checkpoint), checkpoint, folder, self.turns)


def _trained(dataset: Path, folder: Path) -> Path:
    """A checkpoint of a few steps: how good it is does not matter."""
    short = ["trainer.limit_train_batches=4", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1"]
    quiet = ["callbacks.progress_bar=false", "cost.enabled=false", "trainer=cpu", "trainer.max_epochs=1"]
    places = [f"paths.{name}='{folder / name}'" for name in ("data", "cache", "runs")]
    data = ["data=prepared", f"data.root='{dataset}'", "model=two_tower", "name=predicts"]
    run_in_process(COMMANDS["train"], [*data, *places, *short, *quiet])
    return max((folder / "runs" / "predicts").iterdir()) / BEST


def _measured(
    files: tuple[Path, ...], loaded: LoadedModel, checkpoint: Path, folder: Path, turns: int
) -> list[BenchmarkRow]:
    assert loaded.encodings is not None
    schema, fitted = loaded.schema, FittedEncodings.unpacked(loaded.encodings)
    uses = scoring_uses(schema)
    opened = open_files(files, schema, uses)
    candidates, sample = 0, list[Batch]()
    with tempfile.TemporaryDirectory() as scratch, PassProgress(False) as bars, ThreadPoolExecutor(2) as pool:
        units = RawUnits.plan(opened, schema, uses, "requests", Path(scratch), 2 << 30, bars)
        encoder = FeatureEncoder(schema, fitted, pool)

        def read() -> None:
            nonlocal candidates
            candidates = 0
            for _, chunk in units.stream(range(len(units))):
                for batch in encoder.encode(chunk).batches(_BATCH):
                    candidates += batch.num_candidates
                    if len(sample) < _WARM_BATCHES:
                        sample.append(batch)

        @torch.no_grad()
        def forward() -> None:
            for batch in sample:
                loaded.model(batch)

        def predict() -> None:
            out = folder / "predictions"
            shutil.rmtree(out, ignore_errors=True)
            command = [f"path='{checkpoint}'", f"source='{files[0].parent}/requests.parquet'", f"out='{out}'"]
            run_in_process(COMMANDS["predict"], [*command, "trainer=cpu", f"paths.runs='{folder / 'runs'}'"])

        read()  # so that there are batches
        of_all = candidates / sum(batch.num_candidates for batch in sample)
        clocks = {"read": _Clock(read), "forward": _Clock(forward, of_all), "predict": _Clock(predict)}
        seconds = interleave({name: clock.seconds for name, clock in clocks.items()}, turns)
    rates = {name: candidates / found.typical for name, found in seconds.items()}
    whole = BenchmarkRow(
        "predict/raw rows to files",
        rates["predict"],
        "rows/s",
        _ratio({name: found.values for name, found in seconds.items()}),
        "both one after the other",
        f"≥ {TARGET}",
    )
    processor = {name: clock.processor for name, clock in clocks.items()}
    return [
        BenchmarkRow("predict/reading and encoding alone", rates["read"], "rows/s"),
        BenchmarkRow("predict/forward pass alone", rates["forward"], "rows/s"),
        whole,
        BenchmarkRow(
            "predict/processor's time",
            sum(processor["predict"]) / turns,
            "s",
            1 / _ratio(processor),
            "both one after the other",
        ),
    ]


@dataclass
class _Clock:
    """Measures a job, and the processor's time of all its threads: what others do on the machine is not in it.

    Attributes:
        job: What is measured.
        times: What its seconds are multiplied by.
        processor: The processor's seconds of every call.
    """

    job: Callable[[], None]
    times: float = 1.0
    processor: list[float] = field(default_factory=list)

    def seconds(self) -> float:
        """Runs the job once."""
        start, processor = time.perf_counter(), time.process_time()
        self.job()
        self.processor.append((time.process_time() - processor) * self.times)
        return (time.perf_counter() - start) * self.times


def _ratio(seconds: Mapping[str, Sequence[float]]) -> float:
    """The median of what reading and the forward pass take together, of what predicting takes."""
    parts = zip(seconds["read"], seconds["forward"], seconds["predict"], strict=True)
    return median((read + forward) / whole for read, forward, whole in parts)
