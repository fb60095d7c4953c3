"""What a teacher that was logged says of the training split, in words, and what is suspicious about it."""

from __future__ import annotations

from collections.abc import Mapping

from distill.data.format import TeacherNumbers
from distill.schema import Schema

_LEAST_COVERAGE = 0.5
_LARGEST_FACTOR = 2.0
_LEAST_POSITIVES = 10
_LEAST_SCORES = 20
_FAR = 5.0
"""A lowest or highest score is far from the others if the gap is so many times as wide as their range."""
_FREQUENT = 0.05
"""A share of scores at exactly the lowest or highest."""


def teacher_lines(numbers: Mapping[str, TeacherNumbers], schema: Schema, kind: str) -> list[str]:
    """Describes the scores of each task in a line.

    Args:
        numbers: Task to what was counted.
        schema: Of the dataset.
        kind: What the scores are: logit, probability or position.
    """
    return [_line(task, found, kind, _is_binary(schema, task)) for task, found in numbers.items()]


def teacher_warnings(
    numbers: Mapping[str, TeacherNumbers], schema: Schema, kind: str, calibrated: bool = False, logged: bool = True
) -> list[str]:
    """Says what is suspicious: scores of another kind than declared, not those of the labels, placeholders, or few.

    Args:
        numbers: Task to what was counted.
        schema: Of the dataset.
        kind: What the scores are: logit, probability or position.
        calibrated: Whether they are calibrated before anybody learns from them.
        logged: Whether they were logged, so that some may be placeholders.
    """
    found: list[str] = []
    for task, of_task in numbers.items():
        if logged:
            found += _placeholders(task, of_task, kind)
        like_probabilities = kind == "logit" and _within_unit(of_task)
        if like_probabilities:
            found.append(
                f"The teacher's scores of task {task} are declared as logits, but all of them are within [0, 1], as "
                "probabilities are. If that is what they are, set `teacher.kind: probability` in the schema."
            )
        elif not calibrated and _is_binary(schema, task) and not _is_projected(schema, task) and _is_off(of_task):
            found.append(
                f"The teacher expects {_per(of_task.probability, of_task.label)} times the positive labels of task "
                f"{task}. Terms on its probabilities teach the student the same: check the column, or fit it to the "
                "labels with teacher.calibration=platt."
            )
        if of_task.coverage < _LEAST_COVERAGE:
            found.append(
                f"The teacher scored {of_task.coverage:.1%} of the training candidates of task {task} only: the "
                "student learns from labels alone on the others. Log more of its scores, or score all candidates with "
                "a teacher trained here (teacher=trained)."
            )
    return found


def _placeholders(task: str, found: TeacherNumbers, kind: str) -> list[str]:
    """Finds ends of the scores that look as if they stood for no score."""
    scored, low_next, high_next = sum(found.scored.values()), found.low_next, found.high_next
    if scored < _LEAST_SCORES:
        return []
    if low_next is None or high_next is None:
        return [f"All {scored:,} scores of the teacher in task {task} are {_shown(found.low, kind)}: check the column."]
    warnings = []
    ends = (("lowest", found.low, found.low_count, low_next), ("highest", found.high, found.high_count, high_next))
    for which, value, count, following in ends:
        assert value is not None
        text = f"{count:,} of {scored:,} scores of the teacher in task {task} ({count / scored:.1%}) are {{}}"
        if high_next > low_next and abs(value - following) > _FAR * (high_next - low_next):
            text += (
                f", far from all others ({low_next:.4g} to {high_next:.4g}). If this stands for no score, write null."
            )
        elif kind != "position" and count >= max(_LEAST_SCORES, _FREQUENT * scored):
            text += f", the {which}. If this stands for no score, write null; if it is a limit, log scores without it."
        else:
            continue
        warnings.append(text.format(_shown(value, kind)))
    return warnings


def _shown(value: float | None, kind: str) -> str:
    """Shows a score; probabilities beyond 1e-7 from 0 and 1 are not told apart."""
    if value is None:
        return "none"
    if kind == "probability" and min(value, 1 - value) < 1.5e-7:
        return f"{round(value)}"
    return f"{value:.7g}"


def _line(task: str, found: TeacherNumbers, kind: str, binary: bool) -> str:
    scored, all_of_them = sum(found.scored.values()), sum(found.candidates.values())
    text = f"Teacher, task {task}: {scored:,} of {all_of_them:,} training candidates scored ({found.coverage:.1%}"
    if len(found.candidates) > 1:
        text += "; " + ", ".join(f"{stage} {found.scored[stage] / n:.1%}" for stage, n in found.candidates.items())
    text += ")"
    if found.low is not None:
        text += f"; {kind} min {found.low:.4g}, mean {found.mean:.4g}, max {found.high:.4g}"
    if binary and found.probability is not None:
        text += (
            f"; on {found.labelled:,} labelled ones its mean probability is {found.probability:.4g}, "
            f"the mean label {found.label:.4g}"
        )
    return text


def _is_binary(schema: Schema, name: str) -> bool:
    return any(task.name == name and task.kind == "binary" for task in schema.tasks)


def _is_projected(schema: Schema, name: str) -> bool:
    """Whether its scores are of another share of negatives than the labels, so that their means differ."""
    own = None if schema.teacher is None else schema.teacher.negative_sampling
    return (own or {}).get(name) != (schema.negative_sampling or {}).get(name)


def _within_unit(found: TeacherNumbers) -> bool:
    return found.low is not None and found.high is not None and found.low >= 0 and found.high <= 1


def _is_off(found: TeacherNumbers) -> bool:
    if found.probability is None or found.label is None:
        return False
    low, high = sorted((found.probability, found.label))
    return high * found.labelled >= _LEAST_POSITIVES and high > _LARGEST_FACTOR * low


def _per(part: float | None, whole: float | None) -> str:
    return "infinitely many" if not whole or part is None else f"{part / whole:.2g}"
