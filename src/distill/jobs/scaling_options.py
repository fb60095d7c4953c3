"""The command line of the scaling study; read before anything that trains is imported."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from distill.jobs.option_values import path_here, with_overrides

AXES = ("students", "data", "teachers")
REFERENCE = "reference"
_BASIC = (
    "[user_id, age, gender, city, device, hour, budget, budget_band, "
    "item_id, category, brand, price, price_band, item_ctr, item_age]"
)


@dataclass(frozen=True)
class Sized:
    """A model of some size.

    Attributes:
        says: What it is, in a line.
        overrides: Of `model`.
    """

    says: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Arm:
    """A control and a distilled student of one size, on some of the data, by one teacher.

    Attributes:
        axes: Where it is a point; the reference is one of each.
        student: Name of the student.
        teacher: Name of the teacher.
        share: Of the training candidates, which are read once.
    """

    axes: tuple[str, ...]
    student: str = "128x64"
    teacher: str = "large"
    share: float = 1.0


def _towers(embedding_dim: int, vector_dim: int, *units: int) -> Sized:
    layers = ", ".join(map(str, units))
    return Sized(
        f"embeddings of {embedding_dim}, towers of {layers}, vectors of {vector_dim}",
        (
            f"model.net.embedding_dim={embedding_dim}",
            f"model.net.body.hidden_units=[{layers}]",
            f"model.net.vector_dim={vector_dim}",
        ),
    )


def _ranker(says: str, embedding_dim: int, num_cross_layers: int, units: str, *others: str) -> Sized:
    sizes = (
        f"model.net.embedding_dim={embedding_dim}",
        f"model.net.body.num_cross_layers={num_cross_layers}",
        f"model.net.body.hidden_units=[{units}]",
    )
    return Sized(says, (*sizes, *others))


STUDENTS = {
    "16": _towers(4, 8, 16),
    "64": _towers(8, 16, 64),
    "128x64": _towers(16, 32, 128, 64),
    "256x128": _towers(16, 64, 256, 128),
    "512x256": _towers(32, 128, 512, 256),
}
_ATTENTION, _FIELDS = "sequence@model.net.sequence=target_attention", f"model.net.fields={_BASIC}"
TEACHERS = {
    "large": _ranker("3 cross layers, MLP 256-128, attention to the history", 16, 3, "256, 128", _ATTENTION),
    "large-basic": _ranker("the same without history and cross fields", 16, 3, "256, 128", _FIELDS),
    "small": _ranker("1 cross layer, MLP 32, mean of the history", 8, 1, "32"),
    "small-basic": _ranker("the same without history and cross fields", 8, 1, "32", _FIELDS),
}
ARMS = {
    REFERENCE: Arm(AXES),
    **{f"student-{name}": Arm(("students",), student=name) for name in STUDENTS if name != Arm.student},
    **{f"data-1of{part}": Arm(("data",), share=1 / part) for part in (64, 16, 4)},
    **{f"teacher-{name}": Arm(("teachers",), teacher=name) for name in TEACHERS if name != Arm.teacher},
}


def chosen(names: Sequence[str]) -> dict[str, Arm]:
    """Returns the named arms in their order, behind the reference, which is a point of each curve."""
    return {name: ARMS[name] for name in dict.fromkeys([REFERENCE, *names])}


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    students = "; ".join(f"{name}: {one.says}" for name, one in STUDENTS.items())
    teachers = "; ".join(f"{name}: {one.says}" for name, one in TEACHERS.items())
    parser = argparse.ArgumentParser(
        description="Scaling curves on a synthetic cascade of ten million training candidates: what of the gap between "
        "control and teacher larger two-towers, more data and larger teachers recover, and what they cost.",
        epilog=f"Students: {students}. Teachers: {teachers}. Everything else is an override: data.adapter.KEY=VALUE of "
        "the world (conf/data/funnel.yaml), others of every training but for the sizes of an arm.",
    )
    parser.add_argument(
        "--arms",
        nargs="+",
        choices=list(ARMS),
        default=list(ARMS),
        help="in this order, the reference first; all by default",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="worlds; mean ± deviation over several")
    parser.add_argument("--out", type=path_here, required=True, help="folder of the data, the runs and the pictures")
    return with_overrides(parser, given)
