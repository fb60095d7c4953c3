"""What is said before anything is trained."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import compose
from omegaconf import DictConfig, OmegaConf

from distill.data.funnel.tables import funnel_schema
from distill.errors import ConfigError, DistillError
from distill.jobs.beforehand import check_config, check_terms, warn_of_equal_requests, warn_of_few_steps
from distill.jobs.datasets import raw_schema
from distill.jobs.fit_plan import FitPlan
from distill.jobs.parts import check_net
from distill.jobs.values import check_present, check_values
from distill.schema import Schema, save_schema
from tests.batches import make_schema
from tests.data.archives import WRITERS
from tests.jobs.entry import tiny_arguments, train
from tests.jobs.test_experiments import EXPERIMENTS, WITH_PAST
from tests.marks import some_fast
from tests.models.composing import composed_net, composing


@pytest.mark.parametrize(
    ("steps", "epochs", "max_steps", "batch", "expected"),
    [
        (54, 3, -1, 4096, ("54 steps", "batch_candidates=256 ", "max_epochs=28;")),
        (1, 1, -1, 4096, ("1 steps", "batch_candidates=128 ", "max_epochs=500;")),
        (499, 3, -1, 1024, ("499 steps", "batch_candidates=512 ", "max_epochs=4;")),
        (500, 3, -1, 4096, ()),
        (54, 3, 54, 4096, ()),
        (0, 1, -1, 4096, ()),  # fitted in one pass
    ],
)
def test_few_steps(
    caplog: pytest.LogCaptureFixture, steps: int, epochs: int, max_steps: int, batch: int, expected: tuple[str, ...]
) -> None:
    cfg = {"trainer": {"max_steps": max_steps}, "data": {"loader": {"batch_candidates": batch}}}
    plan = SimpleNamespace(role="student", max_epochs=epochs)
    with caplog.at_level(logging.WARNING):
        warn_of_few_steps(SimpleNamespace(cfg=OmegaConf.create(cfg), plan=plan, planned_steps=lambda: steps))
    assert len(caplog.messages) == bool(expected)
    assert all(part in caplog.messages[0] for part in expected)


@pytest.mark.parametrize(
    ("model", "kept", "said"),
    [("two_tower", ("candidate", "cross"), 1), ("two_tower", ("request", "candidate"), 0), ("cold", ("candidate",), 0)],
)
def test_requests_without_a_field(caplog: pytest.LogCaptureFixture, model: str, kept: Sequence[str], said: int) -> None:
    whole = make_schema()
    schema = whole.model_copy(update={"fields": tuple(f for f in whole.fields if f.side.value in kept)})
    plan = SimpleNamespace(role="student", net=composed_net(model), key=lambda part: part)
    with caplog.at_level(logging.WARNING):
        warn_of_equal_requests(SimpleNamespace(plan=plan, dataset=SimpleNamespace(schema=schema)))
    assert len(caplog.messages) == said
    assert all("side: request" in message for message in caplog.messages)


def _config(*overrides: str) -> DictConfig:
    with composing():
        cfg = compose("config", ["data=funnel_tiny", *overrides])
    check_present(cfg)
    return cfg


def _check(cfg: DictConfig) -> None:
    check_values(cfg)
    check_config(cfg, raw_schema(cfg))


@pytest.mark.parametrize(
    ("overrides", "says"),
    some_fast(
        [
            (["loss=listwise"], "needs teacher signals, but there is no teacher"),
            (["loss.terms.hard.tasks=[buy]"], "loss.terms.hard"),
            (["data.main_task=buy"], "Set data.main_task."),
            (["data.main_task=buy", "callbacks.monitor=val/buy/auc"], "Set data.main_task."),
            (["callbacks.monitor=val/click/acu"], "The monitored metric is not measured."),
            (["callbacks.monitor=click/auc"], "The monitored metric is not measured."),
            (
                ["teacher=trained", "callbacks.monitor=val/teacher_recall@20_10"],
                "is not measured",
            ),  # nor is the teacher's
            (["metrics.report=[click/acu]"], "The report asks for metrics that are not measured."),
            (["metrics.report=[click/acu]"], "click/auc, click/auc_head"),
            (["metrics.report=[teacher_recall@20_10]"], "not measured"),  # there is no teacher
            (["teacher.source=trainde"], "none, trained"),
            (["teacher=trained", "teacher.signals=ofline"], "teacher.signals"),
            (["teacher=checkpoint", "teacher.path=/nowhere.ckpt"], "teacher.path"),
            (["teacher=ensemble", "teacher.members=[/nowhere.ckpt]"], "teacher.members[0]"),
            (["teacher=trained", "teacher.model.net._target_=os.system"], "teacher.model.net._target_"),
            (["optimizer.lr=-1"], "optimizer.lr"),
            (["scheduler.shape=step"], "scheduler.shape"),
            (["+trainer.max_epoch=1"], "trainer.max_epoch"),
            (["sampling=pseudo_labels"], "needs teacher signals"),
            (["+callbacks.extra.mine._target_=os.system"], "callbacks.extra.mine"),
            (["model.net._target_=os.system"], "model.net._target_"),
        ],
        3,
    ),
)
def test_what_no_data_could_make_right_is_refused_without_any(overrides: list[str], says: str) -> None:
    cfg = _config(*overrides)
    with pytest.raises(DistillError) as error:
        _check(cfg)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "where", "says"),
    [
        (["callbacks.weight_average=0.9"], "callbacks.weight_average", "have no average"),
        (["model.init_from=FOLDER/old.ckpt"], "model.init_from", "rows from elsewhere"),
        (["+model.vectors.item.path=FOLDER/old.ckpt"], "model.vectors.item", "rows from elsewhere"),
        (["teacher=trained", "teacher.model.init_from=FOLDER/old.ckpt"], "teacher.model.init_from", "elsewhere"),
        (["teacher=cotrained", "loss=pfd"], "embedding.sharding", "need whole embedding tables"),
    ],
)
def test_what_sharded_tables_cannot_do_is_refused(overrides: list[str], where: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "old.ckpt").touch()
    own = [override.replace("FOLDER", str(tmp_path)) for override in overrides]
    with pytest.raises(ConfigError, match=says) as error:
        _check(_config(*own, "embedding=sharded", "trainer=ddp_sim"))
    assert error.value.where == where
    _check(_config(*own, "trainer=ddp_sim"))
    if where != "embedding.sharding":
        _check(_config(*own, "embedding=sharded", "trainer=cpu"))  # one process has whole tables


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["data=parquet", "data.schema=x"], "data.source"),
        (["data=parquet", "data.source=x"], "data.schema"),
        (["data=prepared"], "data.root"),
        (["teacher=checkpoint"], "teacher.path"),
        (["teacher=ensemble"], "teacher.members"),
    ],
)
def test_a_value_that_must_be_given_is_named(overrides: list[str], key: str) -> None:
    with pytest.raises(ConfigError) as error:
        _config(*overrides)
    assert error.value.where == key


@pytest.mark.parametrize("data", ["funnel", "movielens_100k", "letor", "mslr", *WRITERS])
def test_the_tasks_of_generated_and_known_data_are_known_without_any(data: str) -> None:
    cfg = _config(f"data={data}", *([] if data == "funnel" else ["data.source=/nowhere"]))
    schema = raw_schema(cfg)
    assert schema is not None
    assert cfg.data.main_task in schema.task_names


@pytest.mark.parametrize("experiment", some_fast(EXPERIMENTS, 40))
def test_experiments_pass(experiment: str, tmp_path: Path) -> None:
    """Of most, this is all that `make test` checks; `make test-all` runs them."""
    source = [] if experiment.startswith(("funnel", "quickstart")) else ["data.source=/nowhere"]
    if experiment == WITH_PAST:  # its schema is that of a log that a command writes
        save_schema(funnel_schema("funnel", 30), tmp_path / "schema.yaml")
        source = ["data.source=/nowhere", f"data.schema={tmp_path / 'schema.yaml'}", f"teacher.path={tmp_path}"]
    with composing():
        cfg = compose("config", [f"+experiment={experiment}", *source])
    check_values(cfg)
    check_config(cfg, raw_schema(cfg))
    roles = {"trained": ("teacher", "control")}.get(cfg.teacher.source, ())
    for plan in (FitPlan.main(cfg), *(FitPlan.of(cfg, role) for role in roles)):
        check_net(plan.net, plan.key("model.net"))
        assert plan.terms


def test_nothing_is_prepared_for_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        train(*_alone(tmp_path), "callbacks.monitor=val/click/acu", "name=mistake")
    assert ending.value.code == 2
    assert "val/click/auc" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
    assert not list(tmp_path.rglob("manifest.json"))


def _alone(root: Path) -> list[str]:
    return [argument for argument in tiny_arguments(root) if not argument.startswith("teacher.")]


@pytest.mark.parametrize("item", [None, "item_id"])
def test_items_that_have_no_key_are_not_added(item: str | None) -> None:
    schema = Schema.model_validate(
        {
            "name": "s",
            "layout": "requests",
            "keys": {"request": "r", "item": item},
            "fields": [{"name": "item_id", "side": "candidate", "kind": "id"}],
            "tasks": [{"name": "click"}],
        }
    )
    loss = {"_target_": "distill.losses.CompositeLoss", "terms": {"hard": {"_target_": "distill.losses.terms.HardBCE"}}}
    rule = {"_target_": "distill.sampling.InBatchNegatives"}
    plan = FitPlan("student", {}, loss, {"in_batch": rule}, {}, {}, 1, serving=True)
    if item is not None:
        return check_terms(plan, schema, (), False)
    with pytest.raises(ConfigError, match=r"sampling\.in_batch"):
        check_terms(plan, schema, (), False)
    return None
