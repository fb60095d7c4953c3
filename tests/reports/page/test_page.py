"""The page of a run or a comparison: whole, escaped, and nothing in it that was not measured."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from distill.reports.compare import compare
from distill.reports.page.chart import HEIGHT, LEFT, WIDTH, Chart, Point, Series, nice_ticks
from distill.reports.page.models import models_of
from distill.reports.page.page import Source, page_text
from tests.reports.page.pages import Page, evidence, run_with


def page_of_one() -> str:
    run = run_with("/runs/one")
    return page_text(Source("one", compare([run]), {"/runs/one": evidence()}, ["python train.py seed=0"]))


def test_a_page_of_one_run_has_every_part() -> None:
    page = Page(page_of_one())
    for part in (
        "Result",
        "Recall by k",
        "Calibration",
        "By popularity",
        "By stage",
        "Quality against cost",
        "learned",
    ):
        assert part in page.text
    assert page.names.count("svg") == 2 + 1 + 1 + 1 + 2 + 2
    assert "0.7600" in page.text
    assert "60% of gap val 0.7700" in page.text  # a line each
    assert "+0.0600 ± 0.0100 *" in page.text
    assert "python train.py seed=0" in page.text
    assert "/runs/one/checkpoints/best.ckpt" in page.text
    assert "f" * 32 in page.text
    assert "not measured" not in page.text


def test_a_page_fetches_nothing_and_its_links_lead_somewhere() -> None:
    page = Page(page_of_one())
    assert not {"script", "link", "img", "iframe"} & set(page.names)
    assert all(link.startswith("#") for link in page.links)
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert "#metric-task-auc" in page.links
    assert "#metric-val" not in page.links  # a split is not a metric
    assert len(page.ids) == len(set(page.ids))


def test_what_was_not_measured_says_why() -> None:
    run = replace(run_with("/runs/one"), cost={}, validation={})
    rows = compare([replace(run, metrics={"distilled": {"click/auc": 0.7}}, gap_recovered={}, differences={})])
    page = Page(page_text(Source("one", rows, {}, [])))
    assert "svg" not in page.names
    assert page.text.count("earlier version of distill") == 4
    assert "Costs were not measured (cost.enabled=false)." in page.text
    assert "The runs do not say how they were started." in page.text


def test_values_of_any_kind_stay_text() -> None:
    """Names of columns, tasks and folders are whatever a user called them."""
    evil = "<script>alert('x')</script>&\"$\\frac$"
    run = run_with(f"/runs/{evil}", config=evil)
    found = {
        role: {name.replace("click", evil): value for name, value in of.items()} for role, of in run.metrics.items()
    }
    run = replace(run, metrics=found, main_task=evil)
    source = Source(evil, compare([run]), {run.folder: evidence(evil)}, [f"train {evil}"], facts={evil: evil})
    page = Page(page_text(source))
    assert "script" not in page.names
    assert page.text.count(evil) > 10


def test_several_seeds_are_a_mean_with_its_deviation() -> None:
    runs = [run_with(f"/runs/{seed}", seed=seed, up=up) for seed, up in ((0, 0.0), (1, 0.02))]
    found = {run.folder: evidence(up=up) for run, up in zip(runs, (0.0, 0.02), strict=True)}
    teacher, *_, distilled = models_of(compare(runs), found)
    assert (teacher.colour, distilled.colour) == ("teacher", "c0")
    points = distilled.recalls("teacher_recall@k_10").points
    assert [p.x for p in points] == [1, 2, 5, 10]
    assert points[2].y == pytest.approx(0.77)
    assert points[2].error == pytest.approx(0.02 / math.sqrt(2))
    assert distilled.calibration("click").points[0].y == pytest.approx(0.12 * 0.77)
    assert len(distilled.learning()) == 2
    page = Page(page_text(Source("two", compare(runs), found, [])))
    assert "0.7700 ± 0.0141" in page.text
    assert page.names.count("table") == 2 + 1 + 1 + 1


def test_models_of_several_configurations_have_colours_and_names_of_their_own() -> None:
    runs = [run_with(f"/runs/{c}", config=c, up=0.01 * i) for i, c in enumerate("abc")]
    models = models_of(compare(runs), {})
    ranked = [model for model in models if model.row.role == "distilled"]
    assert [model.colour for model in ranked] == ["c0", "c1", "c2"]
    assert ranked[1].label == "b, distilled"


def test_points_are_where_their_numbers_are() -> None:
    series = Series("a", "c0", (Point(1, 0.0), Point(10, 0.5), Point(100, 1.0, 0.0)))
    chart = Chart("t", "x", "y", (series,), log_x=True)
    first, middle, last = chart.marks(series)
    assert middle.x == pytest.approx((first.x + last.x) / 2)
    assert middle.y == pytest.approx((first.y + last.y) / 2)
    assert LEFT < first.x < last.x < WIDTH
    assert 0 < last.y < first.y < HEIGHT
    assert [tick.text for tick in chart.x_ticks] == ["1", "2", "5", "10", "20", "50", "100"]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-0.3, 0.3, [-0.2, 0.0, 0.2]),
        (0.71, 0.745, [0.71, 0.72, 0.73, 0.74]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(expected)


def test_a_single_value_has_a_chart_too() -> None:
    for value in (0.0, 0.7, -3.0):
        chart = Chart("t", "x", "y", (Series("a", "c0", (Point(5, value),)),))
        assert all(map(math.isfinite, (chart.marks(chart.series[0])[0].x, chart.marks(chart.series[0])[0].y)))
        assert chart.x_ticks
