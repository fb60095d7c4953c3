"""Counts what the code is made of: python tools/stats.py [--root CHECKOUT] [--json]."""

from __future__ import annotations

import argparse
import ast
import io
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tokenize
from collections import Counter
from pathlib import Path

PACKAGES = ("src/distill", "benchmarks", "tests")
BASES = {"LossTerm": "losses/terms/base.py", "CompositeLoss": "losses/composite.py"}
COMMANDS = {"--help": (["train.py", "--help"], 0), "a typo": (["train.py", "modle=two_tower"], 2)}
TURNS = 3
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def lines(text: str) -> dict[str, int]:
    """Lines of code, docstrings, comments alone, and blank ones."""
    total = text.splitlines()
    documented: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, *FUNCTIONS)) and ast.get_docstring(node) is not None:
            first = node.body[0]
            documented |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    kinds = (tokenize.COMMENT, tokenize.NL)
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    coded = {row for t in tokens if t.type not in kinds and t.string.strip() for row in range(t.start[0], t.end[0] + 1)}
    comments = {t.start[0] for t in tokens if t.type == tokenize.COMMENT} - coded
    blank = sum(not line.strip() for i, line in enumerate(total, 1) if i not in documented and i not in coded)
    code = len(total) - blank - len(documented) - len(comments)
    return {"code": code, "docstrings": len(documented), "comments": len(comments), "blank": blank}


def spread(values: list[int]) -> str:
    """Median, 90th percentile and greatest."""
    if not values:
        return "–"
    ordered = sorted(values)
    return f"{statistics.median(ordered):g} / {ordered[int(0.9 * (len(ordered) - 1))]} / {ordered[-1]}"


def arguments(node: ast.ClassDef) -> tuple[str, int] | None:
    """Arguments of a class's own constructor: of a dataclass its fields; None if it has neither."""
    written = next((one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None)
    if written is not None:
        return "constructor", sum(map(len, (written.args.posonlyargs, written.args.args, written.args.kwonlyargs))) - 1
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
        return "dataclass", sum("ClassVar" not in ast.unparse(one.annotation) for one in fields)
    return None


def package(folder: Path) -> dict[str, object]:
    """Numbers of one package."""
    counts: Counter[str] = Counter()
    functions: list[int] = []
    taken: dict[str, dict[str, int]] = {"constructor": {}, "dataclass": {}}
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        counts.update({"files": 1, **{f"{name} lines": value for name, value in lines(text).items()}})
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, FUNCTIONS):
                body = node.body[1:] if ast.get_docstring(node) is not None and len(node.body) > 1 else node.body
                functions.append((body[-1].end_lineno or 0) - body[0].lineno + 1)
            if isinstance(node, ast.ClassDef) and (found := arguments(node)) is not None:
                taken[found[0]][f"{path.relative_to(folder)}:{node.name}"] = found[1]
    numbers: dict[str, object] = {**counts, "lines of a function's body (median / p90 / max)": spread(functions)}
    for name, kind in (("arguments of a constructor", "constructor"), ("fields of a dataclass", "dataclass")):
        numbers[f"{name} (median / p90 / max)"] = spread(list(taken[kind].values()))
        numbers[f"most {name}"] = max(taken[kind], key=taken[kind].__getitem__, default="–")
    return numbers


def members(path: Path, name: str) -> int:
    """Public names that a class defines itself: methods, properties, attributes of the class and of `self`."""
    classes = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)]
    kind = next(node for node in classes if node.name == name)
    found = {node.name for node in kind.body if isinstance(node, FUNCTIONS)}
    for node in ast.walk(kind):
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            texts = [text for target in targets for text in ast.unparse(target).split(", ")]
            found |= {text.removeprefix("self.") for text in texts if node in kind.body or text.startswith("self.")}
    return sum(one.isidentifier() and not one.startswith("_") for one in found)


def exercises(guide: Path) -> dict[str, list[str]]:
    """Files that each exercise of the guide adds or changes: those that it shows, and the pages that want a row."""
    found = {}
    for section in re.split(r"^### ", guide.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        shown = re.findall(r"^```\w+\n# (\S+)$", section, flags=re.MULTILINE)
        found[section.partition(":")[0]] = [*shown, *re.findall(r"a row (?:in|on)\s+\[(\S+?)\]", section)]
    return {title: files for title, files in found.items() if files}


def seconds(root: Path, command: list[str], status: int) -> float:
    """Least processor time of a command over a few turns, with that of the processes that it starts."""
    found = []
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    for _ in range(TURNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, *command], cwd=root, env=environment, capture_output=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode != status:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.decode()[-500:]}")
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return round(min(found), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1], help="a checkout")
    parser.add_argument("--json", action="store_true", help="as JSON")
    options = parser.parse_args()
    root: Path = options.root.resolve()
    found: dict[str, dict[str, object]] = {name: package(root / name) for name in PACKAGES if (root / name).is_dir()}
    found["public members"] = {name: members(root / PACKAGES[0] / path, name) for name, path in BASES.items()}
    guide = root / "docs" / "contributing.md"
    if guide.is_file():
        found["files of an exercise"] = {title: len(files) for title, files in exercises(guide).items()}
    found["seconds of processor"] = {name: seconds(root, *command) for name, command in COMMANDS.items()}
    if options.json:
        sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
        return
    for title, numbers in found.items():
        sys.stdout.write(f"{title}\n" + "".join(f"  {name:<48} {value}\n" for name, value in numbers.items()))


if __name__ == "__main__":
    main()
