import dataclasses
import json
import zipfile

import numpy as np
import pytest

from codesign import ir, isa, registers
from codesign.arch import preset
from codesign.artifact import (
    MANIFEST_DIGEST,
    HostStep,
    LayerSpan,
    MapLayout,
    Part,
    Program,
    manifest_digest,
)
from codesign.cost.energy import EnergyModel, Event
from codesign.errors import ProgramError


@pytest.fixture
def graph():
    rng = np.random.default_rng(1)
    tensors = {
        "x": ir.Tensor("x", (3, 4, 4), 0.5, -3),
        "c": ir.Tensor("c", (5, 2, 2), 0.25, 7),
        "p": ir.Tensor("p", (5, 2, 2), 0.25, 7),
        "t": ir.Tensor("t", (5, 2, 2), 0.25, 7),
    }
    window = ir.Window((3, 3), (2, 2), (1, 0, 1, 0))
    conv = ir.Conv2d(
        "conv", "x", "c",
        rng.integers(-127, 128, (5, 3, 3, 3)).astype(np.int8),
        rng.integers(-99, 99, 5).astype(np.int32),
        rng.integers(1 << 23, 1 << 24, 5).astype(np.int32),
        np.full(5, 24, np.int32),
        window,
    )  # fmt: skip
    pool = ir.MaxPool2d("pool", "c", "p", ir.Window((1, 1)))
    table = ir.Table("table", "p", "t", np.arange(-128, 128).astype(np.int8)[::-1].copy())
    return ir.Graph(
        "net", 2, tensors, (conv, pool, table), ("x",), ("t",), {"conv": "Net.features.0"}
    )


@pytest.fixture
def program(graph):
    layout = MapLayout("x", (3, 4, 4), 2, 0.5, -3, 0, 4, 2, True, 16, 64, 64, ((0, 0), (0, -1)))
    return Program(
        name="net", arch=preset("tiny"), graph=graph, image=bytes(range(256)) * 4,
        setup=Part(0, 3), infer=Part(192, 7), inputs=(layout,),
        outputs=(dataclasses.replace(layout, name="t"),), input_bytes=128, output_bytes=256,
        scratch_bytes=16, layers=(LayerSpan("conv", "Conv2d", 1, 5, 1234),),
        tensors={"c": layout}, predicted_cycles=321, seed=9, versions={"codesign": "0"},
        host_steps=(HostStep("softmax", "t", {"beta": 1.0}),),
        energy=EnergyModel("xc7", "pynq-z2", "literature", 1.0, 1.5,
                           (Event("dense_mac", "compute", 2.0, 8.0, {"CALC_ACTIVE": 48.0}),),
                           {"conv": {"dense_mac": 96.0}}),
    )  # fmt: skip


def assert_same(a, b):
    for field in dataclasses.fields(a):
        left, right = getattr(a, field.name), getattr(b, field.name)
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right)
        elif field.name == "ops":
            assert [type(op) for op in left] == [type(op) for op in right]
            for one, other in zip(left, right, strict=True):
                assert_same(one, other)
        elif field.name == "graph":
            assert_same(left, right)
        else:
            assert left == right, field.name


def test_load_returns_what_save_wrote(tmp_path, program):
    program.save(tmp_path / "net.program")
    assert_same(program, Program.load(tmp_path / "net.program"))
    assert [path.name for path in tmp_path.iterdir()] == ["net.program"]


def test_equal_programs_are_equal_files(tmp_path, program):
    program.save(tmp_path / "a")
    program.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_manifest_tells_the_host_what_it_needs(tmp_path, program):
    program.save(tmp_path / "a")
    with zipfile.ZipFile(tmp_path / "a") as archive:
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest["registers"] == registers.OFFSETS
    assert manifest["errors"]["WATCHDOG"] == isa.ErrorCode.WATCHDOG
    assert manifest["fingerprint"] == preset("tiny").fingerprint
    assert manifest["control"]["start"] == registers.CONTROL_START
    assert set(manifest["counters"]) == set(registers.COUNTERS)
    assert manifest["units"] == ["LOAD", "CALC", "SAVE", "FETCH"]


def rewrite(path, name, change):
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    members[name] = change(members[name])
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)


def edit_manifest(**changes):
    """What a wrong writer would make: the digest is that of the changed manifest."""

    def change(text):
        values = {**json.loads(text), **changes}
        del values[MANIFEST_DIGEST]
        return json.dumps({**values, MANIFEST_DIGEST: manifest_digest(values)}).encode()

    return change


@pytest.mark.parametrize(
    ("member", "change", "message"),
    [
        ("image.bin", lambda data: data[:-1] + b"\0", "the image does not match its digest"),
        ("graph.npz", lambda data: data + b"\0", "the graph does not match its digest"),
        ("manifest.json", edit_manifest(format=99), "has format 99, this version reads 4"),
        ("manifest.json", lambda text: text.replace(b'"seed": 9', b'"seed": 8'),
         "the manifest does not match its digest"),
        ("manifest.json", edit_manifest(isa_version=0), "is for instruction set 0"),
        ("manifest.json", edit_manifest(fingerprint=0), "another fingerprint"),
        ("manifest.json", edit_manifest(setup={}), "the manifest is damaged"),
        ("manifest.json", lambda text: text[:-9], "is not a program"),
    ],
)  # fmt: skip
def test_damage_is_refused(tmp_path, program, member, change, message):
    program.save(tmp_path / "a")
    rewrite(tmp_path / "a", member, change)
    with pytest.raises(ProgramError, match=message):
        Program.load(tmp_path / "a")


def test_truncated_file_is_refused(tmp_path, program):
    program.save(tmp_path / "a")
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(data[: len(data) // 2])
    with pytest.raises(ProgramError, match="compile the network again"):
        Program.load(tmp_path / "a")


def test_failed_save_leaves_the_old_file(tmp_path, program):
    program.save(tmp_path / "a")
    before = (tmp_path / "a").read_bytes()
    with pytest.raises(TypeError):
        dataclasses.replace(program, image="no bytes").save(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_any_damaged_byte_is_refused_or_harmless(tmp_path, program):
    path = tmp_path / "a"
    program.save(path)
    content = path.read_bytes()
    for position in range(0, len(content), 17):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            found = Program.load(path)
        except ProgramError:
            continue
        assert_same(found, program)


def test_a_map_without_scale_is_refused(tmp_path, program):
    layout = dataclasses.replace(program.inputs[0], scale=0.0)
    dataclasses.replace(program, inputs=(layout,)).save(tmp_path / "a")
    with pytest.raises(ProgramError, match=r"map 'x' has scale 0\.0"):
        Program.load(tmp_path / "a")


def test_a_program_is_as_readable_as_any_file(tmp_path, program):
    program.save(tmp_path / "a")
    (tmp_path / "other").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "other").stat().st_mode
