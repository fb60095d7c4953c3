"""The runtime imports nothing that trains."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAVY = ("torch", "pytorch_lightning", "hydra", "omegaconf", "scipy", "matplotlib", "onnx", "onnxscript", "pandas")
PROGRAM = """
import sys
from distill.serving import Bundle, ItemVectors
from distill.serving import index, key_value
print([name for name in sys.argv[1:] if name in sys.modules])
"""


def test_serving_imports_no_torch(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *HEAVY], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "[]"
