"""What preparation says that it read."""

from pathlib import Path

from distill.data.contents import LabelNumbers
from distill.data.format import SPLITS
from tests.data.prepare.builders import pairs, prepare_quietly, schema_of, write


def test_labels_are_counted_by_split(tmp_path: Path) -> None:
    tasks = [{"name": "click"}, {"name": "grade", "kind": "graded"}, {"name": "seconds", "kind": "value"}]
    columns = pairs(
        click=[1, 0, 0, None, 0, 0, None], grade=[0, 4, 2, None, None, 0, 3], seconds=[-1.0, 2.5, None, 0.0, 0.5, 7, 8]
    )
    dataset = prepare_quietly(write(tmp_path / "a.parquet", columns), tmp_path / "out", schema_of(tasks=tasks))
    assert dataset.manifest.contents is not None
    found = {split: dataset.manifest.contents.splits[split].labels for split in SPLITS}
    assert [found[split]["click"] for split in SPLITS] == [
        LabelNumbers(candidates=5, labelled=4, positive=1, low=0.0, mean=0.25, high=1.0),
        LabelNumbers(candidates=1, labelled=1, positive=0, low=0.0, mean=0.0, high=0.0),
        LabelNumbers(candidates=1),
    ]
    assert found["train"]["grade"] == LabelNumbers(candidates=5, labelled=3, positive=2, low=0.0, mean=2.0, high=4.0)
    assert found["train"]["seconds"] == LabelNumbers(candidates=5, labelled=4, positive=2, low=-1.0, mean=0.5, high=2.5)
