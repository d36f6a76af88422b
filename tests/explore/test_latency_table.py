"""Latency tables: rows against the closed form of whole networks, files, errors."""

import dataclasses
import json

import numpy as np
import pytest

from codesign.arch import preset
from codesign.cost import energy_file
from codesign.cost.archs import Archs
from codesign.cost.closed_form import cycles
from codesign.cost.workload import Workload
from codesign.explore import choices
from codesign.explore.choices import Choice, LayerChoices
from codesign.explore.estimate import cost
from codesign.explore.latency_table import LatencyTable, latency_table
from codesign.frontend import network as net
from codesign.frontend.passes import simplify
from codesign.ir import Window

TINY = preset("tiny")
PYNQ = preset("pynq_z2")


def chain(*layers: Choice) -> net.Network:
    """A network of convolutions, one behind the other."""
    shapes = {"x": (layers[0].in_channels, *layers[0].size)}
    ops, last = [], "x"
    for number, at in enumerate(layers):
        groups = at.in_channels if at.op == "depthwise" else 1
        weight = np.ones((at.out_channels, at.in_channels // groups, *at.kernel), np.float32)
        pad = at.kernel[0] // 2
        window = Window(at.kernel, at.stride, (pad,) * 4)
        name = f"y{number}"
        bias = np.zeros(at.out_channels, np.float32)
        op = net.Conv2d(f"layer{number}", last, name, weight, bias, window, groups)
        shapes[name] = net.output_shape(op, shapes)
        ops.append(op)
        last = name
    return net.Network("chain", shapes, tuple(ops), ("x",), (last,))


NETWORK = (
    Choice(3, 16, size=(24, 24)),
    Choice(16, 32, stride=(2, 2), size=(24, 24)),
    Choice(32, 32, "depthwise", size=(12, 12)),
    Choice(32, 48, kernel=(1, 1), size=(12, 12)),
    Choice(48, 16, kernel=(5, 5), size=(12, 12)),
)


def table_of(layers: tuple[Choice, ...], arch) -> LatencyTable:
    position = {0: "first", len(layers) - 1: "last"}
    return latency_table(
        {
            f"layer{number}": LayerChoices(position.get(number, "inner"), (at,))
            for number, at in enumerate(layers)
        },
        arch,
    )


@pytest.mark.parametrize("arch", [TINY.replace(act_depth=2048), PYNQ, preset("zcu104")])
def test_rows_add_up_to_the_network(arch):
    """The tolerance that docs/explore.md tells."""
    table = table_of(NETWORK, arch)
    found = cycles(Workload.of_network(simplify(chain(*NETWORK))), Archs.of([arch]))
    assert table.total(dict.fromkeys(table.layers, 0), "cycles") == pytest.approx(
        float(found.total[0]), rel=0.01
    )


@pytest.mark.parametrize("arch", [PYNQ, preset("zcu104")])
def test_energies_add_up_too(arch):
    table = table_of(NETWORK, arch)
    found = cost(simplify(chain(*NETWORK)), arch)
    assert found.energy is not None
    total = table.total(dict.fromkeys(table.layers, 0), "energy_uj")
    assert total == pytest.approx(found.energy.total_uj, rel=0.01)


def test_boards_without_coefficients_have_no_energy(monkeypatch):
    monkeypatch.setattr(energy_file, "find", lambda board, path=None: None)
    table = table_of(NETWORK, PYNQ)
    assert table.column("layer0", "cycles")[0] > 0
    with pytest.raises(ValueError, match="board 'pynq-z2' has no energy coefficients"):
        table.column("layer0", "energy_uj")


def test_inner_rows_are_the_layers_of_the_network():
    table = table_of(NETWORK, PYNQ)
    found = cycles(Workload.of_network(simplify(chain(*NETWORK))), Archs.of([PYNQ]))
    for number in range(1, len(NETWORK) - 1):
        row = table.layers[f"layer{number}"][0]
        assert row.cycles == pytest.approx(float(found.layers[number, 0]), rel=0.01)
        assert row.latency_ms == pytest.approx(row.cycles / PYNQ.clock_mhz / 1000)


def test_rows_know_their_choices():
    kernels = tuple(Choice(64, 16, kernel=(k, k), size=(16, 16)) for k in (1, 3, 5))
    sparse = dataclasses.replace(kernels[1], sparsity=0.5)
    table = latency_table({"a": LayerChoices("inner", (*kernels, sparse))}, PYNQ)
    one, three, five, half = table.column("a", "cycles")
    assert 8 < three / one <= 9
    assert 2.7 < five / three < 2.8
    assert 0.45 < half / three < 0.7
    assert table.find("a", sparse).cycles == half
    assert [row.macs for row in table.layers["a"]][:3] == [256 * 64 * 16 * k * k for k in (1, 3, 5)]


def test_what_is_skipped_takes_no_time():
    body = (Choice(8, 8, size=(8, 8)), Choice(8, 8, "skip", size=(8, 8)))
    table = latency_table({"body": LayerChoices("inner", body)}, TINY)
    assert table.column("body", "cycles")[1] == 0


def test_blocks_cost_what_their_layers_do():
    block = Choice(8, 16, "mbconv", stride=(2, 2), size=(16, 16), expand=4)
    parts = (
        Choice(8, 32, kernel=(1, 1), size=(16, 16)),
        Choice(32, 32, "depthwise", stride=(2, 2), size=(16, 16)),
        Choice(32, 16, kernel=(1, 1), size=(8, 8)),
    )
    table = latency_table(
        {"block": LayerChoices("inner", (block,)), "parts": LayerChoices("inner", parts)}, PYNQ
    )
    total = table.column("parts", "cycles").sum()
    assert float(table.column("block", "cycles")[0]) == pytest.approx(total, rel=0.02)
    assert table.column("block", "macs")[0] == table.column("parts", "macs").sum()


def test_what_does_not_stay_on_chip_says_so():
    small = Choice(16, 16, size=(8, 8))
    large = Choice(64, 64, size=(6, 6))
    table = latency_table({"a": LayerChoices("inner", (small, large))}, TINY)
    assert [row.resident for row in table.layers["a"]] == [True, False]
    assert table.column("a", "dram_bytes")[1] > 9 * 64 * 64


def test_tables_survive_a_file(tmp_path):
    table = table_of(NETWORK, PYNQ)
    table.save(tmp_path / "table.json")
    assert LatencyTable.load(tmp_path / "table.json") == table
    data = json.loads((tmp_path / "table.json").read_text())
    assert (data["word"], data["fingerprint"]) == ("predicted", f"{PYNQ.fingerprint:08x}")


def test_a_table_is_for_one_architecture():
    table = table_of(NETWORK, PYNQ)
    table.check(PYNQ.replace(name="mine", clock_mhz=100.0))
    with pytest.raises(ValueError, match="the table is for 'pynq_z2'"):
        table.check(PYNQ.replace(pixels=5))


def test_wrong_files_are_refused(tmp_path):
    path = tmp_path / "table.json"
    table_of(NETWORK, PYNQ).save(path)
    data = json.loads(path.read_text())

    def refused(message: str, **changes: object) -> None:
        path.write_text(json.dumps(data | changes))
        with pytest.raises(ValueError, match=message):
            LatencyTable.load(path)

    refused("is no latency table; `codesign estimate --table` writes one", format="other")
    refused("was made for another version of the machine", fingerprint="00000000")
    refused("KeyError: 'rows'", layers={"a": {"position": "inner"}})
    wrong = dict(data["layers"]["layer0"]["rows"][0], cycles=-1)
    refused("is negative", layers={"a": {"position": "inner", "rows": [wrong]}})
    path.write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        LatencyTable.load(path)


def test_wrong_questions_are_refused():
    table = table_of(NETWORK, PYNQ)
    with pytest.raises(ValueError, match="no layer 'layer9'; it has layer0, layer1"):
        table.column("layer9")
    with pytest.raises(ValueError, match="no figure 'watts'; it has cycles"):
        table.column("layer0", "watts")
    with pytest.raises(ValueError, match="no row for"):
        table.find("layer0", NETWORK[1])
    with pytest.raises(ValueError, match="one row of each layer of the table; 'layer1' is not so"):
        table.total({"layer0": 0})
    with pytest.raises(ValueError, match=r"'layer0' has rows 0\.\.0, not 1"):
        table.total(dict.fromkeys(table.layers, 1))
    with pytest.raises(ValueError, match="no layer has choices"):
        latency_table({}, PYNQ)


def test_a_choice_that_cannot_run_is_named():
    huge = Choice(4, 4, size=(4096, 4096))
    with pytest.raises(ValueError, match=r"layer 'a': .*'size': 4096.* needs 11184812 ACT rows"):
        latency_table({"a": LayerChoices("inner", (huge,))}, TINY)


def test_steps_of_channels_cost_nothing_between():
    inner = choices.steps(PYNQ, "out_channels", 24)
    at = [Choice(16, c, size=(8, 8)) for c in (*inner, inner[1] - 3)]
    column = latency_table({"a": LayerChoices("inner", tuple(at))}, PYNQ).column("a", "cycles")
    assert (np.diff(column[:-1]) > 0).all()
    assert column[-1] == column[1]
