"""One answer: RTL = machine reference = graph reference, bit for bit, and in the predicted time.

The tests of the compiler compare the machine reference with the graph reference on many more
networks; here the same generators drive the simulated RTL through the host driver.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.arch import preset
from codesign.compiler import compile as compile_graph
from codesign.reference import graph as graph_reference
from codesign.reference.timing import Dram
from codesign.report.explain import explain
from host.driver import Accelerator
from sim.device import RtlDevice
from sim.model import Stalls
from tests.compiler import execution
from tests.compiler.builder import Builder
from tests.compiler.networks import ROOMY, random_layer, random_network

SEEDS = st.integers(0, 2**32 - 1)
EXAMPLES = {
    "tiny": ROOMY,
    "p5": ROOMY.replace(pixels=5),
    "p7-drain7": ROOMY.replace(pixels=7, drain=7),
    "p4-drain2-n8": ROOMY.replace(pixels=4, drain=2, out_channels=8),
    "pynq_z2": preset("pynq_z2"),
}
SLOW = {"p5", "p7-drain7", "p4-drain2-n8", "pynq_z2"}


@pytest.fixture(scope="module", params=[
    pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in EXAMPLES
])  # fmt: skip
def accelerator(request, tmp_path_factory):
    """A simulated accelerator with its architecture, and where to put programs."""
    arch = EXAMPLES[request.param]
    with RtlDevice(arch) as device:
        yield Bench(arch, device, tmp_path_factory.mktemp("programs") / "program")


class Bench:
    """Compiles graphs for one architecture and runs them on RTL and both references."""

    def __init__(self, arch, device, path):
        self.arch, self.device, self.path = arch, device, path

    def run(self, graph, seed, *, trace=False, runs=2):
        """Checks the outputs of ``runs`` inferences; returns the last run of machine and RTL."""
        program = compile_graph(graph, self.arch)
        program.save(self.path)
        machine = execution.start(program)
        machine.trace = trace
        rng = np.random.default_rng(seed)
        with Accelerator(self.device, trace=trace) as rtl:
            rtl.load(self.path)
            for _ in range(runs):
                inputs = execution.random_inputs(graph, rng)
                expected = graph_reference.run(graph, inputs)
                results, _, run = execution.infer(machine, program, inputs)
                found = rtl.run(*(inputs[name] for name in graph.inputs))
                outputs = found if isinstance(found, tuple) else (found,)
                for layout, codes in zip(program.outputs, outputs, strict=True):
                    np.testing.assert_array_equal(codes, results[layout.name], "RTL, machine")
                    shape = codes.shape
                    np.testing.assert_array_equal(
                        codes, expected[layout.name].reshape(shape), "RTL, graph"
                    )
            return program, run, rtl.report()


def graph_for(seed):
    """A layer or a network."""
    return random_network(seed) if seed % 2 else random_layer(seed)


@settings(max_examples=20)
@given(seed=SEEDS)
def test_rtl_and_references_agree_and_take_the_predicted_cycles(accelerator, seed):
    graph = graph_for(seed)
    program, run, report = accelerator.run(graph, seed)
    assert program.predicted_cycles == run.cycles
    assert report.counters == dict(run.counters)


def test_lines_longer_than_the_chip_in_panels_of_columns(accelerator):
    """With strides and a mean that are computed by line."""
    b = Builder(np.random.default_rng(0))
    x = b.input((3 * accelerator.arch.in_channels, 4, 3 * accelerator.arch.act_depth))
    y = b.conv(x, 5, stride=(2, 2), clamp=(-128, 127))
    y = b.avg_pool(y, (1, 3), (1, 3), (0, 0, 1, 1), counted=(0, 0, 0, 0))
    graph = b.graph(b.conv(y, 4, (2, 4), (1, 4)))
    program, run, report = accelerator.run(graph, 0, runs=1)
    assert max(layer["panels"] for layer in explain(program)["layers"]) > 1
    assert report.counters == dict(run.counters)


@settings(max_examples=10)
@given(seed=SEEDS)
def test_every_instruction_takes_exactly_the_predicted_cycles(accelerator, seed):
    graph = graph_for(seed)
    _, run, report = accelerator.run(graph, seed, trace=True)
    predicted = [(r.index, r.unit.name, r.start, r.end) for r in run.trace]
    assert predicted == sorted((r.index, r.unit, r.start, r.end) for r in report.trace)
    assert report.counters == dict(run.counters)


@pytest.mark.parametrize("seed", range(4))
def test_random_stalls_and_latencies_change_cycles_but_no_result(accelerator, seed):
    graph = random_network(seed)
    _, _, steady = accelerator.run(graph, seed)
    model = accelerator.device.model
    model.set_stalls(Stalls(seed=seed + 1))
    model.set_dram(Dram(read_latency=60 + 50 * seed, write_latency=35))
    try:
        _, _, stalled = accelerator.run(graph, seed)
    finally:
        model.set_stalls(Stalls(seed=0, probability=0.0, jitter=0))
        model.set_dram(Dram())
    assert stalled.counters["CYCLES"] > steady.counters["CYCLES"]
    assert stalled.counters["CALC_ACTIVE"] == steady.counters["CALC_ACTIVE"]
