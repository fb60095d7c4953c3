"""The contrast of items: which items, which views, and how gradients get to the tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from distill.batch import MISSING_KEY, Batch, FeatureBlock, Ragged
from distill.data.items import ItemFields
from distill.errors import ConfigError
from distill.features import TransformerPooling
from distill.losses import CompositeLoss, LossInputs, TaskInfo
from distill.losses.functional.info_nce import info_nce
from distill.losses.setting import LossSetting
from distill.losses.terms import HardBCE, ItemContrast
from distill.models import TwoTower
from distill.schema import Schema, Side, parse_schema
from distill.training.module import item_tower
from tests.batches import make_batch, make_block, make_schema
from tests.models.building import small_two_tower
from tests.models.composing import build
from tests.no_sync import waits

TASKS = [TaskInfo("click", 1.0), TaskInfo("like", 1.0)]
ITEMS = 50
CPU = torch.device("cpu")


def schema() -> Schema:
    """The tiny schema with a sequence on the candidate side, as a student sees it."""
    plain = make_schema().model_dump(mode="json")
    tags = {"name": "tags", "side": "candidate", "kind": "sequence", "size": 15}
    plain["fields"] = [*plain["fields"], tags]
    return parse_schema(plain, "test").serving_view()


def missing() -> FeatureBlock:
    none = Ragged(torch.zeros(0, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    return FeatureBlock(
        torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1), {"image": torch.zeros(1, 4)}, {"tags": none}
    )


def catalogue(count: int = ITEMS, whole: bool = True) -> ItemFields:
    fields = make_block(schema().side(Side.CANDIDATE), count, torch.Generator().manual_seed(1))
    return ItemFields(torch.arange(count) * 10, fields, missing(), are_all=whole)


def ready(known: ItemFields | None = None, /, **options: object) -> ItemContrast:
    term = ItemContrast(**options)
    term.setup(setting(catalogue() if known is None else known))
    return term


def setting(known: ItemFields) -> LossSetting:
    return LossSetting(TASKS, student_vectors=lambda: {"request": 8, "candidate": 8}, items=lambda: known)


def inputs(model: TwoTower, batch: Batch, step: int = 0) -> LossInputs:
    return LossInputs(batch, model(batch), None, step, item_tower(model, CPU))


class Spy:
    """An item tower that keeps what it was asked for; its vectors are linear in the numbers and ids."""

    def __init__(self) -> None:
        self.blocks: list[FeatureBlock] = []

    def __call__(self, block: FeatureBlock) -> Tensor:
        self.blocks.append(block)
        columns = torch.cat([block.ids.double(), block.numbers.double(), block.vectors["image"].double()], 1)
        return columns @ torch.arange(1.0, 13.0, dtype=torch.float64).view(6, 2).sin() + 0.1


def spied(term: ItemContrast, batch: Batch, step: int = 0) -> tuple[Spy, float]:
    spy = Spy()
    output = small_two_tower(schema())(batch)
    return spy, term(LossInputs(batch, output, None, step, spy)).mean().item()


def test_two_halves_of_the_same_items_and_their_contrast_by_numpy() -> None:
    items = catalogue()
    term = ready(items, num_items=6, dropout=0.0, temperature=0.2)
    spy, value = spied(term, make_batch(schema()), step=3)
    (views,) = spy.blocks
    first, second = views.select(torch.arange(6)), views.select(torch.arange(6, 12))
    found = spy(first), spy(second)
    assert value == pytest.approx(info_nce(*found, 0.2).mean().item())
    kept = [
        [
            bool(v.ids.any()),
            bool(v.numbers.any()),
            bool(v.vectors["image"].any()),
            bool(v.sequences["tags"].values.numel()),
        ]
        for v in (first, second)
    ]
    assert [a != b for a, b in zip(*kept, strict=True)] == [True] * 4  # complements
    assert [sum(one) for one in kept] == [2, 2]
    numbers = first.numbers + second.numbers  # a masked number is 0 here
    assert torch.isin(numbers.flatten(), items.fields.numbers.flatten()).all()


def test_every_field_is_the_drawn_one_at_some_step() -> None:
    term = ready(num_items=4, dropout=0.0)
    halves = set()
    for step in range(40):
        (views,) = spied(term, make_batch(schema()), step)[0].blocks
        first = views.select(torch.arange(4))
        halves.add((bool(first.ids.any()), bool(first.numbers.any()), bool(first.vectors["image"].any())))
    assert len(halves) >= 3


def test_items_of_the_catalogue_are_distinct_each_alike_and_others_at_every_step() -> None:
    term = ready(num_items=8, seed=3)
    known = catalogue()
    drawn = torch.stack([term._drawn(known, step)[0] for step in range(4000)])
    assert all(row.unique().numel() == 8 for row in drawn[:50])
    counts = (drawn // 10).flatten().bincount(minlength=ITEMS).numpy()
    np.testing.assert_allclose(counts, 4000 * 8 / ITEMS, atol=5 * np.sqrt(4000 * 8 / ITEMS))
    assert torch.equal(ready(num_items=8, seed=3)._drawn(known, 7)[0], drawn[7])
    assert not torch.equal(drawn[7], drawn[8])
    assert not torch.equal(ready(num_items=8, seed=4)._drawn(known, 7)[0], drawn[7])
    together = torch.zeros(ITEMS, ITEMS)
    for row in drawn // 10:
        together[row.unsqueeze(1), row] += 1
    pairs = together[~torch.eye(ITEMS, dtype=torch.bool)]
    assert int((pairs == 0).sum()) <= 2 * ITEMS  # nearly every pair meets
    assert ready(num_items=500)._drawn(known, 0)[0].sort().values.tolist() == known.item_id.tolist()


def test_items_of_the_batch_are_taken_once_and_only_from_its_rows() -> None:
    batch = make_batch(schema(), (3, 1, 4))
    batch = replace(
        batch,
        item_id=torch.tensor([5, 6, 5, 6, 7, 5, 8, 9]),
        stage=torch.tensor([3, 3, 3, 3, 3, 3, 0, 3]),
        weight=torch.tensor([1.0, 1, 1, 1, 1, 1, 1, 0]),
    )
    term = ready(items="batch", dropout=0.0)
    assert term.acts_on(batch, None).tolist() == [True] * 6 + [False] * 2
    spy, value = spied(term, batch)
    (views,) = spy.blocks
    assert views.num_rows == 2 * 3
    rows = torch.tensor([0, 1, 4])
    numbers = views.numbers[:3] + views.numbers[3:]
    assert torch.equal(numbers, batch.candidate.numbers[rows])
    assert value > 0
    fewer, _ = spied(ready(items="batch", num_items=2), batch)
    assert fewer.blocks[0].num_rows == 4
    assert not ready().acts_on(batch, None).any()


@pytest.mark.parametrize("sequence", ["mean", "transformer"])
@pytest.mark.parametrize("items", ["catalogue", "batch"])
def test_gradients_reach_the_tables_and_the_item_tower_alone(items: str, sequence: str) -> None:
    torch.manual_seed(0)
    pooling = {} if sequence == "mean" else {"sequence": TransformerPooling(1, 2, 0.0, 8)}
    model = small_two_tower(schema(), **pooling)
    batch = make_batch(schema(), (3, 0, 1, 4))
    term = ready(items=items, num_items=16, dropout=0.3)
    for step in range(12):  # every field is masked in some of them
        term(inputs(model, batch, step)).mean().backward()
    tables = model.candidate_tower.encoder.tables
    grad = tables.weights["4"].grad
    assert grad is not None
    assert grad.is_sparse
    touched = set(grad.to_dense().any(1).nonzero().flatten().tolist())
    offset = {f.name: tables.offset(f) for f in schema().fields if f.encoding.makes_ids}
    used = catalogue().fields if items == "catalogue" else batch.candidate
    ids = {offset["item"] + int(i) for i in used.ids.flatten()} | {offset["item"]}
    tags = {offset["tags"] + int(i) for i in used.sequences["tags"].values}
    assert touched <= ids | tags
    assert touched & ids
    assert touched & tags
    for name, parameter in model.named_parameters():
        if name.startswith("candidate_tower") and "tables" not in name:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all()
        elif name.startswith("request_tower") and "tables" not in name:
            assert parameter.grad is not None, "DDP waits for it"
            assert parameter.grad.eq(0).all()


@pytest.mark.parametrize(
    "name",
    [
        "two_tower",
        "senet_two_tower",
        "dat",
        "fit",
        "int_tower",
        "parallel_two_tower",
        "three_tower",
        "interact_rank",
        "late_mlp",
        "split_towers",
    ],
)
def test_every_item_tower_is_contrasted_with_all_its_vectors_side_by_side(name: str) -> None:
    model, batch = build(name, schema()), make_batch(schema())
    tower = item_tower(model, CPU)
    assert tower is not None
    model.eval()
    output = model(batch)
    torch.testing.assert_close(tower(batch.candidate).flatten(1), output.hidden["candidate"])
    model.train()
    loss = ready(num_items=12)(LossInputs(batch, model(batch), None, 0, tower)).mean()
    loss.backward()
    assert loss.item() > 0
    last = [p for n, p in model.named_parameters() if n.startswith("candidate_tower") and p.grad is not None]
    assert any(not p.grad.is_sparse and p.grad.abs().max() > 0 for p in last if p.grad is not None)


@pytest.mark.parametrize("name", ["cold", "fscd"])
def test_models_without_an_item_tower(name: str) -> None:
    assert item_tower(build(name, schema()), CPU) is None


@pytest.mark.parametrize("options", [{"items": "catalogue", "num_items": 1}, {"items": "batch"}])
def test_one_item_has_nothing_to_be_told_apart_from(options: dict[str, object]) -> None:
    model, batch = small_two_tower(schema()), make_batch(schema(), (1,))
    sums = ready(**options)(inputs(model, batch))
    assert sums.denominators.tolist() == [1.0]
    assert sums.mean().item() == 0.0
    sums.mean().backward()
    for parameter in model.parameters():
        grad = parameter.grad
        assert grad is None or (grad.coalesce().values() if grad.is_sparse else grad).abs().max() == 0


def test_a_batch_without_any_row_of_the_term() -> None:
    model, batch = small_two_tower(schema()), make_batch(schema(), (2, 3))
    batch = replace(batch, stage=torch.zeros_like(batch.stage))
    sums = ready(items="batch")(inputs(model, batch))
    assert (sums.mean().item(), sums.denominators.item()) == (0.0, 0.0)
    empty = batch.select(torch.zeros(0, dtype=torch.int64))
    loss = CompositeLoss({"hard": HardBCE(), "contrast": ItemContrast(num_items=4)})
    loss.setup(setting(catalogue()))
    report = loss(inputs(model, empty))
    report.total.backward()
    assert report.parts["contrast"] > 0
    assert report.parts["hard"] == 0


def test_the_same_value_however_the_batch_is_made_up_and_for_two_halves_together() -> None:
    model = small_two_tower(schema())
    term = ready(num_items=12)
    values = [term(inputs(model, make_batch(schema(), sizes))).mean().item() for sizes in ((1, 5), (7,), (2, 0, 2))]
    assert values[0] == values[1] == values[2]
    loss = CompositeLoss({"contrast": term})
    loss.reduce_denominators = lambda denominators: denominators  # the mean over ranks of equal denominators
    assert loss(inputs(model, make_batch(schema()))).total.item() == pytest.approx(0.1 * values[0])


def test_under_autocast_the_tower_is_in_bfloat16_and_the_loss_in_float32() -> None:
    model, batch = small_two_tower(schema()), make_batch(schema())
    seen: list[torch.dtype] = []
    term = ready(num_items=12)
    exact = term(inputs(model, batch)).mean().item()
    model.candidate_tower.project.register_forward_hook(lambda *a: seen.append(a[2].dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        given = inputs(model, batch)
        with torch.autocast("cpu", enabled=False):
            sums = term(given)
            assert not torch.is_autocast_enabled("cpu")
    assert seen == [torch.bfloat16, torch.bfloat16]
    assert sums.numerators.dtype == torch.float32
    assert sums.mean().item() == pytest.approx(exact, rel=0.05)
    sums.mean().backward()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"items": "users"}, "catalogue or batch"),
        ({"num_items": 0}, "num_items"),
        ({"dropout": 1.0}, "dropout"),
        ({"id_dropout": -0.1}, "id_dropout"),
        ({"rows": "all"}, "items=batch"),
        ({"temperature": 0.0}, "temperature"),
    ],
)
def test_what_cannot_be_contrasted_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ItemContrast(**options)


def test_wrong_students_and_items() -> None:
    with pytest.raises(ConfigError, match="two_tower"):
        ItemContrast().setup(LossSetting(TASKS, student_vectors=lambda: {"mlp": 8}, items=catalogue))
    with pytest.raises(ConfigError, match="no catalogue"):
        ready(catalogue(whole=False))
    ready(catalogue(whole=False), items="batch")
    one = FeatureBlock(torch.zeros(5, 1, dtype=torch.int64), torch.zeros(5, 0), {}, {})
    with pytest.raises(ConfigError, match="5 items with 1"):
        ready(ItemFields(torch.arange(5), one, one.select(torch.tensor([0])), are_all=True))
    with pytest.raises(ConfigError, match="0 items"):
        ready(catalogue(0))
    with pytest.raises(ConfigError, match="before `setup`"):
        ItemContrast()(inputs(small_two_tower(schema()), make_batch(schema())))


def _gradients(model: TwoTower, value: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    value.backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return {name: grad.to_dense() if grad.is_sparse else grad.clone() for name, grad in found.items()}


@pytest.mark.parametrize("sequence", ["mean", "transformer"])
@pytest.mark.parametrize(
    "options",
    [
        {"num_items": 16, "dropout": 0.3},
        {"num_items": 500, "dropout": 0.0, "id_dropout": 0.4},
        {"items": "batch", "dropout": 0.3},
        {"items": "batch", "num_items": 3, "id_dropout": 0.4},
        {"items": "batch", "rows": "recalled"},
    ],
)
def test_on_a_device_it_is_that_of_the_host(options: dict[str, object], sequence: str) -> None:
    """Repeated and unknown items, and a recording that counts the steps for itself."""
    torch.manual_seed(0)
    pooling = {} if sequence == "mean" else {"sequence": TransformerPooling(1, 2, 0.0, 8)}
    model = small_two_tower(schema(), **pooling).double()
    batch = make_batch(schema(), (3, 0, 1, 6))
    item_id = torch.tensor([5, 6, 5, MISSING_KEY, 7, 5, 8, 9, 8, MISSING_KEY])
    batch = replace(batch, item_id=item_id, weight=torch.tensor([1.0] * 7 + [0.0, 1.0, 1.0])).measured()
    batch = batch.map(lambda values: values.double() if values.is_floating_point() else values)
    known = catalogue()
    term, recorded = ready(known, **options), ready(known, **options)
    recorded.step_on_device = torch.zeros((), dtype=torch.int64)
    for step in range(6):
        recorded.step_on_device.fill_(step)
        given = inputs(model, batch, step)
        wanted = term(given)
        gradients = _gradients(model, wanted.mean())
        for own, inputs_of in ((term, given), (recorded, replace(given, step=0))):
            with waits() as found:
                sums = own(replace(inputs_of, output=model(batch)))
            assert found == []
            torch.testing.assert_close(sums.numerators, wanted.numerators, rtol=1e-6, atol=1e-9)
            assert torch.equal(sums.denominators, wanted.denominators.to(sums.denominators.dtype))
            torch.testing.assert_close(_gradients(model, sums.mean()), gradients, rtol=1e-5, atol=1e-7)
