"""What a board brings: Python 3.10 or newer, and numpy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import host

FOLDER = Path(host.__path__[0])
OLDEST = (3, 10)
ALONE = """
import importlib, pkgutil, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in {"host", "numpy", *sys.stdlib_module_names}:
            raise ImportError(f"{name} is not on a board")

sys.meta_path.insert(0, Refuse())
import host
for module in pkgutil.iter_modules(host.__path__):
    importlib.import_module(f"host.{module.name}")
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"pynq", "codesign", "yaml"}))
"""


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_the_oldest_python_reads_it(path):
    ast.parse(path.read_text(), feature_version=OLDEST)


def test_numpy_is_all_that_it_imports():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE],
        cwd=FOLDER.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
