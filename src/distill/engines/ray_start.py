"""Starts Ray on this machine, also on one that is busy: what may take long there is given time, up to a limit."""

from __future__ import annotations

import inspect
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from types import ModuleType
from typing import Any

from distill.errors import RankError

WAIT_SECONDS = 600
"""Longest time until Ray's processes know of one another, and until its first worker answers."""

# Names of Ray's own settings, which its processes read; what the user has set stays.
_SETTINGS = {
    "RAY_agent_register_timeout_ms": str(1000 * WAIT_SECONDS),
    "RAY_worker_register_timeout_seconds": str(WAIT_SECONDS),
    "RAY_gcs_server_request_timeout_seconds": str(WAIT_SECONDS),
    "RAY_gcs_rpc_server_connect_timeout_s": "60",
    "RAY_health_check_timeout_ms": "60000",
}

_PORTS = ("metrics_agent_port", "metrics_export_port", "runtime_env_agent_port")


def start_here(ray: ModuleType, workers: int | None, object_store_bytes: int | None) -> None:
    """Starts Ray's processes and waits for a worker; they end with this process.

    Args:
        ray: The module.
        workers: Processors that it may use; None is all.
        object_store_bytes: Memory in which its processes share data; None leaves it to Ray.

    Raises:
        RankError: It does not start.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        with _agents_not_awaited() as ports:
            ray.init(
                address="local",
                num_cpus=workers,
                object_store_memory=object_store_bytes,
                logging_level=logging.WARNING,
                include_dashboard=False,
                _metrics_export_port=ports["metrics_export_port"],
            )
        ray.get(ray.remote(num_cpus=1)(_answer).remote(), timeout=WAIT_SECONDS)
    except Exception as error:  # of no class of its own
        ray.shutdown()
        raise RankError(
            "Ray did not start on this machine.",
            where="Ray",
            found=str(error).splitlines()[0][:300] if str(error) else type(error).__name__,
            remedy="Mostly the machine is too busy, or has too little memory: try again later, give it fewer "
            "workers, or start Ray by hand (ray start --head) and give auto as its address. Its logs are in "
            "/tmp/ray/session_latest/logs.",
        ) from error


def _answer() -> None:
    """What a worker is first asked."""


@contextmanager
def _agents_not_awaited() -> Iterator[Mapping[str, int]]:
    """Within the block, Ray's node starts without its agents, which come up beside it.

    The node waits for ports that its agents choose before it does anything else, and gives up after 15 seconds, which
    no setting changes: on a busy machine the agents, which are Python programs, have not begun then. So their ports are
    chosen here, and yielded; of the one that cannot be given, which is the dashboard's, the node reads beforehand that
    there is none. Another Ray may not have what this takes hold of: then it starts as it does.
    """
    from ray._private import parameter, services

    params, start, ports = parameter.RayParams, services.start_raylet, _free_ports()
    wanted = {**ports, "no_monitor": True}  # it starts machines of a cloud
    known = inspect.signature(params).parameters
    parameter.RayParams = partial(params, **{name: value for name, value in wanted.items() if name in known})
    services.start_raylet = partial(_start_node, start)
    try:
        yield ports
    finally:
        parameter.RayParams, services.start_raylet = params, start


def _start_node(plain: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    try:
        from ray._raylet import DASHBOARD_AGENT_LISTEN_PORT_NAME, persist_port
    except ImportError:
        return plain(*arguments, **named)
    given = inspect.signature(plain).bind(*arguments, **named).arguments
    persist_port(given["session_dir"], given["node_id"], DASHBOARD_AGENT_LISTEN_PORT_NAME, -1)
    return plain(*arguments, **named)


def _free_ports() -> dict[str, int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in _PORTS]
        for one in sockets:
            one.bind(("", 0))
        return {name: one.getsockname()[1] for name, one in zip(_PORTS, sockets, strict=True)}
