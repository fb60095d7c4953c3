"""Turns a checkpoint into a bundle, or into item vectors for one that is there."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from distill.console import plain_console
from distill.data.prepare.progress import PassProgress
from distill.errors import ConfigError
from distill.export import BundleOptions, TopKOptions, Trained, check_exportable, write_bundle
from distill.export.catalogue import Catalogue
from distill.export.item_features import write_features
from distill.export.item_vectors import write_items
from distill.export.item_workers import ItemWorkers
from distill.export.rerank import read_rerank
from distill.files import atomic_directory, raw_sibling, remove_leftovers
from distill.jobs.engine import engine_of
from distill.jobs.machine import device, job_ranks
from distill.jobs.node import plain
from distill.jobs.program import program_command
from distill.jobs.trained import load_trained, sendable
from distill.lock import locked
from distill.models.prerankers.base import SplitPreRanker
from distill.ops.ranks import rank
from distill.places.mirror import shown_path
from distill.places.staged import begin_new, push
from distill.serving import ItemVectors, Rerank
from distill.serving.index import IndexType, faiss, write_index
from distill.serving.items import ItemType
from distill.serving.key_value import lmdb, write_key_value
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
    """Exports the model of `path` to `out`; one process does it, with Ray's workers, whatever `trainer` says."""
    with job_ranks(cfg, Path(HydraConfig.get().runtime.output_dir)) as (agreed, _):
        if rank() != 0:
            return None
        start = time.perf_counter()
        out, items = Path(agreed.out), ItemOptions.of(agreed)
        _check_options(agreed)
        rerank = read_rerank(plain(agreed.rerank))
        begin_new(out)
        check_exportable(out)
        trained = sendable(load_trained(Path(agreed.path), bool(agreed.in_parts)), agreed)
        out.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            stack.enter_context(locked(out.parent / f".{out.name}.lock"))
            remove_leftovers(out)  # of an export that was killed
            bars = stack.enter_context(PassProgress(True))
            if items is not None:
                items = replace(items, workers=stack.enter_context(_workers(agreed, out)))
            if agreed.what == "bundle":
                options = _bundle_options(agreed, rerank)
                found = export_bundle(trained, out, options, items, bars)
            else:
                assert items is not None
                base = None if agreed.base is None else Path(agreed.base)
                found = export_items(trained, out, items, base, bool(agreed.whole_catalogue), bars)
            push(out, replaces=False)
        found = replace(found, seconds=time.perf_counter() - start)
        say(found)
        return found


@contextmanager
def _workers(cfg: DictConfig, out: Path) -> Iterator[ItemWorkers | None]:
    """Starts the engine of the config; yields None where that is this process."""
    with engine_of(cfg) as engine:
        if engine.is_local:
            yield None
            return
        with raw_sibling(out) as scratch:
            yield ItemWorkers(engine, scratch)


def _bundle_options(cfg: DictConfig, rerank: Rerank | None) -> BundleOptions:
    top_k = None if cfg.top_k is None else TopKOptions(int(cfg.top_k), cfg.top_k_type)
    return BundleOptions(bool(cfg.exported), tuple(plain(cfg.compile_for)), top_k, rerank)


def _check_options(cfg: DictConfig) -> None:
    """Refuses options that would change nothing."""
    if cfg.what == "items" and cfg["items"] is None:
        raise ConfigError("Name the files of the catalogue.", where="items", remedy="items=FILE_OR_FOLDER")
    of_items = {"item_type": cfg.item_type != "float32", "key_value": cfg.key_value, "index": cfg.index is not None}
    of_items |= {"top_k": cfg.top_k is not None}
    of_base = {"whole_catalogue": cfg.whole_catalogue}
    idle: dict[str, bool] = {}
    if cfg["items"] is None:
        idle |= of_items | {"engine": cfg.engine != "local"}
    if cfg.top_k is None:
        idle |= {"top_k_type": cfg.top_k_type != "float32"}
    if cfg.base is None:
        idle |= of_base
    if cfg.what == "bundle":
        idle |= {"base": cfg.base is not None}
    else:
        idle |= {"compile_for": len(cfg.compile_for) > 0, "exported": not cfg.exported}
        idle |= {"top_k": cfg.top_k is not None, "rerank": cfg.rerank is not None}
    if given := [name for name, is_given in idle.items() if is_given]:
        raise ConfigError(
            "These options have no effect here.",
            where=", ".join(given),
            expected="item_type, key_value, index, top_k, engine with items; base with what=items; whole_catalogue "
            "with base; exported, compile_for, top_k, rerank with what=bundle; top_k_type with top_k",
            found=f"what={cfg.what}, items={cfg['items']}, base={cfg.base}",
        )


def names_items(trained: Trained) -> bool:
    """Whether a column names the items, so that what is known of each beforehand can be stored."""
    return trained.schema.keys.item is not None


@dataclass(frozen=True)
class ItemOptions:
    """Which item vectors are written, and how.

    Attributes:
        source: Raw files of the catalogue.
        device: Where the item tower runs.
        kind: How vectors are stored.
        key_value: Whether an LMDB file is written too.
        index: Type of a FAISS index that is written too.
        memory_bytes: What reading may hold in memory.
        workers: Encode items and compute vectors; None does it in this process.
    """

    source: str
    device: torch.device
    kind: ItemType = "float32"
    key_value: bool = False
    index: IndexType | None = None
    memory_bytes: int = 1 << 31
    workers: ItemWorkers | None = None

    @classmethod
    def of(cls, cfg: DictConfig) -> ItemOptions | None:
        """Reads them from the config of an export; None without a catalogue."""
        source = cfg["items"]  # an attribute of this name is a method
        if source is None:
            return None
        return cls(str(source), device(cfg), cfg.item_type, bool(cfg.key_value), cfg.index, int(cfg.memory_bytes))

    def catalogue(self, trained: Trained) -> Catalogue:
        """Returns the items as a model reads them."""
        return Catalogue(trained, self.source, self.device, self.memory_bytes, workers=self.workers)


def export_bundle(
    trained: Trained, out: Path, options: BundleOptions, items: ItemOptions | None, bars: PassProgress
) -> Exported:
    """Writes a bundle, with item vectors if there is a catalogue."""
    count: int | None = None

    def fill(root: Path) -> None:
        nonlocal count
        if items is None:
            return
        (root / ITEMS).mkdir()
        count = _write_items(root / ITEMS, trained, items, bars)
        _write_extras(root, root / ITEMS, trained, items)

    _check_items(trained, items)
    bundle = write_bundle(trained, out, options, fill)
    return Exported(out, trained.version, bundle.manifest.difference, count, 0.0)


def export_items(
    trained: Trained, out: Path, items: ItemOptions, base: Path | None, is_whole: bool, bars: PassProgress
) -> Exported:
    """Writes stored items alone; with a base those whose vectors are new or changed since."""
    _check_items(trained, items)
    if base is not None and not isinstance(trained.model, SplitPreRanker):
        raise ConfigError(
            "Stored item features cannot have deltas; only item vectors can.",
            where="base",
            expected="null",
            found=str(base),
            remedy="Export the whole catalogue.",
        )
    before = None if base is None else ItemVectors.load(_items_of(base), trained.version)
    if before is not None and (items.key_value or items.index is not None):
        raise ConfigError(
            "A delta contains only item vectors.",
            where="key_value, index",
            remedy="Export the whole catalogue for these.",
        )
    with atomic_directory(out) as root:
        count = _write_items(root, trained, items, bars, before, is_whole)
        _write_extras(root, root, trained, items)
    return Exported(out, trained.version, None, count, 0.0)


def _items_of(folder: Path) -> Path:
    return folder / ITEMS if (folder / ITEMS).is_dir() else folder


def _check_items(trained: Trained, items: ItemOptions | None) -> None:
    """Refuses what the model cannot have, before any work is done."""
    if items is None:
        return
    _ = items.catalogue(trained).key
    of_vectors = {"item_type": items.kind != "float32", "key_value": items.key_value, "index": items.index is not None}
    given = [name for name, is_given in of_vectors.items() if is_given]
    if given and not isinstance(trained.model, SplitPreRanker):
        raise ConfigError(
            "This model has no item vectors, since it reads request and item together: features of items are stored.",
            where=", ".join(given),
            expected="none of these, or a pre-ranker in parts, such as two_tower",
            found=trained.name,
            remedy="Leave them out.",
        )
    closed = trained.model.closed_form() if isinstance(trained.model, SplitPreRanker) else None
    if items.index is not None and (closed is None or closed.type != "dot"):
        raise ConfigError(
            "Only vectors that are compared by dot products have an index.",
            where="index",
            expected="such as model=two_tower",
            found=trained.name,
            remedy="Leave index=null.",
        )
    if items.index is not None:
        faiss()
    if items.key_value:
        lmdb()


def _write_items(
    root: Path,
    trained: Trained,
    items: ItemOptions,
    bars: PassProgress,
    base: ItemVectors | None = None,
    is_whole: bool = False,
) -> int:
    """Writes vectors of items, or features where there are no vectors; returns how many."""
    catalogue = items.catalogue(trained)
    if not isinstance(trained.model, SplitPreRanker):
        return write_features(root, catalogue, bars)

    written = write_items(root, catalogue, items.kind, bars, base, is_whole)
    if base is not None:
        _log.info("Of %d items %d are new or changed; %d are gone.", written.seen, written.count, written.removed)
    return written.count


def _write_extras(root: Path, folder: Path, trained: Trained, items: ItemOptions) -> None:
    """Writes the key-value file and the index, if they are asked for."""
    if not items.key_value and items.index is None:
        return
    vectors = ItemVectors.load(folder, trained.version, check=False)
    if items.key_value:
        write_key_value(root / KEY_VALUE, vectors)
    if items.index is not None:
        (root / INDEX).mkdir()
        write_index(root / INDEX, vectors, trained.schema.task_names, items.index)


def say(found: Exported) -> None:
    """Says in a line what was written."""
    console = plain_console()
    parts = [] if found.items is None else [f"{found.items:,} items"]
    if found.difference is not None:
        parts.append(f"golden requests within {found.difference:.1e} of the checkpoint")
    console.print(
        f"{'Bundle' if found.difference is not None else 'Items'} {shown_path(found.folder)}: "
        f"version {found.version[:12]}, {', '.join(parts)} ({found.seconds:.0f} s)",
        soft_wrap=True,
    )
    if found.difference is not None:
        serve = shlex.join([*program_command("serve"), f"bundle={shown_path(found.folder)}"])
        console.print(f"Serve it with {serve}; README.md there has a request to send.", soft_wrap=True)
