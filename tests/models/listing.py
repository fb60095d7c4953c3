"""The models of `conf/model`, by kind, and the parts that they stand on: who adds one adds it to no list."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from hydra.utils import get_class

from distill.models.prerankers.base import PreRanker, SplitPreRanker
from distill.models.prerankers.fitted import FittedPreRanker
from tests.jobs.entry import ROOT

FOLDER = ROOT / "conf" / "model"
BODIES, TRUNKS = (sorted(path.stem for path in (ROOT / "conf" / name).glob("*.yaml")) for name in ("body", "trunk"))


def _class(path: Path) -> type[torch.nn.Module]:
    """The class that a config names, or the config that it stands on."""
    text = path.read_text(encoding="utf-8")
    if (base := re.search(r"- (base/\w+)@_here_", text)) is not None:
        text += (FOLDER / f"{base[1]}.yaml").read_text(encoding="utf-8")
    (target,) = re.findall(r"^  _target_: ([\w.]+)\n", text, re.MULTILINE)
    found: type[torch.nn.Module] = get_class(target)
    return found


_CLASSES = {path.stem: _class(path) for path in sorted(FOLDER.glob("*.yaml"))}
_IN_STEPS = {name: kind for name, kind in _CLASSES.items() if not issubclass(kind, FittedPreRanker)}
RANKERS = [name for name, kind in _IN_STEPS.items() if not issubclass(kind, PreRanker)]
PRERANKERS = [name for name, kind in _IN_STEPS.items() if issubclass(kind, PreRanker)]
SPLIT = [name for name, kind in _IN_STEPS.items() if issubclass(kind, SplitPreRanker)]
MODELS = list(_CLASSES)
