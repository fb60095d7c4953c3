"""URIs of a config become paths of this machine, with what they name."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from distill.errors import ConfigError, DataError
from distill.jobs.identity import config_hash
from distill.jobs.option_values import path_here, source_here
from distill.jobs.run_places import fetch_last_run, run_here, run_published, runs_here
from distill.jobs.uris import is_part, on_this_machine
from distill.places.fetch import published
from distill.places.mirror import local_of, named
from distill.places.publish import publish
from distill.places.uri import place_of
from distill.service.options import Options
from distill.service.supervisor import _fetched
from tests.places.store import Store, store

__all__ = ["store"]
STORE = "s3://shop"


def _config(text: str) -> DictConfig:
    found = OmegaConf.create(text)
    assert isinstance(found, DictConfig)
    OmegaConf.set_struct(found, True)
    return found


def _publish(folder: Path, uri: str, **files: bytes) -> None:
    for name, data in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    publish(folder, place_of(uri, "uri"))


def test_a_config_without_a_uri_is_left_as_it_is() -> None:
    cfg = _config(
        "{data: {source: [logs, 'file.parquet'], schema: null, root: '???'}, study: {storage: 'sqlite:///x'}}"
    )
    assert on_this_machine(cfg) is cfg
    assert on_this_machine(_config("{data: {source: 'file:///logs'}}")).data.source == "/logs"


def test_what_is_read_is_there_and_what_follows_from_it_follows(store: Store, tmp_path: Path) -> None:
    for name in ("logs/day=1/a", "logs/day=2/a", "schema.yaml", "a.ckpt"):
        store.write(f"shop/{name}", name.encode())
    files = {"manifest.json": b"{}", "train__p.parquet": b"rows", "train__checksums.json": b"{}"}
    _publish(tmp_path / "prepared", f"{STORE}/prepared", **files)
    cfg = on_this_machine(
        _config(f"""
data:
  source: '{STORE}/logs/day=*'
  schema: {STORE}/schema.yaml
  root: {STORE}/prepared
  adapter: {{source: '${{data.source}}'}}
path: {{old: '${{bucket}}/a.ckpt', new: here.ckpt}}
bucket: {STORE}
out: {STORE}/out
seed: ${{oc.select:nothing,3}}
""")
    )
    root = Path(cfg.data.root)
    assert sorted(path.parent.name for path in Path(cfg.data.source).parent.glob("day=*/a")) == ["day=1", "day=2"]
    assert cfg.data.adapter.source == cfg.data.source
    assert Path(cfg.data.schema).read_bytes() == b"schema.yaml"
    assert (root / "train/checksums.json").exists()
    assert not (root / "train/p.parquet").exists()  # until it is read
    assert Path(cfg.path.old).read_bytes() == b"a.ckpt"
    assert cfg.path.new == "here.ckpt"
    assert named(cfg.out) == f"{STORE}/out"
    assert not Path(cfg.out).exists()


@pytest.mark.parametrize(
    ("config", "where", "words"),
    [
        ("{data: {source: 'ftp://host/x'}}", "data.source", "scheme"),
        (f"{{step: {STORE}/x}}", "step", "does not accept a URI"),
        (f"{{data: {{schema: {STORE}/none.yaml}}}}", "data.schema", "no such file"),
        ("{out: 's3://shop/../x'}", "out", "lacks a name"),
    ],
)
def test_what_is_wrong_is_said_with_its_key(store: Store, config: str, where: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as raised:
        on_this_machine(_config(config))
    assert raised.value.where == where


def test_a_folder_that_was_not_published_is_refused(store: Store) -> None:
    store.write("shop/prepared/manifest.json")
    with pytest.raises(DataError, match="Nothing is published"):
        on_this_machine(_config(f"{{data: {{root: {STORE}/prepared}}}}"))


def test_tokenizers_come_with_the_schema_that_names_them(store: Store) -> None:
    schema = b"fields: [{name: title, tokens: {tokenizer: words/t.json}}, {name: x, tokens: {tokenizer: ../y}}]"
    store.write("shop/schema.yaml", schema)
    store.write("shop/words/t.json", b"{}")
    path = Path(on_this_machine(_config(f"{{data: {{schema: {STORE}/schema.yaml}}}}")).data.schema)
    assert (path.parent / "words/t.json").read_bytes() == b"{}"


def test_the_hash_of_a_config_is_that_of_its_uris(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("shop/logs/a")
    cfg = _config(f"{{data: {{source: {STORE}/logs}}, seed: 1}}")
    assert config_hash(on_this_machine(cfg)) == config_hash(cfg)
    monkeypatch.setenv("DISTILL_LOCAL", str(tmp_path / "another"))
    assert config_hash(on_this_machine(cfg)) == config_hash(cfg)


def test_parts_are_the_rows_of_a_dataset() -> None:
    parts = ["train/part-00000.parquet", "items/part-00000.parquet"]
    assert all(map(is_part, parts))
    assert not any(map(is_part, ["encodings/item.parquet", "manifest.json", "train/checksums.json"]))


def test_a_run_is_published_however_it_ends_and_goes_on_elsewhere(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = runs_here(f"{STORE}/runs")
    assert runs_here("runs") == Path("runs")
    for name in ("2031-01", "2031-02"):
        folder = runs / "student" / name
        folder.mkdir(parents=True)
        (folder / "last.ckpt").write_bytes(name.encode())
        with pytest.raises(KeyboardInterrupt), run_published(folder, is_sweep=False):
            raise KeyboardInterrupt
    monkeypatch.setenv("DISTILL_LOCAL", str(tmp_path / "another"))
    there = runs_here(f"{STORE}/runs") / "student"
    fetch_last_run(there)
    assert [path.name for path in there.iterdir()] == ["2031-02"]
    with run_published(there / "2031-02", is_sweep=False):
        (there / "2031-02" / "last.ckpt").write_bytes(b"2031-03")  # as many bytes
    monkeypatch.setenv("DISTILL_LOCAL", str(tmp_path / "third"))
    assert (run_here(f"{STORE}/runs/student/2031-02") / "last.ckpt").read_bytes() == b"2031-03"
    assert run_here("runs/x") == Path("runs/x")


def test_what_was_begun_here_is_kept_unless_another_went_on(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"{STORE}/runs/a/1"
    _publish(tmp_path / "made", uri, x=b"1")
    mine = run_here(uri)
    (mine / "x").write_bytes(b"2")  # and killed
    assert (run_here(uri) / "x").read_bytes() == b"2"
    monkeypatch.setenv("DISTILL_LOCAL", str(tmp_path / "another"))
    with run_published(run_here(uri), is_sweep=False):
        (local_of(place_of(uri, "uri")) / "x").write_bytes(b"3")
    monkeypatch.setenv("DISTILL_LOCAL", str(tmp_path / "local"))
    assert (run_here(uri) / "x").read_bytes() == b"3"


def test_a_sweep_stays_here(store: Store) -> None:
    folder = runs_here(f"{STORE}/runs") / "0"
    with pytest.raises(ConfigError, match="sweep") as raised, run_published(folder, is_sweep=True):
        pass
    assert raised.value.found == f"{STORE}/runs/0"
    assert published(place_of(f"{STORE}/runs/0", "runs")) is None


def test_arguments_that_are_paths_of_this_machine() -> None:
    assert path_here("runs/a") == Path("runs/a")
    assert source_here("logs/") == "logs/"
    for function in (path_here, source_here):
        with pytest.raises(argparse.ArgumentTypeError, match="s3://b/x"):
            function("s3://b/x")


def test_a_service_serves_what_was_published_and_watches_folders_of_its_machine(store: Store, tmp_path: Path) -> None:
    _publish(tmp_path / "made", f"{STORE}/bundle", model=b"1")
    assert (Path(str(_fetched(Options(bundle=f"{STORE}/bundle")).bundle)) / "model").read_bytes() == b"1"
    assert _fetched(Options(bundle="bundle")) == Options(bundle="bundle")
    with pytest.raises(ConfigError, match="--root"):
        _fetched(Options(root=f"{STORE}/bundles"))


@pytest.mark.parametrize("command", ["feedback", "diversity", "backtest"])
def test_studies_write_to_this_machine(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = importlib.import_module(f"distill.jobs.{command}_options")
    given = ["--first", "2"] if command == "backtest" else []
    assert options.arguments([*given, "seed=1", "--out", "a"]).overrides == ["seed=1"]
    for wrong, said in ((["--out", "s3://bucket/a"], "a path of this machine"), (["--out", "a", "--sed"], "--sed")):
        with pytest.raises(SystemExit):
            options.arguments([*given, *wrong])
        assert said in capsys.readouterr().err
