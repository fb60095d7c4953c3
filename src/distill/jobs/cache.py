"""Models that several runs share (teachers, controls): trained once, kept by the hash of all that makes them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from distill.files import hash_file, remove_leftovers_below
from distill.in_use import use
from distill.jobs.fit import FitJob
from distill.jobs.fit_plan import FitResult
from distill.jobs.program import command_line
from distill.lock import locked
from distill.metrics.learning import LearningCurve
from distill.ops.ranks import agree, barrier, rank
from distill.places.staged import pull, push
from distill.sealed import read_sealed, write_sealed
from distill.training.callbacks import Ending

_RESULT = "result.json"
_MADE = ("command", "dataset")
_log = logging.getLogger(__name__)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds a lock file on rank 0 while all ranks do the body."""
    if rank() != 0:
        yield
        return
    with locked(path):
        yield


def train_or_reuse(job: FitJob, make: Callable[[], FitResult]) -> tuple[FitResult, bool]:
    """Returns the cached result in `job.folder`, or trains and caches it; all ranks call it together.

    A damaged entry (its checkpoint no longer has the recorded hash) is reported and trained again from the beginning.

    Args:
        job: What to train; its folder is named by the hash of its content.
        make: Trains it.

    Returns:
        The result, and whether it was in the cache.
    """
    with exclusive(lock := job.folder.with_suffix(".lock")):
        if rank() == 0:
            use(job.folder, lock)
            remove_leftovers_below(job.folder)
            pull(job.folder)
        found = read_result(job.folder) if rank() == 0 else None
        if agree(found is not None):
            if rank() == 0:
                push(job.folder)
            barrier()
            return found or _require(job.folder), True
        if rank() == 0 and (job.folder / _RESULT).exists():
            shutil.rmtree(job.folder)  # a run that is resumed must not go on from what is damaged
        result = make()
        if rank() == 0:
            _write_result(job, result)
            push(job.folder)
        barrier()
        return result, False


def read_result(folder: Path) -> FitResult | None:
    """Reads a finished fit; None if there is none or it is damaged."""
    path = folder / _RESULT
    if not path.exists():
        return None
    try:
        data = read_sealed(path)
        digest = data.pop("blake2b")
        data = {name: value for name, value in data.items() if name not in _MADE}
        if data["checkpoint"] != Path(data["checkpoint"]).name:
            raise ValueError("its checkpoint lies elsewhere")
        learned = data.get("learning")  # entries of earlier versions have none
        learning = None if learned is None else LearningCurve(**learned)
        own = {"checkpoint": folder / data["checkpoint"], "ending": Ending(**data["ending"]), "learning": learning}
        result = FitResult(**{**data, **own})
        if hash_file(result.checkpoint) == digest:
            return result
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("The cached model in %s is damaged (%s); it is trained again.", folder, error)
        return None
    _log.warning("The cached model in %s does not match its hash; it is trained again.", folder)
    return None


def _require(folder: Path) -> FitResult:
    result = read_result(folder)
    if result is None:
        raise RuntimeError(f"rank 0 found a model in {folder} that this rank cannot read: is the folder shared?")
    return result


def _write_result(job: FitJob, result: FitResult) -> None:
    data = {
        "checkpoint": result.checkpoint.name,
        "blake2b": hash_file(result.checkpoint),
        "parameters": result.parameters,
        "seconds": result.seconds,
        "epochs": result.epochs,
        "steps": result.steps,
        "ending": asdict(result.ending),
        "learning": None if result.learning is None else asdict(result.learning),
    }
    made = dict(zip(_MADE, (command_line(), job.dataset.fingerprint), strict=True))  # for people: `distill cache ls`
    write_sealed(job.folder / _RESULT, {**data, **made})
