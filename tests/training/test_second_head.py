"""A student with a head for the teacher: what is served knows nothing of it but what the backbone learnt."""

from __future__ import annotations

import pytest
import torch

from distill.batch import Batch, TeacherSignals
from distill.errors import ConfigError, DataError
from distill.features import EmbeddingTables
from distill.jobs.parts import build_model
from distill.jobs.two_heads import build_two_headed
from distill.losses import CompositeLoss, LossInputs
from distill.losses.setting import LossSetting
from distill.losses.terms import BernoulliKL, HardBCE, TaskInfo
from distill.schema import Schema
from distill.training.second_head import SecondHead
from tests.batches import make_batch, make_schema
from tests.marks import some_fast
from tests.models.composing import composed_net

WITH = [
    "two_tower",
    "cold",
    "three_tower",
    "interact_rank",
    "int_tower",
    "fit",
    "fscd",
    "late_mlp",
    "parallel_two_tower",
    "senet_two_tower",
]
WITHOUT = ["split_towers", "dat", "logistic"]


@pytest.fixture(scope="module")
def schema() -> Schema:
    return make_schema(("click", "like")).serving_view()


def _built(name: str, schema: Schema) -> tuple[torch.nn.Module, SecondHead]:
    torch.manual_seed(0)
    return build_two_headed(composed_net(name), schema, "model.net", EmbeddingTables)


@pytest.mark.parametrize("name", some_fast(WITH, 3))
def test_what_is_saved_is_the_model_that_is_served(name: str, schema: Schema) -> None:
    model, second_head = _built(name, schema)
    batch, served = make_batch(schema, seed=3), build_model(composed_net(name), schema, "model.net")
    state, both = second_head.saved({f"model.{n}": v for n, v in model.state_dict().items()}, "model.")
    served.load_state_dict({n.removeprefix("model."): v for n, v in state.items()})
    found, expected = model.eval()(batch), served.eval()(batch)
    torch.testing.assert_close(found.logits, expected.logits)
    assert found.taught.shape == found.logits.shape
    assert found.hidden
    for hidden, vector in found.hidden.items():
        torch.testing.assert_close(vector, expected.hidden[hidden])
    assert both
    assert all(v.untyped_storage().nbytes() == v.nbytes for n, v in state.items() if n.removeprefix("model.") in both)
    whole = second_head.whole(state, both, "model.")
    assert all(torch.equal(whole[f"model.{n}"], v) for n, v in model.state_dict().items())
    with pytest.raises(DataError, match="without a second head"):
        second_head.whole(state, None, "model.")


@pytest.mark.parametrize(
    ("name", "why"), [("esmm", "the teacher would train the head that serves"), ("aitm", "other names")]
)
def test_a_chain_of_tasks_that_the_teacher_only_continues_is_refused(name: str, why: str, schema: Schema) -> None:
    with pytest.raises(ConfigError, match=why):
        _built(name, schema)


def test_a_chain_by_name_leaves_the_second_head_alone(schema: Schema) -> None:
    net = composed_net("esmm")
    net["task_order"]["after"] = {"like": "click"}
    model, _ = build_two_headed(net, schema, "model.net", EmbeddingTables)
    output = model.eval()(make_batch(schema, seed=3))
    assert bool((output.logits[:, 1] < output.logits[:, 0]).all())
    assert output.taught.shape == output.logits.shape


@pytest.mark.parametrize("name", WITHOUT)
def test_models_whose_heads_cannot_be_told_apart_are_refused(name: str, schema: Schema) -> None:
    with pytest.raises(ConfigError, match="separate head") as error:
        _built(name, schema)
    assert error.value.where == "model.head"


def _gradients(model: torch.nn.Module, batch: Batch, **terms: object) -> dict[str, torch.Tensor]:
    loss = CompositeLoss(terms)
    tasks = [TaskInfo("click", 1.0), TaskInfo("like", 1.0)]
    loss.setup(LossSetting(tasks, True, student_vectors=lambda: {"request": 64}, teacher_vectors=lambda: {"body": 3}))
    model.zero_grad()
    teacher = torch.linspace(-2, 2, batch.num_candidates * 2).view(-1, 2)
    output, signals = model(batch), TeacherSignals(teacher, torch.ones(batch.num_candidates, dtype=torch.bool), {})
    loss(LossInputs(batch, output, signals, 0)).total.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_labels_train_one_head_and_the_teacher_the_other(schema: Schema) -> None:
    model, _ = _built("two_tower", schema)
    batch = make_batch(schema, seed=3)
    for terms, trained in (({"hard": HardBCE()}, 0), ({"soft": BernoulliKL()}, 1)):
        found = _gradients(model.train(), batch, **terms)
        for name in ("similarity.bias", "request_tower.project.weight", "candidate_tower.project.weight"):
            halves = found[name].chunk(2)
            assert halves[trained].abs().max() > 0, name
            assert halves[1 - trained].abs().max() == 0, name
        backbone = [n for n in found if ".body." in n]
        assert all(found[n].abs().max() > 0 for n in backbone if n.endswith("weight")), backbone


def test_the_weight_of_the_teachers_term_is_its_share_in_the_backbone(schema: Schema) -> None:
    model, _ = _built("two_tower", schema)
    batch = make_batch(schema, seed=3)
    labels, teacher = (_gradients(model.eval(), batch, **t) for t in ({"a": HardBCE()}, {"b": BernoulliKL()}))
    both = _gradients(model, batch, a=HardBCE(), b=BernoulliKL(weight=0.25))
    for name in (n for n in both if ".body." in n):
        torch.testing.assert_close(both[name], labels[name] + 0.25 * teacher[name], rtol=1e-4, atol=1e-7)
