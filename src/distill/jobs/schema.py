"""Proposes a schema of raw files, writes it, says why, and checks it as `prepare` does."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Sequence
from glob import escape
from pathlib import Path

from rich import box
from rich.table import Table

from distill.console import plain_console, report_console
from distill.data.found import find_all, find_files, sources_root
from distill.data.propose import (
    Line,
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
from distill.jobs.split_names import splits_by_name

_PLAIN = re.compile(r"\.{1,2}|(\.{0,2}/|[A-Za-z_])[\w./*?@%+-]*", re.ASCII)
_WHOLE = 32  # characters of a column's name that stay in one line: it is looked for in the file
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
        state = line.column if line.used else f"{line.column}, not declared" if line.column else ""
        told = "; ".join(filter(None, (state, line.why)))
        console.print(printable(f"keys.{key}: {told}"), soft_wrap=True, highlight=False)
    missing = missing_parts(options.out)
    if missing:
        lacking = " and ".join(missing)
        console.print(f"No schema yet: declare {lacking} in {options.out}, then run", style="bold red", soft_wrap=True)
    elif options.check:
        console.print("Checking all files against it (--no-check leaves that out) …", soft_wrap=True, highlight=False)
        check_against(options.out, files, _rule(proposal))
        checked = f"Checked: {_files(len(files))} as the schema says. Confirm keys and tasks, then run"
        console.print(checked, soft_wrap=True, highlight=False)
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
    """Returns what a dataset is named after: the folder, where one is given or files are named after splits, else the
    first file."""
    folder = Path(given[0]).expanduser()
    if len(given) == 1 and folder.is_dir():
        return folder.resolve().name
    first = files[0].name.partition(".")[0]
    return files[0].resolve().parent.name or first if splits_by_name(_sources(given, files)) else first


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
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    longest = max((len(line.column) for line in (*proposal.fields, *proposal.tasks)), default=0)
    table.add_column("column", overflow="fold", min_width=min(longest, _WHOLE))
    table.add_column("becomes")
    table.add_column("why", ratio=1)
    for line in proposal.fields:
        table.add_row(*map(printable, (line.column, _becomes(line), line.why)))
    for line in proposal.tasks:
        becomes = _named(line, f"task, {line.spec.get('kind', 'binary')}")
        table.add_row(*map(printable, (line.column, becomes, line.why)))
    return table


def _becomes(line: Line) -> str:
    """Returns a field in a few words: `candidate number, log`."""
    if not line.used or not line.spec:
        return "—"
    encoding = line.spec.get("encoding", {})
    shown = encoding["type"] if isinstance(encoding, dict) and encoding else encoding
    words = f"{line.spec['side']} {line.spec['kind']}" + (f", {shown}" if shown else "")
    words += ", privileged" if line.spec.get("privileged") else ""
    return _named(line, words)


def _named(line: Line, words: str) -> str:
    return words if line.spec["name"] == line.column else f"{line.spec['name']}: {words}"


def print_command(proposal: Proposal, options: argparse.Namespace, files: Sequence[Path]) -> None:
    """Prints how to prepare the files with the schema."""
    console = plain_console()
    words = [
        "data=parquet",
        f"data.source={_source(proposal, options.files, files)}",
        f"data.schema={_value(str(options.out))}",
    ]
    words += [f"data.main_task={proposal.main_task}"] if proposal.main_task is not None else []
    words.append(f"split@data.adapter.split={proposal.split}")
    if proposal.split_column is not None:
        words.append(f"data.adapter.split.column={_value(proposal.split_column)}")
    console.print(shlex.join([*program_command("prepare"), *words]), soft_wrap=True, highlight=False)


def _source(proposal: Proposal, given: Sequence[str], files: Sequence[Path]) -> str:
    """Returns the value of `data.source`: files whose names say their split are that split, unless a column says it."""
    splits = splits_by_name(_sources(given, files)) if proposal.split_column is None else {}
    if splits:
        return f"{{{', '.join(f'{split}: {_value(source)}' for split, source in splits.items())}}}"
    source = one_source(given, files)
    return _value(source) if source is not None else f"[{','.join(map(quoted, given))}]"


def _sources(given: Sequence[str], files: Sequence[Path]) -> list[str]:
    return list(given) if len(given) > 1 else [str(file) for file in files]


def _check_out(path: Path, force: bool) -> None:
    if path.exists() and not force:
        raise ConfigError(
            "The schema file already exists.",
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
