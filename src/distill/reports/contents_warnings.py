"""What is suspicious in a prepared dataset."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from distill.data.contents import Contents, FieldNumbers, LabelNumbers
from distill.data.format import SPLITS, Dataset
from distill.schema import Schema, Task

# Thresholds of the warnings; data/README.md lists them.
UNKNOWN_SHARE = 0.2
"""Of the values of a field in a split."""
MISSING_GAP = 0.2
"""Between the shares of rows without a value in train and in another split."""
RATE_FACTOR = 3.0
"""Between the shares of positive labels in train and in another split."""
NO_KEY_SHARE = 0.05
"""Of requests without a user, or of candidates without an item."""
NO_CANDIDATES_SHARE = 0.05
"""Of requests."""
CHANCE_AUC = 0.06
"""Standard deviation of the AUC of a random order: more than a fair difference of two models."""
_ORDERED = ("ColumnSplit", "TimeSplit", "DateSplit", "FileSplit")  # rules whose splits should follow one another
LEAST = 20
"""Shares of fewer values, rows or expected positives than this say nothing."""


def contents_warnings(dataset: Dataset) -> list[str]:
    """Says what a user would want to know before training; nothing of datasets whose contents were not looked at."""
    contents, schema = dataset.manifest.contents, dataset.schema
    if contents is None:
        return []
    found = [*_duplicates(contents, schema)]
    for task in schema.tasks:
        found += _labels(contents, task)
    for field in contents.splits["train"].fields:
        found += _field(field, {split: contents.splits[split].fields[field] for split in SPLITS})
    found += _keys(contents)
    found += _times(contents, dataset.manifest.source)
    return found


def _duplicates(contents: Contents, schema: Schema) -> Iterator[str]:
    found = {split: contents.splits[split].duplicates for split in SPLITS}
    total, contrary = sum(of.candidates for of in found.values()), sum(of.other_label for of in found.values())
    if total and schema.duplicates == "keep":
        example = next(example for of in found.values() for example in of.examples)
        where = ", ".join(f"{split} {of.candidates:,}" for split, of in found.items() if of.candidates)
        yield (
            f"{total:,} candidates are in their request twice, {contrary:,} with another label ({where}), such as item "
            f"{example.item} in request {example.request}. All are kept; say what becomes of them with `duplicates: "
            "first`, `last`, `merge` or `error` in the schema."
        )


def _labels(contents: Contents, task: Task) -> Iterator[str]:
    found = {split: contents.splits[split].labels[task.name] for split in SPLITS}
    for split, of in found.items():
        if not of.labelled:
            yield f"{split} has no label of task {task.name}: nothing of the task can be learned or measured there."
        elif task.kind != "value" and not of.positive:
            yield (
                f"{split} has no positive of task {task.name} ({of.labelled:,} labelled candidates): metrics that "
                "compare positives with others are not defined there. Use another split, or wait for late labels."
            )
        elif task.kind == "binary" and of.positive == of.labelled:
            yield (
                f"All {of.labelled:,} labelled candidates of {split} are positive in task {task.name}: there is "
                "nothing to tell them from. Log the candidates that were not chosen too."
            )
    train = found["train"]
    if task.kind == "binary" and train.positive:
        for split in SPLITS[1:]:
            if (chance := _chance_auc(found[split])) > CHANCE_AUC:
                chosen = "the best epoch" if split == "val" else "a difference of models"
                yield (
                    f"{split} has {found[split].positive:,} positives of task {task.name} in {found[split].labelled:,} "
                    f"labels: a random order has an AUC of 0.5 ± {chance:.2f} there, so {chosen} may be chance. Use "
                    "more data, or a larger split."
                )
            if found[split].positive and _differ(train, found[split]):
                yield (
                    f"{_rate(train):.2%} of the labels of task {task.name} are positive in train, "
                    f"{_rate(found[split]):.2%} in {split}: labels may come late, or the splits are not of one kind."
                )


def _chance_auc(found: LabelNumbers) -> float:
    """Returns the standard deviation of the AUC of a random order (Mann and Whitney 1947); 0 where it is undefined."""
    negative = found.labelled - found.positive
    pairs = found.positive * negative
    return math.sqrt((found.labelled + 1) / (12 * pairs)) if pairs else 0.0


def _rate(found: LabelNumbers) -> float:
    return found.positive / found.labelled


def _differ(one: LabelNumbers, other: LabelNumbers) -> bool:
    low, high = sorted((_rate(one), _rate(other)))
    return high > RATE_FACTOR * low and high * min(one.labelled, other.labelled) >= LEAST


def _field(name: str, found: dict[str, FieldNumbers]) -> Iterator[str]:
    nothing = [split for split, of in found.items() if of.rows and not of.values]
    if nothing:
        yield f"Field {name} has no value in {' and '.join(nothing)}. Check the column, or leave the field out."
        return
    unknown = {split: of.unknown / of.values for split, of in found.items() if of.values >= LEAST}
    if high := {split: share for split, share in unknown.items() if share >= UNKNOWN_SHARE}:
        where = ", ".join(f"{share:.1%} in {split}" for split, share in high.items())
        remedy = "Check that all files write it alike, lower its `min_count`, or encode it by `hash`."
        if "train" not in high:
            remedy = "Check that all files write it alike, use other features of it too, or train on newer data."
        yield f"Values of field {name} are unknown to its encoding: {where}. {remedy}"
    missing = {split: of.missing / of.rows for split, of in found.items() if of.rows >= LEAST}
    for split in SPLITS[1:]:
        if abs(missing.get(split, 0) - missing.get("train", 0)) >= MISSING_GAP and {"train", split} <= missing.keys():
            yield f"Field {name} is missing in {missing['train']:.1%} of train, in {missing[split]:.1%} of {split}."
    train = found["train"]
    if train.constant and train.unknown < train.values and train.rows >= LEAST:
        yield f"Field {name} has one value in all of train: check the column, or leave the field out."


def _keys(contents: Contents) -> Iterator[str]:
    for split in SPLITS:
        of = contents.splits[split]
        found = (
            (of.without_candidates, of.requests, NO_CANDIDATES_SHARE, "requests of {} have no candidates"),
            (
                of.without_user,
                of.requests,
                NO_KEY_SHARE,
                "requests of {} have no user: each counts as a user of its own",
            ),
            (of.without_item, of.candidates, NO_KEY_SHARE, "candidates of {} have no item key: they count as no item"),
        )
        for number, whole, share, text in found:
            if whole >= LEAST and number >= share * whole:
                yield f"{number / whole:.1%} of the {text.format(split)}."


def _times(contents: Contents, source: Mapping[str, Any]) -> Iterator[str]:
    rule = source.get("split", {}).get("rule")
    ranges = {split: contents.splits[split].time for split in SPLITS}
    if any(of is not None and of.unreadable for of in ranges.values()):
        yield "Some values of `keys.time` are not times: nothing can be said of when the splits are from."
        return
    apart = source.get("apart", {})
    for one, other in combinations(SPLITS, 2):
        if rule not in _ORDERED and not {one, other} & set(apart):
            continue
        before, after = ranges[one], ranges[other]
        if before is None or after is None or before.last is None or after.first is None:
            continue
        if _ordered(before.last) > _ordered(after.first):
            yield (
                f"{one} lasts until {before.last}, but {other} begins at {after.first}: what is learned or chosen on "
                f"{one} knows what happens after the first requests of {other}."
            )


def _ordered(time: str) -> tuple[float, str]:
    """Makes times comparable: numbers by their value, ISO 8601 by their letters."""
    try:
        return float(time), ""
    except ValueError:
        return 0.0, time
