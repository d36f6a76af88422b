"""Networks that upsample, in RTL: as the references say, and in the predicted time."""

import numpy as np
import pytest

from sim.device import RtlDevice
from tests.compiler.networks import ROOMY
from tests.compiler.upsampling import random_upsampling, unet
from tests.test_equivalence import Bench

ARCHS = {
    "tiny": ROOMY,
    "p7-drain7": ROOMY.replace(pixels=7, drain=7),
    "p4-drain2-n8": ROOMY.replace(pixels=4, drain=2, out_channels=8),
}


@pytest.fixture(scope="module", params=[
    pytest.param(name, marks=[pytest.mark.slow] if name != "tiny" else []) for name in ARCHS
])  # fmt: skip
def bench(request, tmp_path_factory):
    with RtlDevice(ARCHS[request.param]) as device:
        yield Bench(ARCHS[request.param], device, tmp_path_factory.mktemp("programs") / "program")


@pytest.mark.parametrize("seed", [1, 2, 3, 6, 8, 10, 13, 17])
def test_random_networks(bench, seed):
    graph = random_upsampling(seed)
    program, run, report = bench.run(graph, seed)
    assert program.predicted_cycles == run.cycles
    assert report.counters == dict(run.counters)


def test_unet(bench):
    graph = unet(np.random.default_rng(1), size=8, width=4)
    program, run, report = bench.run(graph, 1)
    assert program.predicted_cycles == run.cycles
    assert report.counters == dict(run.counters)
