"""Cycles in closed form against the machine reference, which the RTL equals cycle by cycle.

The architectures are random ones of seeds that were not looked at when the formulas were made.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from codesign import ir
from codesign.arch import preset
from codesign.artifact import Program
from codesign.compiler import compile as compile_graph
from codesign.compiler.layout import grid_width, plan
from codesign.compiler.lower import lower
from codesign.compiler.phases import separate_phases
from codesign.compiler.resident import pack_resident
from codesign.cost.archs import Archs
from codesign.cost.closed_form import Bound, Cycles, cycles
from codesign.cost.closed_form_fold import folded
from codesign.cost.closed_form_maps import Places
from codesign.cost.closed_form_memory import Reason, memory
from codesign.cost.validation import Difference, block_sparse, differences, random_arch
from codesign.cost.workload import Workload
from codesign.errors import CapacityError
from codesign.frontend.passes import simplify
from codesign.frontend.tflite import load_tflite
from codesign.frontend.torch_export import from_module
from codesign.isa import Target
from codesign.quant.quantize import quantize_network
from codesign.reference.memory import word_bytes
from codesign.zoo import demo
from codesign.zoo.resnet8 import resnet8
from tests.compiler.builder import Builder
from tests.compiler.networks import random_network

MODELS = Path(__file__).resolve().parents[3] / "shared" / "models"
"""MLPerf Tiny's reference networks beside the checkout, which are not part of the project."""
LAYER_ERROR, NETWORK_ERROR = 0.03, 0.05
FIELDS = [field.name for field in dataclasses.fields(Cycles) if field.name != "names"]


def quantised(make) -> ir.Graph:
    module, example = make()
    inputs = np.random.default_rng(0).random((2, *example.shape[1:])).astype(np.float32)
    return quantize_network(from_module(module, example), inputs)


@pytest.fixture(scope="module")
def graphs() -> list[ir.Graph]:
    return [quantised(resnet8), quantised(demo.network)]


def assert_close(found: list[Difference], least_pairs: int) -> None:
    layers = [at for at in found if at.layer is not None]
    totals = [at for at in found if at.layer is None]
    assert len(layers) >= least_pairs
    worst = max(layers, key=lambda at: at.error)
    assert worst.error <= LAYER_ERROR, worst
    worst = max(totals, key=lambda at: at.error)
    assert worst.error <= NETWORK_ERROR, worst


def test_layers_and_networks_are_close_to_the_reference(graphs: list[ir.Graph]) -> None:
    found = [
        one for seed in range(500, 511) for graph in graphs
        for one in differences(graph, random_arch(seed))
    ]  # fmt: skip
    assert_close(found, 200)


@pytest.mark.parametrize("seed", [4004, 4010])
def test_first_maps_of_words_narrower_than_a_beat(seed: int) -> None:
    """Their words are written one by one, with instructions on the bus beside them."""
    b = Builder(np.random.default_rng(seed))
    x = b.conv(b.input((1, 49, 10)), 64, kernel=(10, 4), stride=(2, 2), padding=(4, 5, 1, 1))
    graph = b.graph(b.linear(b.flatten(b.global_pool(x)), 12))
    assert_close(list(differences(graph, random_arch(seed))), 3)


@pytest.mark.slow
def test_sparse_networks_and_more_architectures_too(graphs: list[ir.Graph]) -> None:
    archs = [random_arch(seed) for seed in range(600, 630)]
    found = [
        one for number, arch in enumerate(archs)
        for graph in (*graphs, block_sparse(graphs[0], arch, 0.2 + number % 6 / 10, number))
        for one in differences(graph, arch)
    ]  # fmt: skip
    assert_close(found, 900)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ic_resnet8", "kws_dscnn", "ad_autoencoder"])
def test_reference_networks_too(name: str) -> None:
    path = MODELS / name / "model.tflite"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    graph = load_tflite(path).graph
    found = [one for seed in range(700, 715) for one in differences(graph, random_arch(seed))]
    assert_close(found, 100)


def test_a_block_sparse_network_without_its_weights(graphs: list[ir.Graph]) -> None:
    """Where the zeros lie is not known: the whole network is near, small layers may not be."""
    workload = Workload.of(graphs[0])
    dense = {at.name: 0.5 for at in workload.layers if "Conv" in at.op and not at.fold}
    for seed in range(520, 523):
        arch = random_arch(seed)
        program = compile_graph(block_sparse(graphs[0], arch, 0.5, seed), arch)
        found = cycles(workload.with_sparsity(dense), Archs.of([arch]))
        assert found.total[0] == pytest.approx(program.predicted_cycles, rel=NETWORK_ERROR)


def test_other_channels_are_another_network() -> None:
    wide, narrow = (
        Workload.of_network(simplify(from_module(*make())))
        for make in (demo.network, demo.small_network)
    )
    pairs = zip(wide.layers, narrow.layers, strict=True)
    channels = {at.target: other.out_channels for at, other in pairs if at is not wide.layers[-1]}
    archs = Archs.of([random_arch(seed) for seed in range(530, 560)])
    found, expected = cycles(wide.with_channels(channels), archs), cycles(narrow, archs)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)


def test_pairs_are_told_one_by_one_as_they_are_told_together(graphs: list[ir.Graph]) -> None:
    archs = [random_arch(seed) for seed in range(560, 580)]
    rng = np.random.default_rng(0)
    workload = Workload.of(graphs[0])
    joined, inner = workload.layers[2].target, workload.layers[1].target
    pairs = workload.with_channels(
        {joined: rng.integers(4, 17, 20), inner: rng.integers(4, 17, 20)}
    ).with_sparsity({workload.layers[4].name: rng.random(20)})
    together = cycles(pairs, Archs.of(archs))
    for number, arch in enumerate(archs):
        alone = cycles(pairs.take(np.array([number])), Archs.of([arch]))
        for name in FIELDS:
            assert (getattr(together, name)[..., number] == getattr(alone, name)[..., 0]).all()


def test_random_networks_mostly_are_close() -> None:
    """Of any shape: maps as outputs and several outputs are told less exactly."""
    found = [
        one for seed in range(40)
        for one in differences(
            dataclasses.replace(random_network(seed), batch=1), random_arch(seed)
        )
    ]  # fmt: skip
    layers = np.array([at.error for at in found if at.layer is not None])
    assert (layers <= LAYER_ERROR).mean() >= 0.93
    totals = np.array([at.error for at in found if at.layer is None])
    assert (totals <= NETWORK_ERROR).mean() >= 0.85
    assert totals.max() < 0.3


@pytest.mark.parametrize("seed", range(590, 596))
def test_maps_and_memories_are_laid_out_as_the_compiler_does(seed: int) -> None:
    arch = random_arch(seed)
    b = Builder(np.random.default_rng(seed))
    x = b.conv(b.input((3, 17, 14)), 20, clamp=(-128, 127))
    y = b.conv(x, 24, stride=(2, 2), density=0.7)
    y = b.max_pool(b.conv(y, 24, groups=24), (2, 2), (2, 2))
    graph = b.graph(b.linear(b.flatten(b.global_pool(b.table(y))), 10))
    network = separate_phases(lower(graph, arch), arch)
    storages = plan(network, arch)
    archs = Archs.of([arch])
    ((_, workload),) = [at for at in folded(Workload.of(graph), archs) if at[0].any()]
    places = Places.plan(workload, archs)
    for name, at in storages.items():
        found = places.of[name]
        for field in ("planes", "pitch", "phase_rows", "skew", "rows"):
            assert getattr(found, field)[0] == getattr(at, field), (name, field)
    for layer, shape in zip(network.layers, workload.layers, strict=True):
        assert places.grid_width(shape)[0] == grid_width(network, arch, storages, layer)
    contents = pack_resident(network, arch, storages).contents
    held = memory(places)
    for target, words in (
        (Target.WGT, held.wgt),
        (Target.PARAM, held.param),
        (Target.TAP, held.tap),
    ):
        assert words[0] == len(contents[target]) // word_bytes(arch, target), target


def compiled(graph: ir.Graph, arch) -> Program | CapacityError:
    try:
        return compile_graph(graph, arch)
    except CapacityError as error:
        return error


def test_reasons_name_the_memory_and_what_it_lacks(graphs: list[ir.Graph]) -> None:
    arch = preset("pynq_z2").replace(tables=1, acc_bits=24)
    b = Builder(np.random.default_rng(0))
    x = b.input((8, 6, 6))
    for _ in range(2):
        x = b.table(b.conv(x, 8))
    found = cycles(Workload.of(b.graph(x)), Archs.of([arch]))
    assert (found.cause[0], found.needed[0], found.limit[0]) == (Reason.TABLE, 2, 1)
    assert found.reason(0) == "the network needs 2 tables, the architecture has 1"
    small = Archs.of([preset("pynq_z2").replace(wgt_depth=500), preset("pynq_z2")])
    found = cycles(Workload.of(graphs[0]), small)
    assert found.cause.tolist() == [Reason.WGT, Reason.NONE]
    assert found.resident.tolist() == [False, True]
    assert found.reason(1) == ""


def test_bounds_say_what_takes_the_time(graphs: list[ir.Graph]) -> None:
    found = cycles(Workload.of(graphs[0]), Archs.of([preset("pynq_z2"), preset("zcu104")]))
    bounds = dict(zip(found.names, found.bound.tolist(), strict=True))
    assert bounds["stacks.0.conv1"] == [Bound.ARRAY, Bound.ARRAY]
    assert bounds["conv"] == [Bound.ARRAY, Bound.DRAM]
    assert bounds["classifier"] == [Bound.LATENCY, Bound.LATENCY]


def test_arrays_of_another_length_are_refused(graphs: list[ir.Graph]) -> None:
    workload = Workload.of(graphs[0])
    some = workload.with_channels({workload.layers[1].target: np.array([8, 12])})
    with pytest.raises(ValueError, match="2 networks for 3 architectures"):
        cycles(some, Archs.of([preset("pynq_z2")] * 3))
    assert len(cycles(workload, Archs.of([])).total) == 0


@pytest.mark.parametrize("batch", [2, 5])
def test_batches_are_near(graphs: list[ir.Graph], batch: int) -> None:
    for graph in graphs:
        for arch in (preset("pynq_z2"), preset("zcu104")):
            program = compile_graph(dataclasses.replace(graph, batch=batch), arch)
            workload = Workload.of(dataclasses.replace(graph, batch=batch))
            found = cycles(workload, Archs.of([arch]))
            assert found.resident[0]
            assert found.total[0] == pytest.approx(program.predicted_cycles, rel=0.15)


@pytest.mark.slow
def test_what_does_not_fit_is_estimated(graphs: list[ir.Graph]) -> None:
    """Whether it is resident or fits at all is told with hardly an error, its cycles roughly."""
    ratios, right, count = [], 0, 0
    for seed in range(800, 830):
        rng = np.random.default_rng(seed)
        arch = random_arch(seed).replace(
            act_depth=int(rng.choice([96, 192, 384, 768])),
            wgt_depth=int(rng.choice([128, 512, 2048])),
            param_depth=int(rng.choice([16, 64, 256])),
            tap_depth=int(rng.choice([64, 256, 1024])),
            regions=int(rng.choice([2, 3, 4])),
        )
        for graph in graphs:
            program = compiled(graph, arch)
            found = cycles(Workload.of(graph), Archs.of([arch]))
            fits = isinstance(program, Program)
            right += fits == found.fits[0]
            count += 1
            if isinstance(program, Program) and found.fits[0] and not found.resident[0]:
                ratios.append(found.total[0] / program.predicted_cycles)
    assert right / count >= 0.95
    assert len(ratios) >= 15
    assert min(ratios) >= 0.55
    assert max(ratios) <= 1.9
    assert 0.8 <= np.median(ratios) <= 1.4
