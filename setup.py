"""Puts the configs of the root's `conf/`, of which there is one copy, into the wheel as `distill/conf`."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CONF = Path("conf")


class BuildWithConf(build_py):
    """Copies the configs beside the modules; an editable install reads them where they are."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            shutil.rmtree(self._conf(), ignore_errors=True)  # of an earlier build, with files that are gone
            shutil.copytree(CONF, self._conf())

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs = list(super().get_outputs(include_bytecode))
        return [*outputs, *(str(self._conf() / path.relative_to(CONF)) for path in sorted(CONF.rglob("*.yaml")))]

    def _conf(self) -> Path:
        return Path(self.build_lib) / "distill" / "conf"


setup(cmdclass={"build_py": BuildWithConf})
