"""Proposes a schema of raw files, writes it, says why, and checks it as `prepare` does."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Sequence
from glob import escape
from pathlib import Path

from rich.table import Table

from distill.console import plain_console, report_console
from distill.data.found import find_all, find_files, sources_root
from distill.data.propose import (
    Proposal,
    Sample,
    check_against,
    dataset_name,
    missing_parts,
    printable,
    propose,
    read_sample,
    schema_text,
)
from distill.data.split import ColumnSplit, RandomSplit, SplitRule, TimeSplit
from distill.errors import ConfigError
from distill.files import write_text_atomic
from distill.jobs.program import program_command, quoted

_PLAIN = re.compile(r"\.{1,2}|(\.{0,2}/|[A-Za-z_])[\w./*?@%+-]*", re.ASCII)
_WORDS = {"null", "true", "false", "nan", "inf"}


def run(options: argparse.Namespace) -> Proposal:
    """Writes a proposal for the files that are given.

    Raises:
        ConfigError: The file to write is there already, or its folder is not.
        DataError: There are no files, one cannot be read, or they do not agree with each other.
        SchemaError: The proposal does not fit the files.
    """
    _check_out(options.out, options.force)
    files = found_files(options.files)
    sample = read_sample(files, options.rows)
    proposal = propose(sample)
    name = dataset_name(options.name or named_after(options.files, files))
    write_text_atomic(options.out, schema_text(proposal, name, _said(sample)))
    console = report_console()
    console.print(table_of(proposal, f"{options.out}: {_said(sample)}"))
    console.print(f"Layout: {printable(proposal.layout.why)}.", soft_wrap=True, highlight=False)
    for key, line in proposal.keys.items():
        state = line.column if line.used else f"{line.column or 'no column'}, not declared"
        console.print(printable(f"keys.{key}: {state}; {line.why}"), soft_wrap=True, highlight=False)
    missing = missing_parts(options.out)
    if missing:
        lacking = " and ".join(missing)
        console.print(f"No schema yet: declare {lacking} in {options.out}, then run", style="bold red", soft_wrap=True)
    elif options.check:
        console.print("Checking all files against it (--no-check leaves that out) …", soft_wrap=True)
        check_against(options.out, files, _rule(proposal))
        console.print(
            f"Checked: {_files(len(files))} as the schema says. Confirm keys and tasks, then run", soft_wrap=True
        )
    else:
        console.print("Confirm keys and tasks, then run", soft_wrap=True)
    print_command(proposal, options, files)
    return proposal


def found_files(given: Sequence[str]) -> list[Path]:
    """Returns the files of all sources, each once, in their order; says which are left out.

    Raises:
        DataError: A source has none.
    """
    found = find_all(given, "the paths")
    for line in found.notes(sources_root(given)):
        plain_console(stderr=True).print(f"WARNING: {line}", soft_wrap=True, highlight=False)
    return list(found.read)


def named_after(given: Sequence[str], files: Sequence[Path]) -> str:
    """Returns what a dataset is named after: the folder, where one is given, else the first file."""
    folder = Path(given[0]).expanduser()
    return folder.resolve().name if len(given) == 1 and folder.is_dir() else files[0].name.partition(".")[0]


def one_source(given: Sequence[str], files: Sequence[Path]) -> str | None:
    """Returns what `data.source` says for all the files and no others; None if no folder and no pattern does."""
    if len(given) == 1:
        return given[0]
    folder = Path(os.path.commonpath([file.parent for file in files]))
    names = [str(file) for file in files]
    start = os.path.commonprefix(names)  # noqa: RUF071, by character
    end = os.path.commonprefix([name[len(start) :][::-1] for name in names])[::-1]  # noqa: RUF071
    for source in (str(folder), f"{escape(start)}*{escape(end)}"):
        if set(find_files(source).read) == set(files):
            return source
    return None


def table_of(proposal: Proposal, title: str) -> Table:
    """Returns a table with a row for each column and what becomes of it."""
    table = Table("column", "field or task", "side", "kind", "encoding", "why", title=title)
    for line in proposal.fields:
        spec = (line.spec or {}) if line.used else {}
        encoding = spec.get("encoding", "default" if line.used else "")
        shown = encoding["type"] if isinstance(encoding, dict) else encoding
        cells = (line.column, spec.get("name", "—"), spec.get("side", ""), spec.get("kind", ""), shown, line.why)
        table.add_row(*map(printable, cells))
    for line in proposal.tasks:
        kind = f"task, {line.spec.get('kind', 'binary')}"
        table.add_row(*map(printable, (line.column, line.spec["name"], "", kind, "", line.why)))
    return table


def print_command(proposal: Proposal, options: argparse.Namespace, files: Sequence[Path]) -> None:
    """Prints how to prepare the files with the schema."""
    console = plain_console()
    source = one_source(options.files, files)
    value = _value(source) if source is not None else f"[{','.join(map(quoted, options.files))}]"
    words = ["data=parquet", f"data.source={value}", f"data.schema={_value(str(options.out))}"]
    words += [f"data.main_task={proposal.main_task}"] if proposal.main_task is not None else []
    words.append(f"split@data.adapter.split={proposal.split}")
    if proposal.split_column is not None:
        words.append(f"data.adapter.split.column={_value(proposal.split_column)}")
    console.print(shlex.join([*program_command("prepare"), *words]), soft_wrap=True, highlight=False)


def _check_out(path: Path, force: bool) -> None:
    if path.exists() and not force:
        raise ConfigError(
            "The schema is there already.",
            where="--out",
            found=str(path),
            remedy="Give another file, or --force to overwrite it.",
        )
    if not path.parent.is_dir():
        raise ConfigError("There is no such folder.", where="--out", found=str(path.parent), remedy="Make it first.")


def _rule(proposal: Proposal) -> SplitRule:
    if proposal.split_column is not None:
        return ColumnSplit(proposal.split_column)
    return TimeSplit() if proposal.split == "time" else RandomSplit()


def _value(text: str) -> str:
    """Returns text as the value of an override, quoted where Hydra would take it for something else."""
    return text if _PLAIN.fullmatch(text) and text.lower() not in _WORDS else quoted(text)


def _said(sample: Sample) -> str:
    of = "" if sample.files == sample.of_files else f" (of {sample.of_files:,})"
    return f"the first {sample.rows:,} rows of {_files(sample.files)}{of}"


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number:,} files"
