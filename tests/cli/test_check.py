import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from codesign import isa
from codesign.artifact import Program
from codesign.cli.check import compare
from codesign.cli.devices import open_device
from codesign.cli.session import encode
from codesign.ir import Conv2d, Graph, Tensor, Window
from codesign.reference.device import ReferenceDevice
from codesign.report.difference import first_difference
from codesign.report.trace import instructions
from tests.cli.conftest import Command


def test_equal_executions(program: Path, inputs: Path, codesign: Command) -> None:
    outcome = codesign("check", program, "--inputs", inputs)
    assert outcome.code == 0, outcome.err
    assert "graph = machine reference = RTL, bit for bit, on 3 samples" in outcome.out


def test_the_wait_for_the_simulator_is_announced(
    program: Path, inputs: Path, codesign: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codesign.cli.devices.RtlDevice", ReferenceDevice)
    outcome = codesign("check", program, "--inputs", inputs)
    assert outcome.code == 0, outcome.err
    assert "opening the simulator; its first use on an architecture builds it" in outcome.out


def damage(program: Path, path: Path, target: isa.Target) -> None:
    """Save the program with the last word of a memory's first LOAD changed."""
    loaded = Program.load(program)
    load = next(
        i
        for i in instructions(loaded, loaded.setup)
        if i.opcode is isa.Opcode.LOAD and i["target"] == target
    )
    image = bytearray(loaded.image)
    image[load["offset"]] ^= 0x40
    dataclasses.replace(loaded, image=bytes(image)).save(path)


def test_a_difference_is_placed(
    kept: Path, inputs: Path, tmp_path: Path, codesign: Command
) -> None:
    damage(kept, tmp_path / "bad.prog", isa.Target.WGT)
    outcome = codesign("check", tmp_path / "bad.prog", "--inputs", inputs)
    assert outcome.code == 1
    for kind in ("reference", "rtl"):
        assert (
            f"{kind} differs from the graph reference: samples from 0 on: layer '0'" in outcome.out
        )
    assert "channel 0: expected" in outcome.out


def test_a_program_without_kept_tensors_is_compiled_again(
    program: Path, values: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    damage(program, tmp_path / "bad.prog", isa.Target.WGT)
    bad = Program.load(tmp_path / "bad.prog")
    with open_device("reference", bad.arch) as device:
        verdict = compare(bad, tmp_path / "bad.prog", device, encode(bad, values), int)
    assert verdict is not None
    assert "the network agrees: compile the program again" in verdict


def graph() -> Graph:
    tensors = {name: Tensor(name, (2, 2, 3), 1.0, 0) for name in ("x", "a", "b")}
    one = np.ones(2, np.int32)
    ops = tuple(
        Conv2d(f"op_{y}", x, y, np.ones((2, 2, 1, 1), np.int8), one, one, one, Window((1, 1)))
        for x, y in (("x", "a"), ("a", "b"))
    )
    return Graph("g", 1, tensors, ops, ("x",), ("b",), {"op_a": "model.first"})


def test_the_first_difference_is_of_the_first_layer_then_pixel_then_channel() -> None:
    zeros = np.zeros((1, 2, 2, 3), np.int8)
    a, b = zeros.copy(), zeros.copy()
    a[0, 0, 1, 2] = 7
    a[0, 1, 1, 1] = 9
    b[0, 0, 0, 0] = 1
    found = first_difference(graph(), {"a": zeros, "b": zeros}, {"b": b, "a": a})
    assert str(found) == (
        "layer 'op_a' Conv2d (model.first), sample 0, pixel (y=1, x=1), channel 1: "
        "expected 0, found 9; 2 of 12 values of 'a' differ"
    )
    assert first_difference(graph(), {"a": zeros, "b": zeros}, {"b": zeros}) is None


def test_tensors_that_do_not_belong_are_refused() -> None:
    zeros = np.zeros((1, 2, 2, 3), np.int8)
    with pytest.raises(ValueError, match="no layer of 'g' produces tensor 'z'"):
        first_difference(graph(), {"z": zeros}, {"z": zeros})
    with pytest.raises(ValueError, match=r"tensor 'a' has shape \(2, 2, 3\), expected"):
        first_difference(graph(), {"a": zeros}, {"a": zeros[0]})
