"""Writes a bundle: whole and proven, or not at all."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from distill.device import DeviceTopK
from distill.device.proof import check_top_k
from distill.errors import ConfigError, DataError
from distill.export.card import card_text
from distill.export.flat import Signature, example
from distill.export.golden import draw_requests, lost_digits, score_requests
from distill.export.programs import ExportedPart, export_part, write_part
from distill.export.rerank import check_rerank, golden_places
from distill.export.top_k import TopKOptions, write_top_k
from distill.export.trained import Trained
from distill.export.weights import FILE as WEIGHTS
from distill.export.weights import SharedWeights
from distill.files import atomic_directory
from distill.models.prerankers.base import SinglePreRanker, SplitPreRanker
from distill.models.score import RankingScore
from distill.serving import Bundle, Rerank
from distill.serving.bundle import load_items
from distill.serving.inputs import CANDIDATE, REQUEST
from distill.serving.interaction import combine
from distill.serving.manifest import (
    CARD,
    GOLDEN,
    ITEMS,
    Interaction,
    Manifest,
    Part,
    Program,
    TopKProgram,
    hash_files,
    program_files,
)
from distill.serving.proof import Float64, check_golden, golden_inputs, relative_difference
from distill.serving.scores import Float32

_log = logging.getLogger(__name__)
_PACKAGES = ("distill-ranker", "torch", "onnx", "onnxscript", "onnxruntime", "numpy", "pyarrow")


@dataclass(frozen=True)
class BundleOptions:
    """What a bundle holds beside its ONNX programs.

    Attributes:
        exported: `torch.export` programs too.
        compile_for: Devices (`cpu`, `cuda`) for which AOTInductor compiles the parts too.
        top_k: A program of the best candidates, for devices; it needs stored items.
        rerank: How `Bundle.top_k` re-ranks; None for the order of the ranking score.
    """

    exported: bool = True
    compile_for: Sequence[str] = ()
    top_k: TopKOptions | None = None
    rerank: Rerank | None = None


@dataclass(frozen=True)
class _Parts:
    """The parts of a model as programs, and what combines them."""

    programs: Mapping[Part, ExportedPart]
    interaction: Interaction | None


@dataclass(frozen=True)
class _Written:
    """Programs that are files of the bundle."""

    programs: dict[Part, Program]
    top_k: TopKProgram | None


def write_bundle(
    trained: Trained, out: Path, options: BundleOptions, fill: Callable[[Path], None] | None = None
) -> Bundle:
    """Writes a bundle and replays its golden requests through the code that serves.

    Args:
        trained: The model.
        out: The folder; it must not exist, or be empty.
        options: What it holds.
        fill: Writes what goes with it, such as item vectors, before it is proven.

    Raises:
        ConfigError: torch cannot export the model, a package is missing, or the model cannot be re-ranked so.
        DataError: A golden score differs from the checkpoint's by more than 1e-5, and by more than 4 times what the
            checkpoint loses in float32.
    """
    if options.rerank is not None:
        check_rerank(trained, options.rerank)
    with atomic_directory(out) as root:
        parts = _exported(trained)
        with SharedWeights(root) as weights:
            programs = {
                name: write_part(root, part, weights, options.exported, options.compile_for)
                for name, part in parts.programs.items()
            }
        top_k = None
        if options.top_k is not None:
            top_k = write_top_k(root, trained.model, trained.schema, options.top_k, options.compile_for)
        trained.encodings.write(root)
        _write_golden(root, trained, options.rerank)
        if fill is not None:
            fill(root)
        written = _Written(programs, top_k)
        try:
            _prove(root, trained, parts, written, options.rerank)
        except DataError:
            _write_golden(root, trained, options.rerank, with_rounding=True)
            worst = _prove(root, trained, parts, written, options.rerank)
            _log.warning(
                "On some golden requests the checkpoint itself loses digits in float32. The bundle differs from it by "
                "up to %.1g there, within 4 times what is lost, and is accepted.",
                worst,
            )
    return Bundle.load(out)


def _exported(trained: Trained) -> _Parts:
    model, schema = trained.model, trained.schema
    if not isinstance(model, SplitPreRanker):
        return _Parts({"whole": export_part(model, schema, Signature.of("whole", schema), {})}, None)
    interaction = model.closed_form() or Interaction(type="program")
    programs: dict[Part, ExportedPart] = {}
    vectors: dict[str, torch.Tensor] = {}
    sides: tuple[Part, ...] = ("candidate",) if interaction.type == "item" else ("request", "candidate")
    for part in sides:
        signature = Signature.of(part, schema)
        programs[part] = export_part(model, schema, signature, {})
        with torch.no_grad():
            vectors[part] = programs[part].program.module()(*example(schema, signature, {}))
    if interaction.type == "program":
        programs["interact"] = export_part(model, schema, Signature.of("interact", schema), vectors)
    if isinstance(model, SinglePreRanker):
        one = {**vectors, REQUEST: vectors["request"][:1]}
        programs["single"] = export_part(model, schema, Signature.of("single", schema), one)
    return _Parts(programs, interaction)


def _write_golden(root: Path, trained: Trained, rerank: Rerank | None, with_rounding: bool = False) -> None:
    raw = draw_requests(trained.schema, trained.fitted, categories=[] if rerank is None else rerank.columns)
    logits = score_requests(trained.checkpoint_model, trained.schema, trained.fitted, raw)
    columns = {
        name: torch.from_numpy(raw.candidate[name].to_numpy().astype(np.float32))
        for name in trained.schema.score.columns
    }
    order = RankingScore(trained.schema)(logits, columns)
    by_task = {name: logits[:, k].numpy() for k, name in enumerate(trained.schema.task_names)}
    places = None if rerank is None else golden_places(trained, rerank, raw, logits, order)
    lost = lost_digits(trained.checkpoint_model, trained.schema, trained.fitted, raw) if with_rounding else None
    pq.write_table(raw.with_scores(by_task, order.numpy(), places, lost), root / GOLDEN)


def _prove(root: Path, trained: Trained, parts: _Parts, written: _Written, rerank: Rerank | None) -> float:
    """Writes the manifest of what replays its golden requests; returns the largest difference."""
    names = [*program_files(written.programs, written.top_k), WEIGHTS, GOLDEN, *trained.encodings.files]
    manifest = Manifest(
        version=trained.version,
        model=trained.name,
        fields_schema=trained.schema.model_dump(mode="json"),
        encodings=trained.encodings.saved,
        programs=written.programs,
        interaction=parts.interaction,
        top_k=written.top_k,
        rerank=rerank,
        files=hash_files(root, names),
        made_with={name: importlib.metadata.version(name) for name in _PACKAGES if _is_installed(name)},
    )
    bundle = Bundle.assembled(root, manifest)
    worst = check_golden(bundle)
    if any(program.exported for program in written.programs.values()):
        _check_exported(bundle, parts)
    if written.top_k is not None:
        _check_top_k(bundle, written.top_k)
    found = manifest.model_copy(update={"difference": worst})
    (root / CARD).write_text(card_text(found, trained.schema, root), encoding="utf-8")
    found = found.model_copy(update={"files": {**found.files, **hash_files(root, [CARD])}})
    found.write(root)
    return worst


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _check_exported(bundle: Bundle, parts: _Parts) -> None:
    """Compares the `torch.export` programs with the golden scores."""
    inputs, wanted, allowed = golden_inputs(bundle)
    tensors: dict[str, Any] = {name: torch.from_numpy(array) for name, array in inputs.items()}

    def run(part: Part) -> Any:
        found = parts.programs[part]
        with torch.no_grad():
            return found.program.module()(*(tensors[name] for name in found.signature.inputs))

    if parts.interaction is None:
        logits = run("whole").numpy()
    else:
        tensors |= {str(part): run(part) for part in parts.programs if part in (REQUEST, CANDIDATE)}
        if parts.interaction.type == "program":
            logits = run("interact").numpy()
        else:
            request = tensors[REQUEST].numpy() if REQUEST in parts.programs else None
            logits = combine(parts.interaction, request, tensors[CANDIDATE].numpy(), inputs["request_index"])
    _compare_exported(bundle, logits, wanted, allowed)
    if "single" in parts.programs:
        names = parts.programs["single"].signature.inputs
        for number, vector in enumerate(tensors[REQUEST].split(1)):
            rows = inputs["request_index"] == number
            own = {name: tensors[name][torch.from_numpy(rows)] for name in names if name != REQUEST}
            with torch.no_grad():
                of_one = parts.programs["single"].program.module()(*({**own, REQUEST: vector}[name] for name in names))
            _compare_exported(bundle, of_one.numpy(), wanted[rows], allowed[rows])


def _compare_exported(bundle: Bundle, logits: Float32, wanted: Float32, allowed: Float64) -> None:
    difference = relative_difference(logits, wanted)
    is_near = difference <= allowed[:, None]
    if not is_near.all():
        row, task = np.unravel_index(int(np.argmin(is_near)), difference.shape)
        raise DataError(
            "A torch.export program does not score the golden requests as the checkpoint did.",
            where=str(bundle.root),
            expected=f"a difference of at most {allowed[row]:g}",
            found=f"{difference[row, task]:g}",
        )


def _check_top_k(bundle: Bundle, program: TopKProgram) -> None:
    """Reads the program of the best candidates as a server does, and what is compiled of it, and replays requests."""
    folder = bundle.root / ITEMS
    if not folder.is_dir():
        raise ConfigError(
            "The best candidates are found among stored items.", where="top_k", remedy="Name the catalogue: items=FILE"
        )
    with_items = bundle.with_items(load_items(folder, bundle.manifest, check=False))
    check_top_k(DeviceTopK.of(with_items, trusted=True))
    for device in program.compiled:
        check_top_k(DeviceTopK.of(with_items, device, compiled=True, trusted=True))


def check_exportable(out: Path) -> None:
    """Says before any work is done what is missing.

    Raises:
        ConfigError: A package is not installed.
    """
    missing = [name for name in ("onnx", "onnxscript") if not _is_installed(name)]
    if missing:
        raise ConfigError(
            "Exporting needs packages that are not installed.",
            where=str(out),
            found=f"without {', '.join(missing)}",
            remedy="Install it: pip install 'distill-ranker[export]'.",
        )
