"""A small compiled network, and a way to run commands."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from codesign.cli.main import main

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SAMPLES = 3


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def codesign(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command with these arguments, in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        # text is compared, not how wide the terminal was
        return Outcome(code, " ".join(shown.out.split()), " ".join(shown.err.split()))

    return run


@pytest.fixture(scope="session")
def values() -> npt.NDArray[np.float32]:
    """Inputs of the example network."""
    return np.random.default_rng(0).standard_normal((SAMPLES, 3, 16, 16), np.float32)


@pytest.fixture
def inputs(tmp_path: Path, values: npt.NDArray[np.float32]) -> Path:
    path = tmp_path / "inputs.npy"
    np.save(path, values)
    return path


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory, values: npt.NDArray[np.float32]) -> Path:
    """The example network, compiled for `tiny`."""
    return compile_example(tmp_path_factory.mktemp("program"), values)


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory, values: npt.NDArray[np.float32]) -> Path:
    """The same with every tensor kept."""
    return compile_example(tmp_path_factory.mktemp("kept"), values, "--keep-tensors")


def compile_example(folder: Path, values: npt.NDArray[np.float32], *options: str) -> Path:
    np.save(folder / "calibration.npy", values)
    path = folder / "mine.prog"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        with pytest.raises(SystemExit) as ended:
            main(["compile", "mine:network", "--arch", "tiny", "-o", str(path), "--seed", "5",
                  "--calibration", str(folder / "calibration.npy"), *options])  # fmt: skip
    assert ended.value.code == 0
    return path
