"""What errors name is there: the keys of config and schema in `where` and `remedy`, and the choices they propose."""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache
from pathlib import Path

import pytorch_lightning as pl

from tests.messages import CONF, ROOT, config_keys, parts, schema_keys
from tools.error_texts import ANY, Text, texts

# Of the command line, and of what else starts a run.
WORDS = {
    "runs",
    "--metrics",
    "--sort",
    "--first",
    "--out",
    "--older",
    "--seeds",
    "--bundle",
    "--root",
    "--token-file",
    "--host",
    "--port",
    "--nnodes",
    "--nproc-per-node",
    "URI",
    "DISTILL_LOCAL_BYTES",
    "AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL",
    "overrides",
    "srun",
    "torchrun or srun around a study",
    "+sweep=optuna",
}
OPEN = {"callbacks.extra", "raw.columns", "data.source"}  # mappings of a user's own
KEY = re.compile(rf"[A-Za-z_+{ANY}][\w*{ANY}]*(?:\.[\w*…<>{ANY}]+)+")
FILE = re.compile(r"\.(yaml|py|md|ckpt|parquet)$")
CHOICE = re.compile(r"(?<![\w.])\+?([a-z_/]+)(?:@[\w.]+)?=([a-z]\w*)(?![\w./…])")


def _names(key: str, known: frozenset[str]) -> bool:
    """Whether a key, with placeholders for names, is among the known ones, or some of it is (`loss.terms.NAME`)."""
    pattern = "".join(
        r"[\w\[\].]+" if part in (ANY, "*") else re.escape(part) for part in re.split(rf"({ANY}|\*)", key)
    )
    pattern = re.sub(r"(<name>|[A-Z]{3,})", r"\\w+", pattern)
    return any(re.fullmatch(pattern, one) for one in known)


@cache
def _arguments_of(path: Path) -> set[str]:
    """Arguments of all functions of a module, and fields of its classes."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    named = {
        a.arg for n in ast.walk(module) if isinstance(n, ast.FunctionDef) for a in (*n.args.args, *n.args.kwonlyargs)
    }
    fields = {n.target.id for n in ast.walk(module) if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
    return named | fields | set(inspect.signature(pl.Trainer).parameters)


def _is_part(place: str) -> bool:
    """Whether a place is a part that configs name, or an argument of one: `HardBCE.tasks`."""
    name, _, argument = place.partition(".")
    if name == ANY:  # of type(self).__name__
        return any(argument in inspect.signature(part).parameters for part in parts().values()) or not argument
    found = parts().get(name)
    if found is None:
        return False
    return not argument or argument == ANY or argument in inspect.signature(found).parameters


def _exists(text: Text, place: str) -> bool:
    place = re.sub(r" \(.*\)$", "", place.strip())
    if place in WORDS or place.strip(ANY + " .:[]") == "" or _is_part(place):
        return True
    if place.startswith(ANY):  # a place that is handed on, with more behind it
        return True
    if place.rpartition(".")[0] in OPEN or _names(place, config_keys()):
        return True
    if text.error != "ConfigError" and _names(place, schema_keys()):
        return True
    return _is_argument(place, text)


def _is_argument(name: str, text: Text) -> bool:
    return name.isidentifier() and name in _arguments_of(text.module)


WHERE = [
    text for text in texts() if text.argument == "where" and (text.error == "ConfigError" or KEY.fullmatch(text.words))
]
REMEDIES = [text for text in texts() if text.argument == "remedy"]


def _shown(text: Text, what: str) -> str:
    return f"{text.place}: {what.replace(ANY, '…')}"


def test_the_places_of_errors_are_there() -> None:
    wrong = [_shown(t, place) for t in WHERE for place in t.words.split(", ") if not _exists(t, place)]
    assert not wrong, "\n".join(wrong)


def test_the_keys_of_remedies_are_there() -> None:
    known = config_keys() | schema_keys()
    tops, wrong = {key.partition(".")[0] for key in known}, []
    for text in REMEDIES:
        keys = (found.lstrip("+").rstrip("…") for found in KEY.findall(text.words))
        named = (key for key in keys if key.partition(".")[0] in tops and not FILE.search(key))
        wrong += [_shown(text, key) for key in named if not _names(key, known)]
    assert not wrong, "\n".join(wrong)


def test_the_choices_of_remedies_are_there() -> None:
    groups = {str(path.parent.relative_to(CONF)) for path in CONF.rglob("*.yaml")}
    wrong = []
    for text in REMEDIES:
        for group, name in CHOICE.findall(text.words):
            there = list((CONF / group).glob(f"{name}*.yaml")) if group in groups else group in config_keys()
            if not there and not _is_argument(group, text):
                wrong.append(_shown(text, f"{group}={name}"))
    assert not wrong, "\n".join(wrong)


def test_the_walk_finds_what_there_is_to_find() -> None:
    assert len(WHERE) > 100
    assert len(REMEDIES) > 60
    assert {"data.loader.batch_candidates", "data.adapter.split.val", "loss.terms.hard.tasks"} <= config_keys()
    assert {"keys.stage.values", "fields.encoding.buckets", "teacher.kind"} <= schema_keys()
    assert (ROOT / "conf").is_dir()
