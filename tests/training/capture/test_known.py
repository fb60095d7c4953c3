"""What the host knows of a batch tells shapes apart where somebody reads it, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from distill.batch import Batch
from distill.losses import terms
from distill.training.capture.known import KnownSizes
from distill.training.capture.padding import padded
from distill.training.module import RankingModule
from tests.training.capture.test_steps import Run
from tests.training.stepping import Stepper, batch_of, module_of
from tests.training.test_no_sync import of_model, of_term, serves

CASES = [
    (of_term("HardBCE"), KnownSizes(False, False, False)),
    (of_term("ListNet"), KnownSizes(False, False, False)),
    (of_term("Relational"), KnownSizes(True, False, False)),
    (of_term("SampledSoftmax"), KnownSizes(False, True, False)),
    (of_model("din"), KnownSizes(False, False, True)),
    (of_model("searched"), KnownSizes(False, False, True)),
    (of_model("bst"), KnownSizes(False, False, False)),
]


def other(batch: Batch) -> Batch:
    """The same shape; other numbers that the host knows."""
    assert batch.sizes is not None
    sizes = replace(batch.sizes, longest=batch.sizes.longest + 1, positives=(batch.sizes.positives or 0) + 1)
    sequences = {name: replace(value, seen=(value.seen or 0) + 1) for name, value in batch.request.sequences.items()}
    return replace(batch, sizes=sizes, request=replace(batch.request, sequences=sequences))


@pytest.mark.parametrize(("module", "known"), CASES)
def test_numbers_that_nobody_reads_make_no_shapes(module: RankingModule, known: KnownSizes) -> None:
    assert KnownSizes.of(module) == known
    run = Run(module)
    batch = padded(run.stepper.prepare(batch_of(serves(module), 0)))
    for step, taken in enumerate((batch, other(batch), batch)):
        run.steps.take(taken, step)
    reads = known.lists or known.positives or known.seen
    assert run.recorder.replays == (1 if reads else 2)
    assert run.recorder.found == []


def test_a_batch_of_which_too_little_is_known_is_not_recorded() -> None:
    for module, known in CASES:
        batch = padded(Stepper(module).prepare(batch_of(serves(module))))
        assert not known.lacks(batch)
        assert batch.sizes is not None
        sequences = {name: replace(value, seen=None) for name, value in batch.request.sequences.items()}
        assert known.lacks(replace(batch, sizes=None)) == (known.lists or known.positives)
        assert known.lacks(replace(batch, sizes=batch.sizes.with_positives(None))) == known.positives
        assert known.lacks(replace(batch, request=replace(batch.request, sequences=sequences))) == known.seen


class Secretly(terms.SampledSoftmax):
    """A term of somebody's own that reads what it does not declare."""

    counts_positives = False


def test_who_reads_a_number_and_does_not_say_so_waits_rather_than_computes_something_else() -> None:
    run = Run(module_of("two_tower", {"hard": terms.HardBCE(), "own": Secretly()}))
    batch = padded(run.stepper.prepare(batch_of(True, 0)))
    run.steps.take(batch, 0)
    assert run.recorder.found != []
