"""Ray is told beforehand what its node would wait for; a start that fails is an error with a remedy."""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any

import pytest

from distill.engines.ray_start import start_here
from distill.errors import RankError


class RayParams:
    """As Ray's, with some of its arguments."""

    def __init__(
        self, metrics_agent_port: int = 0, runtime_env_agent_port: int = 0, metrics_export_port: int = 0,
        no_monitor: bool = False,
    ) -> None:  # fmt: skip
        self.given = (metrics_agent_port, runtime_env_agent_port, metrics_export_port)
        self.no_monitor = no_monitor


class Ray(ModuleType):
    """A Ray whose node starts when it knows all ports, and whose worker answers at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails: bool = False) -> None:
        super().__init__("ray")
        self.private, self.raylet = ModuleType("ray._private"), ModuleType("ray._raylet")
        self.private.parameter, self.private.services = ModuleType("parameter"), ModuleType("services")
        self.private.parameter.RayParams = RayParams
        self.private.services.start_raylet = self.start_raylet
        self.raylet.DASHBOARD_AGENT_LISTEN_PORT_NAME = "listen"
        self.raylet.persist_port = lambda *written: self.persisted.append(written)
        self.persisted: list[Any] = []
        self.fails, self.ended, self.asked = fails, False, 0
        for name, module in (("ray", self), ("ray._private", self.private), ("ray._raylet", self.raylet)):
            monkeypatch.setitem(sys.modules, name, module)

    def start_raylet(self, redis: str, node_id: str, session_dir: str, params: RayParams) -> None:
        assert self.persisted == [(session_dir, node_id, "listen", -1)]
        self.params = params

    def init(self, _metrics_export_port: int, **_: Any) -> None:
        if self.fails:
            raise ValueError("no room\nat all")
        params = self.private.parameter.RayParams(metrics_export_port=_metrics_export_port)
        self.private.services.start_raylet("", "node", session_dir="folder", params=params)

    def remote(self, **_: Any) -> Any:
        return lambda task: type("Task", (), {"remote": staticmethod(task)})

    def get(self, _: Any, timeout: float) -> None:
        self.asked += 1

    def shutdown(self) -> None:
        self.ended = True


def test_the_node_waits_for_no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"RAY_agent_register_timeout_ms": "7"}
    monkeypatch.setattr(os, "environ", environment)
    ray = Ray(monkeypatch)
    start_here(ray, 2, None)
    assert len(set(ray.params.given)) == 3
    assert min(ray.params.given) > 0
    assert ray.params.no_monitor
    assert ray.asked == 1
    assert not ray.ended
    assert environment["RAY_agent_register_timeout_ms"] == "7"  # the user's
    assert "RAY_worker_register_timeout_seconds" in environment
    assert ray.private.parameter.RayParams is RayParams
    assert ray.private.services.start_raylet == ray.start_raylet


def test_a_start_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    ray = Ray(monkeypatch, fails=True)
    with pytest.raises(RankError, match=r"did not start(.|\n)*no room(.|\n)*ray start --head"):
        start_here(ray, 2, None)
    assert ray.ended
    assert ray.private.parameter.RayParams is RayParams
