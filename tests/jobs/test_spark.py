"""The recipes for Spark, as they stand on their page: what they write is prepared, and trained, like anything else."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from distill.reports.summary import load_summary
from tests.jobs.days import CANDIDATES, SCHEMA, day, write_days
from tests.jobs.entry import ROOT, path_arguments, run_dirs, run_script, tiny_arguments
from tests.jobs.processes import Done, run_all

PAGE = (ROOT / "docs" / "spark.md").read_text(encoding="utf-8")
CODE = {
    match[1]: match[2] for match in re.finditer(r"^```python\n# (\w+\.py)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
}
LISTS = [field["name"] for field in SCHEMA["fields"] if field["side"] != "request"] + ["click"]


def _script(folder: Path, name: str) -> str:
    (folder / name).write_text(CODE[name], encoding="utf-8")
    return str(folder / name)


def _spark(*command: str, **settings: str) -> Done:
    """Runs a script with the settings of a session, on this machine alone."""
    pytest.importorskip("pyspark")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    own = {"spark.master": "local[2]", "spark.ui.enabled": "false", "spark.driver.bindAddress": "127.0.0.1",
           "spark.driver.host": "127.0.0.1", **settings}  # fmt: skip
    given = " ".join(f"--conf {name}={value}" for name, value in own.items())
    (done,) = run_all(
        [[sys.executable, *command]],
        [{"PYSPARK_SUBMIT_ARGS": f"{given} pyspark-shell", "PYSPARK_PYTHON": sys.executable}],
    )
    return done


def _candidates() -> pa.Table:
    """The log of three days with a row for each candidate, sorted by request."""
    log = pa.concat_tables([day(number) for number in (1, 2, 3)])
    log = log.take(pc.sort_indices(log["search"]))
    parents = np.repeat(np.arange(log.num_rows), CANDIDATES)
    rows = {name: pc.list_flatten(log[name]) if name in LISTS else log[name].take(parents) for name in log.column_names}
    return pa.table({**rows, "position": np.tile(np.arange(CANDIDATES), log.num_rows)})


def _prepared(root: Path, source: Path, out: Path) -> dict[str, pa.Table]:
    """What is prepared of a log: requests in the order of their ids, and vocabularies."""
    run_script("scripts/prepare.py", "data=parquet", "split@data.adapter.split=random", f"data.source={source}",
               f"data.schema={root / 'schema.yaml'}", f"out={out}", *path_arguments(root))  # fmt: skip
    tables = {path.relative_to(out).as_posix(): pq.read_table(path) for path in out.glob("*/*.parquet")}
    return {name: t.sort_by("raw_request") if "raw_request" in t.column_names else t for name, t in tables.items()}


@pytest.mark.slow
def test_rows_of_requests_of_spark_are_prepared_as_the_log_is(tmp_path: Path) -> None:
    write_days(tmp_path, range(0))
    rows = _candidates()
    mixed = rows.take(np.random.default_rng(0).permutation(rows.num_rows))
    (tmp_path / "log").mkdir()
    for number, part in enumerate((mixed[:700], mixed[700:])):
        pq.write_table(part, tmp_path / "log" / f"{number}.parquet")
    pq.write_table(rows.drop(["position"]), tmp_path / "sorted.parquet")
    script, target = _script(tmp_path, "to_requests.py"), tmp_path / "requests"
    batches = {"spark.sql.execution.arrow.maxRecordsPerBatch": "50"}
    done = _spark(script, str(tmp_path / "log"), str(target), "3", **batches)
    assert done.status == 0, done.errors[-3000:]
    written = sorted(target.glob("*.parquet"))
    assert len(written) == 3
    nested = pa.concat_tables([pq.read_table(path) for path in written])
    assert nested.num_rows == 180
    assert nested["search"].to_pylist() == sorted(nested["search"].to_pylist())
    found = _prepared(tmp_path, target, tmp_path / "of-spark")
    assert found.keys() == {*(f"{split}/part-00000.parquet" for split in ("train", "val", "test")),
                            "encodings/item.parquet", "encodings/user.parquet"}  # fmt: skip
    assert found == _prepared(tmp_path, tmp_path / "sorted.parquet", tmp_path / "of-rows")


@pytest.mark.slow
def test_spark_starts_the_processes_of_a_training(tmp_path: Path) -> None:
    left_out = ("trainer=", "teacher.")
    tiny = [a for a in tiny_arguments(tmp_path) if not a.startswith(left_out)]
    few = ["+experiment=funnel/two_tower", *tiny, "trainer=ddp_sim", "trainer.limit_train_batches=3", "name=run"]
    done = _spark(_script(tmp_path, "train_on_spark.py"), *few)
    assert done.status == 0, done.output[-2000:] + done.errors[-3000:]
    (folder,) = run_dirs(tmp_path, "run")
    assert load_summary(folder).steps == {"model": 3}
