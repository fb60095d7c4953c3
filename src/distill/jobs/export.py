"""Turns a checkpoint into a bundle, or into item vectors for one that is there."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from distill.console import plain_console
from distill.data.prepare.progress import PassProgress
from distill.errors import ConfigError
from distill.export import BundleOptions, Trained, check_exportable, write_bundle
from distill.export.catalogue import Catalogue
from distill.export.item_vectors import Written, write_items
from distill.export.overlap import BEST, measure_overlap
from distill.files import atomic_directory
from distill.jobs.bundle_model import BundleModel
from distill.jobs.checkpoints import checkpoint_of
from distill.jobs.machine import device, job_ranks
from distill.jobs.node import plain
from distill.jobs.parts import load_model
from distill.models.prerankers.base import SplitPreRanker
from distill.ops.ranks import rank
from distill.serving import ItemVectors
from distill.serving.index import write_index
from distill.serving.items import read_items_manifest
from distill.serving.key_value import write_key_value
from distill.serving.manifest import ITEMS

KEY_VALUE, INDEX = "items.lmdb", "index"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: The bundle, or the item vectors.
        version: Of the model.
        difference: Largest difference of a golden logit from the checkpoint; None of item vectors alone.
        items: Items whose vectors were written; None without a catalogue.
        seconds: It took.
    """

    folder: Path
    version: str
    difference: float | None
    items: int | None
    seconds: float


def run(cfg: DictConfig) -> Exported | None:
    """Exports the model of `path` to `out`; one process does it, whatever `trainer` says."""
    with job_ranks(cfg, Path(HydraConfig.get().runtime.output_dir)) as (agreed, _):
        if rank() != 0:
            return None
        start = time.perf_counter()
        out = Path(agreed.out)
        if agreed.what not in ("bundle", "items"):
            raise ConfigError("There is nothing else to export.", where="what", expected="bundle or items")
        if agreed.what == "items" and agreed["items"] is None:
            raise ConfigError("Name the files of the catalogue.", where="items", remedy="items=FILE_OR_FOLDER")
        check_exportable(out)
        trained = load_trained(Path(agreed.path))
        with PassProgress(True) as bars:
            export = export_items if agreed.what == "items" else export_bundle
            found = export(trained, out, agreed, bars)
        found = Exported(found.folder, found.version, found.difference, found.items, time.perf_counter() - start)
        _say(found)
        return found


def load_trained(path: Path) -> Trained:
    """Loads what a checkpoint or a run folder holds, with its encodings.

    Raises:
        DataError: It is no checkpoint of a run, or carries no encodings.
    """
    checkpoint = checkpoint_of(path)
    loaded = load_model(checkpoint)
    loaded.fitted(checkpoint)
    if isinstance(loaded.model, BundleModel):
        raise ConfigError(
            "A bundle is made of a checkpoint, and so are item vectors.",
            where="path",
            expected="the checkpoint that the bundle was made of",
            found=str(path),
        )
    assert loaded.encodings is not None
    return Trained(loaded.model, loaded.schema, loaded.encodings)


def export_bundle(trained: Trained, out: Path, cfg: DictConfig, bars: PassProgress) -> Exported:
    """Writes a bundle, with item vectors if `items` names a catalogue."""
    count: list[int] = []
    fill: Callable[[Path], None] | None = None
    if cfg["items"] is not None:
        catalogue = _catalogue(trained, cfg)
        _ = catalogue.key

        def fill(root: Path) -> None:
            (root / ITEMS).mkdir()
            count.append(_items(root / ITEMS, catalogue, cfg, bars, None).count)
            _extras(root, root / ITEMS, trained, cfg)

    options = BundleOptions(bool(cfg.exported), tuple(plain(cfg.compile_for)))
    bundle = write_bundle(trained, out, options, fill)
    return Exported(out, trained.version, bundle.manifest.difference, count[0] if count else None, 0.0)


def export_items(trained: Trained, out: Path, cfg: DictConfig, bars: PassProgress) -> Exported:
    """Writes item vectors alone; with `base` those that are new or changed since."""
    base = None if cfg.base is None else ItemVectors.load(_items_of(Path(cfg.base)), trained.version)
    with atomic_directory(out) as root:
        written = _items(root, _catalogue(trained, cfg), cfg, bars, base)
        if base is None:
            _extras(root, root, trained, cfg)
        elif cfg.key_value or cfg.index is not None:
            raise ConfigError(
                "A delta is item vectors alone.",
                where="key_value, index",
                remedy="Export the whole catalogue for these.",
            )
    if base is not None:
        _log.info("Of %d items %d are new or changed; %d are gone.", written.seen, written.count, written.removed)
    return Exported(out, trained.version, None, written.count, 0.0)


def _items_of(folder: Path) -> Path:
    return folder / ITEMS if (folder / ITEMS).is_dir() else folder


def _catalogue(trained: Trained, cfg: DictConfig) -> Catalogue:
    return Catalogue(trained, str(cfg["items"]), device(cfg), int(cfg.memory_bytes))


def _items(root: Path, catalogue: Catalogue, cfg: DictConfig, bars: PassProgress, base: ItemVectors | None) -> Written:
    written = write_items(root, catalogue, cfg.item_type, bars, base, bool(cfg.whole_catalogue))
    overlap = measure_overlap(catalogue.trained, written.exact, written.stored)
    manifest = read_items_manifest(root).model_copy(update={"overlap": overlap, "best": BEST})
    manifest.write(root)
    return written


def _extras(root: Path, items: Path, trained: Trained, cfg: DictConfig) -> None:
    """Writes the key-value file and the index, if they are asked for."""
    if not cfg.key_value and cfg.index is None:
        return
    vectors = ItemVectors.load(items, trained.version, check=False)
    if cfg.key_value:
        write_key_value(root / KEY_VALUE, vectors)
    if cfg.index is not None:
        model = trained.model
        closed = model.closed_form() if isinstance(model, SplitPreRanker) else None
        if closed is None or closed.type != "dot":
            raise ConfigError(
                "Only vectors that are compared by dot products have an index.",
                where="index",
                expected="such as model=two_tower",
                found=type(model).__name__,
                remedy="Leave index=null.",
            )
        (root / INDEX).mkdir()
        write_index(root / INDEX, vectors, trained.schema.task_names, cfg.index)


def _say(found: Exported) -> None:
    console = plain_console()
    parts = [] if found.items is None else [f"vectors of {found.items:,} items"]
    if found.difference is not None:
        parts.append(f"golden requests within {found.difference:.1e} of the checkpoint")
    console.print(
        f"{'Bundle' if found.difference is not None else 'Item vectors'} {found.folder}: version {found.version[:12]}, "
        f"{', '.join(parts)} ({found.seconds:.0f} s)",
        soft_wrap=True,
    )
