"""Writes what a teacher says of a whole dataset beside the data: sharded over ranks, resumable, with provenance."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from distill.console import plain_console
from distill.data.format import ITEM_KEY, REQUEST_KEY, SPLITS, Dataset, PartFile, Split, hidden_column
from distill.engines import Engine, LocalEngine
from distill.errors import ConfigError, SignalError
from distill.files import hash_bytes, hash_file, hash_once, remove_leftovers_below
from distill.in_use import use
from distill.jobs.cache import exclusive
from distill.jobs.checkpoints import checkpoint_of
from distill.jobs.datasets import open_dataset, warn_of_contents
from distill.jobs.encoded import check_encodings
from distill.jobs.engine import engine_of
from distill.jobs.machine import device, job_ranks
from distill.jobs.parts import LoadedModel
from distill.jobs.sent_model import SentModel
from distill.jobs.signal_writer import SignalWriter, write_part
from distill.ops.ranks import barrier, rank, world_size
from distill.places.mirror import named
from distill.places.staged import pull, push
from distill.signals.principal import PrincipalComponents
from distill.signals.provenance import HiddenVectors, Provenance, finish_signals, read_provenance

_COMPONENTS = ".safetensors"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """What was written: the folder, how many candidates, how many of them now rather than before, and the seconds."""

    folder: Path
    candidates: int
    scored_now: int
    seconds: float


def run(cfg: DictConfig) -> Scored:
    """Scores `data` with `teacher.path` and writes the signals to `out` (by default below paths.cache)."""
    if cfg.teacher.get("path") is None:
        raise ConfigError(
            "Name the teacher's checkpoint.", where="teacher.path", remedy="teacher=checkpoint teacher.path=FILE.ckpt"
        )
    console = plain_console()
    with job_ranks(cfg, Path(HydraConfig.get().runtime.output_dir)) as (cfg, _), engine_of(cfg) as engine:
        dataset = warn_of_contents(open_dataset(cfg))
        scored = score_dataset(
            SentModel.of(checkpoint_of(Path(cfg.teacher.path)), cfg),
            dataset,
            Path(cfg.paths.cache),
            cfg.get("out"),
            device(cfg),
            HiddenVectors(tuple(cfg.hidden), cfg.hidden_type, cfg.hidden_width),
            _keys(dataset) if cfg["keys"] else (),
            engine,
            None if cfg.hidden_components is None else Path(cfg.hidden_components),
        )
        if rank() == 0:
            console.print(
                f"Teacher signals of {scored.candidates:,} candidates ({scored.scored_now:,} scored now, "
                f"{scored.seconds:.0f} s) are in {named(str(scored.folder))}\n"
                f"Use them with teacher=column teacher.path={named(str(scored.folder))}",
                soft_wrap=True,
            )
    return scored


def check_teacher(loaded: LoadedModel, path: Path, dataset: Dataset) -> None:
    """Refuses a teacher that other encodings were made for, so that its ids mean other things, or other tasks.

    Raises:
        SignalError: They were.
    """
    check_encodings(loaded, path, dataset)
    if loaded.schema.task_names != dataset.schema.task_names:
        raise SignalError(
            "The teacher scores other tasks than the dataset has.",
            where=str(path),
            expected=", ".join(dataset.schema.task_names),
            found=", ".join(loaded.schema.task_names),
            remedy="Declare the same tasks, in the same order, in the schema of the data.",
        )


def score_dataset(
    teacher: SentModel,
    dataset: Dataset,
    cache: Path,
    out: str | None,
    target: torch.device,
    hidden: HiddenVectors,
    keys: Sequence[str] = (),
    engine: Engine | None = None,
    earlier: Path | None = None,
) -> Scored:
    """Scores every split with a checkpoint; parts that are there already are kept. All ranks call it together.

    Args:
        teacher: Its checkpoint.
        dataset: What to score.
        cache: Where the signals go (named by the content of teacher and dataset) unless `out` is given.
        out: Folder of the signals.
        target: Where to compute.
        hidden: The hidden vectors to write beside its logits.
        keys: `REQUEST_KEY` and `ITEM_KEY`, as far as they are written too, as they were in the raw data.
        engine: Where the parts are scored; in this process if not given.
        earlier: Signals of the teacher whose principal components are taken; they are found anew if not given.

    Raises:
        SignalError: The teacher belongs to another dataset, a hidden vector does not fit into float16, or the earlier
            signals have no such components.
        ConfigError: The teacher has no such hidden vector, or they cannot be written like this.
    """
    start = time.perf_counter()
    loaded = teacher.loaded
    check_teacher(loaded, teacher.path, dataset)
    tasks, rates = loaded.schema.task_names, dict(loaded.schema.negative_sampling or {})
    digest, hidden = hash_file(teacher.path), _in_order(hidden)
    given = {} if earlier is None else earlier_components(earlier, digest, hidden)
    hidden = replace(hidden, components=hash_bytes("".join(map(hash_file, given.values())).encode()) if given else "")
    provenance = Provenance(digest, dataset.fingerprint, tasks, hidden, negative_sampling=rates)
    folder = Path(out) if out is not None else cache / "signals" / _folder_name(provenance, bool(keys))
    now = 0
    with exclusive(lock := folder.with_suffix(".lock")):
        if rank() == 0:
            use(folder, lock)
            remove_leftovers_below(folder)
            pull(folder)
        known = _known_parts(folder, provenance)
        barrier()
        writer = SignalWriter(teacher, dataset, target, provenance, folder, tuple(keys))
        writer = _with_components(writer, given)
        own = [one for i, one in enumerate(_parts(dataset)) if i % world_size() == rank()]
        missing = [one for one in own if not _is_scored(writer, one[-1], known.get(one[-1].path))]
        now = sum((engine or LocalEngine()).map(write_part, writer, missing, lambda _: None))
        barrier()
        if rank() == 0:
            remove_leftovers_below(folder)  # of workers that were lost
            finish_signals(folder, provenance, [part.path for _, _, part in _parts(dataset)])
            push(folder)
        barrier()
    total = sum(part.candidates for _, _, part in _parts(dataset))
    return Scored(folder, total, now, time.perf_counter() - start)


def _keys(dataset: Dataset) -> list[str]:
    """The keys that a dataset has, and a word on those of which it has hashes only."""
    keys = dataset.schema.keys
    if (keys.request or keys.item) and not keys.keep:
        _log.warning(
            "The dataset was prepared with keys.keep: false, so ids that are text are written as their hashes."
        )
    return [REQUEST_KEY] if keys.item is None else [REQUEST_KEY, ITEM_KEY]


def _in_order(hidden: HiddenVectors) -> HiddenVectors:
    """Brings the names in order, and says nothing of a type and a width that nobody uses."""
    return replace(hidden, names=tuple(sorted(set(hidden.names)))) if hidden.names else HiddenVectors()


def _folder_name(provenance: Provenance, keys: bool) -> str:
    """Of signals with keys and without: a training that reads these must not find them written anew."""
    hidden = provenance.hidden
    half = ["float16"] if hidden.type == "float16" else []
    width = [] if hidden.width is None else [str(hidden.width)]
    of_earlier = [hidden.components[:12]] if hidden.components else []
    described = [*hidden.names, *width, *half, *of_earlier, *(["keys"] * keys)]
    return "-".join([provenance.teacher[:12], provenance.dataset[:12], *described])


def earlier_components(folder: Path, teacher: str, hidden: HiddenVectors) -> dict[str, Path]:
    """Finds the files of the principal components that earlier signals of a teacher were written with.

    Args:
        folder: Of those signals.
        teacher: Content hash of the teacher's checkpoint.
        hidden: The vectors that are wanted.

    Returns:
        Name of a vector to its file.

    Raises:
        ConfigError: No vectors are reduced.
        SignalError: There are no such components.
    """
    if hidden.width is None:
        raise ConfigError(
            "Only vectors that are reduced have principal components.",
            where="hidden_components",
            expected="hidden=[NAME] hidden_width=NUMBER beside it",
            found=f"hidden={list(hidden.names)}, hidden_width=null",
        )
    found = {}
    for name in hidden.names:
        pattern = f"{hidden_column(name)}-{hidden.width}-{teacher[:12]}-*{_COMPONENTS}"
        files = sorted(folder.glob(pattern))
        if len(files) != 1:
            raise SignalError(
                "There are no principal components to take.",
                where=str(folder),
                expected=f"one file {pattern}, of the same teacher, vector and width",
                found=", ".join(sorted(path.name for path in folder.glob(f"*{_COMPONENTS}"))) or "none",
                remedy="Name the folder that the score job wrote for this teacher.",
            )
        found[name] = files[0]
    return found


def _with_components(writer: SignalWriter, given: Mapping[str, Path]) -> SignalWriter:
    """Finds the principal components once, on rank 0, or takes those given, or of an earlier run that did not end."""
    hidden, provenance, folder = writer.provenance.hidden, writer.provenance, writer.folder
    if hidden.width is None:
        return writer
    key = f"{hidden.width}-{provenance.teacher[:12]}-{provenance.dataset[:12]}"
    files = {name: folder / f"{hidden_column(name)}-{key}{_COMPONENTS}" for name in hidden.names}
    if rank() == 0 and not _are_readable(files.values()):
        folder.mkdir(parents=True, exist_ok=True)
        for _, _, part in _parts(writer.dataset):  # their vectors are of other components
            (folder / part.path).unlink(missing_ok=True)
        loaded = {name: PrincipalComponents.load(path) for name, path in given.items()}
        for name, components in (loaded or writer.scorer.fit_components()).items():
            components.save(files[name])
            of = " where they were found" if given else ""
            kept = f"{hidden.width} components of the vector {name} keep {components.kept:.1%} of its variance{of}"
            _log.info("%s.", kept)
    barrier()
    return replace(writer, components=files)


def _are_readable(files: Iterable[Path]) -> bool:
    try:
        return all(path.exists() and PrincipalComponents.load(path) is not None for path in files)
    except SignalError as error:
        _log.warning("%s\nThe dataset is scored again.", error)
        return False


def _parts(dataset: Dataset) -> Iterator[tuple[Split, int, PartFile]]:
    for split in SPLITS:
        for index, part in enumerate(dataset.manifest.splits.get(split, ())):
            yield split, index, part


def _known_parts(folder: Path, provenance: Provenance) -> Mapping[str, str]:
    """Returns the content hashes that an earlier run of the same teacher on the same dataset recorded."""
    try:
        found = read_provenance(folder)
    except SignalError:
        return {}
    return found.parts if replace(found, tasks=provenance.tasks, parts={}) == provenance else {}


def _is_scored(writer: SignalWriter, part: PartFile, digest: str | None) -> bool:
    """Whether a part is there and whole: by its recorded hash, or by its checksums if the job had not ended."""
    path = writer.folder / part.path
    if not path.exists():
        return False
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        found = file.metadata.metadata or {}
        same = all(found.get(key) == mark for key, mark in writer.marks.items())
        same = same and set(writer.keys) <= set(file.schema_arrow.names)
        if not same or int(file.metadata.num_rows) != part.rows:
            return False
        whole = _is_readable(file) if digest is None else hash_once(path) == digest
    except (OSError, pa.ArrowException):
        whole = False
    if not whole:
        _log.warning("The signal file %s is damaged; it is scored again.", path)
    return whole


def _is_readable(file: pq.ParquetFile) -> bool:
    for group in range(file.num_row_groups):
        file.read_row_group(group)  # raises where a checksum does not fit
    return True
