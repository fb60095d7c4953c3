"""The model card of a bundle, in Markdown."""

from __future__ import annotations

from pathlib import Path

from distill.export.card_example import curl_example
from distill.schema import FieldSpec, Schema
from distill.serving.diversity.options import Rerank
from distill.serving.item_features import FeaturesManifest, read_features_manifest
from distill.serving.items import ItemsManifest, read_items_manifest
from distill.serving.manifest import ITEMS, MANIFEST, Manifest

_HOW = {
    "dot": "a dot product of both vectors (no program)",
    "sum": "a sum of both parts (no program)",
    "item": "the item's own score (no program)",
    "program": "the program `interact`",
}


def card_text(manifest: Manifest, schema: Schema, root: Path) -> str:
    """Returns the card.

    Args:
        manifest: Of the bundle.
        schema: The model's view of the schema.
        root: Its folder, with stored items if there are any.
    """
    lines = [
        f"# {manifest.model} ({schema.name})",
        "",
        f"Version `{manifest.version}` (hash of weights and encodings). Made with "
        + ", ".join(f"{name} {release}" for name, release in manifest.made_with.items())
        + ".",
        "",
        f"Predicts {_tasks(schema)}. Ranking score: {_score(schema)}.",
        *_sampling(schema),
        "",
        "## Raw columns that it reads",
        "| column | field | of | kind | encoding | ids |",
        "|---|---|---|---|---|---|",
    ]
    for side in manifest.sides:
        lines += [
            f"| {_columns(f)} | `{f.name}` | {side.value} | {f.kind.value} | {f.encoding.type} | {f.size or ''} |"
            for f in schema.side(side)
        ]
    how = "the whole model at once" if manifest.interaction is None else _HOW[manifest.interaction.type]
    lines += ["", "## Programs", "| part | file | bytes |", "|---|---|---|"]
    for part, program in manifest.programs.items():
        files = [program.file, *([program.exported] if program.exported else []), *program.compiled.values()]
        lines += [f"| {part} | `{name}` | {(root / name).stat().st_size:,} |" for name in files]
    if manifest.top_k is not None:
        files = [manifest.top_k.file, *manifest.top_k.compiled.values()]
        lines += [f"| the best {manifest.top_k.k} | `{name}` | {(root / name).stat().st_size:,} |" for name in files]
    lines += [f"| weights of all | `weights.bin` | {(root / 'weights.bin').stat().st_size:,} |", ""]
    lines += [f"Logits come from {how}.", ""]
    lines += [
        f"Golden requests from raw values, through the code that serves: largest difference of a logit from the "
        f"checkpoint {manifest.difference:.1e} (at most 1e-05, or the bundle is refused).",
    ]
    lines += ["", *_rerank(manifest.rerank)]
    if (root / ITEMS).is_dir() and manifest.is_whole:
        lines += ["", *_features(read_features_manifest(root / ITEMS))]
    elif (root / ITEMS).is_dir():
        lines += ["", *_items(read_items_manifest(root / ITEMS))]
    lines += [
        "",
        "## Use",
        "```python",
        "from distill.serving import Bundle",
        "",
        f'bundle = Bundle.load("FOLDER")  # {MANIFEST}, hashes and golden requests are checked',
        "scores = bundle.score({...one request...}, {...columns of its candidates...})",
        "scores.predictions, scores.ranking_score, scores.order()",
        "best = bundle.top_k({...one request...}, {...columns of its candidates...}, k=100)",
        "```",
        "",
    ]
    if (command := curl_example(manifest, schema, root)) is not None:
        lines += [
            "Over HTTP (`pip install 'distill-serving[service]'`); the second line is a golden request, cut short:",
            "```",
            "python -m distill.service --bundle FOLDER",
            command,
            "```",
            "",
        ]
    return "\n".join(lines)


def _columns(spec: FieldSpec) -> str:
    return ", ".join(f"`{source.column}`" for source in spec.sources)


def _tasks(schema: Schema) -> str:
    return ", ".join(f"`{task.name}` ({task.kind})" for task in schema.tasks)


def _sampling(schema: Schema) -> list[str]:
    rates = [f"{rate:g} of the negatives of `{task}`" for task, rate in (schema.negative_sampling or {}).items()]
    if not rates:
        return []
    return [
        f"The log that it learned from kept {', '.join(rates)}. Probabilities and the ranking score are corrected for "
        "it (logit + log rate); `logits` and what the programs give are not."
    ]


def _score(schema: Schema) -> str:
    powers = schema.score.tasks or dict.fromkeys(schema.task_names, 1.0)
    return " · ".join(f"{name}^{power:g}" for name, power in {**powers, **schema.score.columns}.items())


def _rerank(rerank: Rerank | None) -> list[str]:
    lines = ["## Order of the best"]
    if rerank is None:
        return [*lines, "`top_k` gives the order of the ranking score; nothing is re-ranked."]
    given = (
        f" Candidates come with the raw columns {', '.join(f'`{c}`' for c in rerank.columns)}."
        if rerank.columns
        else ""
    )
    return [
        *lines,
        f"`top_k` re-ranks: {rerank.text()}. Golden requests hold the order, and loading compares it.{given}",
    ]


def _features(found: FeaturesManifest) -> list[str]:
    return ["## Stored features of items", f"{found.count:,} items by `{found.key}`, encoded; the model reads them."]


def _items(found: ItemsManifest) -> list[str]:
    overlap = (
        ""
        if found.overlap is None
        else (
            f" Stored so, {found.overlap:.2%} of the best {found.best} of each request are those of float32 "
            "(golden requests, items of the catalogue)."
        )
    )
    return [
        "## Item vectors",
        f"{found.count:,} items by `{found.key}`, {found.type}, shape {found.shape}.{overlap}",
    ]
