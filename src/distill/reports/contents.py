"""What a prepared dataset is made of, as lines and tables of at most a hundred columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from distill.data.contents import Contents, FilesRead, LabelNumbers
from distill.data.format import SPLITS, Dataset

_SHOWN_FILES = 5


def contents_lines(dataset: Dataset) -> list[str]:
    """Says what was read and what was left out, in a line each."""
    contents = dataset.manifest.contents
    if contents is None:
        return []
    lines = [_files_line(contents.files)]
    found = [contents.splits[split].duplicates for split in SPLITS]
    repeated, contrary = sum(of.candidates for of in found), sum(of.other_label for of in found)
    if repeated and dataset.schema.duplicates != "keep":
        lines.append(
            f"{repeated:,} candidates were in their request twice, {contrary:,} with another label; under `duplicates: "
            f"{dataset.schema.duplicates}` one of each was kept."
        )
    return lines


def _files_line(files: FilesRead) -> str:
    names = ", ".join(files.names[:_SHOWN_FILES])
    more = files.count - min(files.count, _SHOWN_FILES)
    shown = f"{names} and {more:,} more" if more else names
    plural = "" if files.count == 1 else "s"
    return f"Read {files.rows:,} rows of {files.count:,} file{plural} ({files.bytes / 1e6:,.1f} MB): {shown}"


def split_table(dataset: Dataset) -> Table:
    """Requests, candidates, bytes and times of each split."""
    table = Table(title=f"{dataset.schema.name} ({dataset.schema.layout})", title_justify="left")
    table.add_column("split")
    contents = dataset.manifest.contents
    empty = contents is not None and any(of.without_candidates for of in contents.splits.values())
    timed = contents is not None and any(of.time and of.time.first for of in contents.splits.values())
    names = ["requests", *["without candidates"] * empty, "candidates", "MB"]
    for name in (*names, *["first time", "last time"] * timed):
        table.add_column(name, justify="right")
    for split in SPLITS:
        parts = dataset.manifest.splits.get(split, ())
        cells = [f"{sum(part.rows for part in parts):,}"]
        if contents is not None and empty:
            cells.append(f"{contents.splits[split].without_candidates:,}")
        cells += [f"{sum(part.candidates for part in parts):,}", f"{sum(part.bytes for part in parts) / 1e6:,.1f}"]
        if contents is not None and timed:
            time = contents.splits[split].time
            cells += ["–", "–"] if time is None else [time.first or "–", time.last or "–"]
        table.add_row(split, *cells)
    return table


def label_table(dataset: Dataset, contents: Contents) -> Table:
    """The share of positive labels of each task in each split; of graded and value tasks mean and range."""
    table = Table(title="labels: positive, of those observed", title_justify="left")
    for name in ("task", "kind", *SPLITS):
        table.add_column(name, justify="right" if name in SPLITS else "left")
    for task in dataset.schema.tasks:
        found = [contents.splits[split].labels[task.name] for split in SPLITS]
        table.add_row(task.name, task.kind, *(_label_cell(of_split, task.kind) for of_split in found))
    return table


def _label_cell(found: LabelNumbers, kind: str) -> str:
    if found.mean is None:
        return f"none of {found.candidates:,} observed"
    share = f"{found.positive / found.labelled:.2%}"
    if kind != "binary":
        share = f"mean {found.mean:.4g}\n{found.low:.4g} … {found.high:.4g}"
    return f"{share}\nof {found.labelled:,}"


def field_table(dataset: Dataset) -> Table:
    """How each field was encoded, and the range of numbers in the training split."""
    table = Table(title="fields", title_justify="left")
    for name in ("field", "side", "kind", "encoding"):
        table.add_column(name)
    table.add_column("ids", justify="right")
    table.add_column("range in train", justify="right")
    for spec in dataset.schema.fields:
        low_high = dataset.manifest.ranges.get(spec.name)
        shown = "" if low_high is None else f"{low_high[0]:.4g} … {low_high[1]:.4g}"
        name = f"{spec.name} (privileged)" if spec.privileged else spec.name
        size = "" if spec.size is None else f"{spec.size:,}"
        table.add_row(name, spec.side.value, spec.kind.value, spec.encoding.type, size, shown)
    return table


def gap_table(contents: Contents) -> Table | None:
    """Missing and unknown values of the fields that have some, in each split; None if there are none."""
    table = Table(title="missing and unknown values", title_justify="left")
    for name in ("field", *(f"{what}\n{split}" for what in ("missing", "unknown") for split in SPLITS)):
        table.add_column(name, justify="left" if name == "field" else "right")
    for field in contents.splits["train"].fields:
        found = [contents.splits[split].fields[field] for split in SPLITS]
        missing = [_share(of.missing, of.rows) for of in found]
        unknown = [_share(of.unknown, of.values) for of in found]
        if any(of.missing or of.unknown for of in found):
            table.add_row(field, *missing, *unknown)
    return table if table.row_count else None


def _share(part: int, whole: int) -> str:
    if part == 0:
        return ""
    share = part / max(1, whole)
    return "<0.1%" if share < 0.001 else f"{share:.1%}"


def tables(dataset: Dataset) -> Sequence[Table]:
    """Returns all tables that there is something to show in."""
    contents = dataset.manifest.contents
    if contents is None:
        return (split_table(dataset), field_table(dataset))
    gaps = gap_table(contents)
    found = (split_table(dataset), label_table(dataset, contents), field_table(dataset))
    return found if gaps is None else (*found, gaps)
