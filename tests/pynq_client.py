"""PYNQ in environments of its own, which run beside the tests'."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT


@dataclass(frozen=True)
class Client:
    """An environment with a version of PYNQ, and a board of its time."""

    board: str
    version: str

    @property
    def python(self) -> Path:
        number = "".join(self.version.split(".")[:2])
        path = ROOT / f".venv-pynq{number}" / "bin" / "python"
        if not path.is_file():
            pytest.fail(
                f"{path.relative_to(ROOT)} is missing: `make test` and `make test-board` build it"
            )
        return path

    def run(self, address: str, folder: Path, *arguments: object) -> str:
        """Output of a Python process in ``folder``, for which the board is at ``address``."""
        with self.start(address, folder, *arguments) as process:
            output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        return output

    def start(self, address: str, folder: Path, *arguments: object) -> subprocess.Popen[str]:
        """Such a process, which goes on."""
        return subprocess.Popen(
            [self.python, "-W", "error:::host", *map(str, arguments)],
            cwd=folder,
            env={**os.environ, "PYNQ_REMOTE_DEVICES": address, "PYTHONPATH": str(ROOT)},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


ZYNQ = Client("pynq-z2", "3.1.2")
ZYNQ_ULTRASCALE = Client("zcu104", "4.0.0")
CLIENTS = [
    pytest.param(ZYNQ, id="pynq-z2"),
    pytest.param(ZYNQ_ULTRASCALE, id="zcu104", marks=pytest.mark.slow),
]


def own_address(board: int = 0) -> str:
    """A loopback address of this process for each board, for clients know one port only."""
    number = os.getpid()
    return f"127.{1 + (number >> 16) % 64 + 64 * board}.{number >> 8 & 255}.{number & 255}"
