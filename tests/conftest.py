"""What tests of every package share."""

from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent

# Examples run simulations, whose time is no defect; they are the same in every run, so that a
# failure repeats.
hypothesis.settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference networks and data sets beside the checkout; they are not part of the project."""
    path = ROOT.parent / "shared"
    if not path.is_dir():
        pytest.skip(f"reference networks are missing: no folder {path.name!r} beside the checkout")
    return path
