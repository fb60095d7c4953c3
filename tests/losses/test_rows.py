import pytest
import torch

from distill.batch import Origin, Stage
from distill.errors import ConfigError, SignalError
from distill.losses.rows import parse_rows, select_rows

STAGES = [Stage.RECALLED, Stage.PRERANKED, Stage.RANKED, Stage.EXPOSED, Stage.EXPOSED]
ORIGINS = [Origin.PSEUDO_NEGATIVE, Origin.RANDOM_NEGATIVE, Origin.PSEUDO_POSITIVE, Origin.LOG, Origin.PADDING]


@pytest.fixture
def inputs(make_inputs):
    return make_inputs(
        torch.zeros(5, 1),
        [2, 3],
        teacher=torch.zeros(5, 1),
        valid=[True, False, False, True, True],
        stage=STAGES,
        origin=ORIGINS,
        weight=[1.0, 0.5, 2.0, 1.0, 0.0],
    )


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("all", [1, 1, 1, 1, 0]),
        ("recalled", [1, 0, 0, 0, 0]),
        ("preranked", [0, 1, 0, 0, 0]),
        ("ranked", [0, 0, 1, 0, 0]),
        ("exposed", [0, 0, 0, 1, 0]),
        ("unexposed", [1, 1, 1, 0, 0]),
        ("scored", [1, 0, 0, 1, 0]),
        ("pseudo", [1, 0, 1, 0, 0]),
        (["preranked", "exposed"], [0, 1, 0, 1, 0]),
        (["pseudo", "scored", "recalled"], [1, 0, 1, 1, 0]),
    ],
)
def test_selects_by_hand_and_never_rows_of_weight_zero(inputs, rows, expected):
    names = parse_rows(rows, "Term.rows")
    selected = select_rows(names, inputs.batch, inputs.signals)
    assert selected.dtype == torch.bool
    assert selected.int().tolist() == expected


@pytest.mark.parametrize("wrong", ["clicked", ["all", "Exposed"], []])
def test_unknown_names_are_an_error(wrong):
    with pytest.raises(ConfigError, match=r"Term\.rows"):
        parse_rows(wrong, "Term.rows")


def test_scored_without_signals_is_an_error(inputs):
    with pytest.raises(SignalError, match="without teacher signals"):
        select_rows(("all", "scored"), inputs.batch, None)


def test_sampled_are_rows_that_a_sampler_drew(make_inputs):
    origin = [Origin.RANDOM_NEGATIVE, Origin.IN_BATCH_NEGATIVE, Origin.LOG, Origin.PSEUDO_NEGATIVE]
    given = make_inputs(torch.zeros(4, 1), [4], origin=origin)
    found = select_rows(parse_rows("sampled", "rows"), given.batch, None)
    assert found.tolist() == [True, True, False, False]
