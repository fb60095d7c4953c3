"""Classes that take some of their arguments in bundles, as configs see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from distill.arguments import Bundle, gathered, parameters
from distill.errors import ConfigError
from distill.features import EmbeddingTables
from distill.jobs.parts import build_model
from tests.batches import make_schema
from tests.models.composing import build, composed_net

if TYPE_CHECKING:
    from nowhere import Unknown


@dataclass(frozen=True)
class Sizes(Bundle):
    """Two fields, one of which has a default."""

    width: int
    depths: Sequence[int] = (1,)


class Tower:
    """Has a bundle between two other arguments."""

    def __init__(self, name: str, sizes: Sizes, extra: Unknown = None) -> None:
        self.name, self.sizes, self.extra = name, sizes, extra


def test_the_fields_of_a_bundle_stand_in_its_place() -> None:
    taken = parameters(Tower)
    assert list(taken) == ["name", "width", "depths", "extra"]
    assert [p.annotation for p in taken.values()] == [str, int, Sequence[int], taken["extra"].empty]
    assert list(parameters(Sizes)) == ["width", "depths"]


def test_arguments_are_gathered_with_the_defaults_of_the_bundle() -> None:
    assert gathered(Tower, {"name": "a", "width": 3}) == {"name": "a", "sizes": Sizes(3)}
    assert gathered(Tower, {"depths": [2], "width": 3, "other": 1}) == {"sizes": Sizes(3, [2]), "other": 1}
    with pytest.raises(TypeError, match="width"):
        gathered(Tower, {"name": "a"})


def test_a_model_gets_its_schema_and_tables_from_the_run_alone() -> None:
    schema, made = make_schema(), []

    def tables(*arguments: object) -> EmbeddingTables:
        made.append(EmbeddingTables(*arguments))  # type: ignore[arg-type]
        return made[-1]

    model = build_model(composed_net("dnn"), schema, "model.net", tables)
    assert [model.encoder.tables] == made  # type: ignore[union-attr]
    for name in ("schema", "tables"):
        with pytest.raises(ConfigError, match="cannot be set: the run supplies it") as caught:
            build_model({**composed_net("dnn"), name: None}, schema, "model.net")
        assert caught.value.where == f"model.net.{name}"


def test_what_a_bundle_lacks_or_nobody_takes_is_said() -> None:
    schema = make_schema()
    without = {name: value for name, value in composed_net("two_tower").items() if name != "similarity"}
    with pytest.raises(ConfigError, match="similarity"):
        build_model(without, schema, "model.net")
    for wrong in ("+model.net.features=1", "+model.net.embeding_dim=8"):
        with pytest.raises(ConfigError, match="cannot be built"):
            build("two_tower", schema, wrong)
