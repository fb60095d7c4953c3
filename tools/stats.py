"""Counts what the code is made of: python tools/stats.py [--root CHECKOUT] [--json]."""

from __future__ import annotations

import argparse
import ast
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tokenize
from pathlib import Path

PACKAGES = ("src/distill", "benchmarks", "tests")
COMMANDS = {"--help": ["train.py", "--help"], "a typo": ["train.py", "modle=two_tower"]}
EXERCISES = {
    "a loss": ("mine/focal.py", "configs/loss_term/focal.yaml"),
    "a loss that reads something new": ("mine/rare.py", "configs/loss_term/rare.yaml"),
    "a model": ("mine/models.py", "configs/model/linear_towers.yaml"),
    "a metric": ("mine/metrics.py", "configs/metrics/mine.yaml"),
    "a dataset adapter": ("mine/data.py", "configs/data/shop.yaml"),
}
TURNS = 3


def lines(text: str) -> dict[str, int]:
    """Lines of code, docstrings, comments alone, and blank ones."""
    total = text.splitlines()
    documented: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                documented |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    kinds = (tokenize.COMMENT, tokenize.NL)
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    coded = {row for t in tokens if t.type not in kinds and t.string.strip() for row in range(t.start[0], t.end[0] + 1)}
    comments = {t.start[0] for t in tokens if t.type == tokenize.COMMENT} - coded
    blank = sum(not line.strip() for i, line in enumerate(total, 1) if i not in documented and i not in coded)
    code = len(total) - blank - len(documented) - len(comments - documented)
    return {"code": code, "docstrings": len(documented), "comments": len(comments - documented), "blank": blank}


def spread(values: list[int]) -> str:
    """Median, 90th percentile and greatest."""
    if not values:
        return "–"
    ordered = sorted(values)
    return f"{statistics.median(ordered):g} / {ordered[int(0.9 * (len(ordered) - 1))]} / {ordered[-1]}"


def package(folder: Path) -> dict[str, object]:
    """Numbers of one package."""
    counts: dict[str, int] = {"code": 0, "docstrings": 0, "comments": 0, "blank": 0}
    functions: list[int] = []
    arguments: dict[str, int] = {}
    paths = sorted(folder.rglob("*.py"))
    for path in paths:
        text = path.read_text(encoding="utf-8")
        counts = {name: counts[name] + value for name, value in lines(text).items()}
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = node.body[1:] if ast.get_docstring(node) is not None and len(node.body) > 1 else node.body
                functions.append((body[-1].end_lineno or 0) - body[0].lineno + 1)
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
                        taken = [*inner.args.posonlyargs, *inner.args.args, *inner.args.kwonlyargs]
                        arguments[f"{path.relative_to(folder)}:{node.name}"] = len(taken) - 1
    most = max(arguments, key=arguments.__getitem__, default="–")
    return {
        "files": len(paths),
        **{f"{name} lines": value for name, value in counts.items()},
        "lines of a function (median / p90 / max)": spread(functions),
        "arguments of a constructor (median / p90 / max)": spread(list(arguments.values())),
        "most arguments": most,
    }


def seconds(root: Path, command: list[str]) -> float:
    """Least processor time of a command over a few turns, with that of the processes that it starts."""
    found = []
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    for _ in range(TURNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], cwd=root, env=environment, capture_output=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return round(min(found), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1], help="a checkout")
    parser.add_argument("--json", action="store_true", help="as JSON")
    options = parser.parse_args()
    found: dict[str, dict[str, object]] = {
        name: package(options.root / name) for name in PACKAGES if (options.root / name).is_dir()
    }
    exercises = options.root / "tests" / "exercises"
    if exercises.is_dir():  # and a row in the page of its kind
        found["files of an exercise"] = {
            name: sum((exercises / file).is_file() for file in files) + 1 for name, files in EXERCISES.items()
        }
    found["seconds of processor"] = {name: seconds(options.root, command) for name, command in COMMANDS.items()}
    if options.json:
        sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
        return
    for title, numbers in found.items():
        sys.stdout.write(f"{title}\n" + "".join(f"  {name:<48} {value}\n" for name, value in numbers.items()))


if __name__ == "__main__":
    main()
