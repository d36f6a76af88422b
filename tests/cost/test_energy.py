"""The energy model: its coefficients, its events against instructions, references and hardware."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import yaml

from codesign.arch import preset
from codesign.artifact import Program
from codesign.compiler import compile
from codesign.cost import energy_file
from codesign.cost.energy import EVENTS, GROUPS
from codesign.cost.energy_events import (
    BYTE_OF,
    energy_model,
    inference_counts,
    layer_counts,
    predicted_energy,
)
from codesign.isa import Base, Opcode, Target
from codesign.reference.calc import walk
from codesign.reference.device import ReferenceDevice
from codesign.reference.memory import Memories, Transfer, load
from codesign.reference.predict import predicted_run
from codesign.report.trace import instructions, layer_of
from host.driver import Accelerator
from sim.benches import network
from sim.device import RtlDevice
from tests.compiler.builder import Builder

TINY = preset("tiny")
BOARDS = {"pynq-z1", "pynq-z2", "ultra96v2", "aup-zu3", "zcu104", "kv260"}


@pytest.fixture(scope="module")
def program() -> Program:
    return compile(network.graph(), TINY)


def mixed() -> Program:
    """A program with every mode, a residual and a table."""
    b = Builder(np.random.default_rng(0))
    x = b.input((8, 9, 7))
    y = b.conv(x, 8, (3, 3))
    y = b.conv(y, 8, (3, 3), groups=8)
    y = b.add(y, x)
    y = b.table(y)
    return compile(b.graph(b.max_pool(y, (2, 2), (2, 2))), TINY)


def test_every_board_has_coefficients():
    found = energy_file.load(energy_file.OWN)
    assert found.keys() == BOARDS
    assert all(at.energy_pj.keys() == set(EVENTS) for at in found.values())
    assert found["pynq-z2"].family == "xc7"
    assert found["zcu104"].family == "xcup"
    assert all(at.uncertainty > 0 for at in found.values())
    known = {"pynq-z2", "kv260"}
    assert {board for board, at in found.items() if at.origin == "literature"} == known
    guessed = {at.origin for board, at in found.items() if board not in known}
    assert guessed == {"literature; static power assumed"}


def test_reports_tell_that_static_power_is_assumed(tmp_path):
    arch = TINY.replace(board="zcu104")
    made = compile(network.graph(), arch)
    made.save(tmp_path / "net.prog")
    with ReferenceDevice(arch) as device, Accelerator(device) as accelerator:
        accelerator.load(tmp_path / "net.prog")
        accelerator.run(network.inputs(made.graph.batch))
        text = str(accelerator.report())
    assert "uJ modelled, within a factor of 2" in text
    assert "; literature; static power assumed)" in text


def test_what_is_assumed_is_true_or_false(tmp_path):
    families = yaml.safe_load(energy_file.OWN.read_text())
    families["families"]["xcup"]["boards"]["zcu104"]["assumed"] = "perhaps"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(families))
    with pytest.raises(ValueError, match="'zcu104': assumed must be true or false, not 'perhaps'"):
        energy_file.load(tmp_path / "mine.yaml")


def test_every_coefficient_tells_its_source():
    families = yaml.safe_load(energy_file.OWN.read_text())["families"]
    entries = [
        entry
        for family in families.values()
        for part in ("energy_pj", "boards")
        for entry in family[part].values()
    ]
    assert len(entries) == 2 * len(EVENTS) + len(BOARDS)
    assert all(len(entry["source"]) > 5 for entry in entries)


def test_coefficients_survive_a_file(tmp_path):
    one = energy_file.find("kv260")
    assert one is not None
    (tmp_path / "mine.yaml").write_text(energy_file.dump(one))
    assert energy_file.find("kv260", tmp_path / "mine.yaml") == one
    assert energy_file.find("zcu104", tmp_path / "mine.yaml") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3", "holds no energy coefficients: families must be a mapping"),
        ("{", "is not YAML"),
        ("families: {xc7: {energy_pj: {dense_mac: {value: x}}, boards: {b: {}}}}",
         "family 'xc7', dense_mac: value must be a number, not 'x'"),
        ("families: {xc7: {energy_pj: {dense_mac: {value: 1}}, uncertainty: 1,"
         " boards: {b: {static_w: 1}}}}",
         "family 'xc7': energy_pj has"),
        ("families: {xc7: {energy_pj: {}, uncertainty: 1, boards: {b: {static_w: true}}}}",
         "board 'b': static_w must be a number, not True"),
    ],
)  # fmt: skip
def test_wrong_files_are_refused(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        energy_file.load(path)


def test_negative_coefficients_are_refused():
    one = energy_file.find("kv260")
    assert one is not None
    with pytest.raises(ValueError, match=r"static_w=-1.*never negative"):
        dataclasses.replace(one, static_w=-1.0)
    with pytest.raises(ValueError, match="give one for each of dense_mac"):
        dataclasses.replace(one, energy_pj={"dense_mac": 1.0})


def test_taps_are_what_the_counter_counts(program):
    array, _ = inference_counts(program)
    run = predicted_run(program)
    lanes = TINY.pixels * TINY.in_channels
    assert (
        array["dense_mac"] / TINY.out_channels + array["depthwise_mac"] + array["max_compare"]
        == run.counters["CALC_ACTIVE"] * lanes
    )


def test_results_and_bytes_follow_the_walk():
    made = mixed()
    memories = Memories(TINY)
    image = np.frombuffer(made.image, np.uint8)
    results = table = residual = steps = 0
    moved = Counter()
    for part in (made.setup, made.infer):
        for i in instructions(made, part):
            if i.opcode in (Opcode.LOAD, Opcode.SAVE):
                transfer = Transfer.of(TINY, i)
                if i.opcode is Opcode.LOAD and i["base"] == Base.PROGRAM:
                    load(memories, transfer, image)
                if part is made.infer:
                    moved[transfer.target] += transfer.words.size * transfer.word_bytes
            if i.opcode is Opcode.CALC:
                path = walk(TINY, i, memories.taps(i["tap_base"], i["taps"]))
                values = int(path.written.sum()) * i["planes"] * TINY.in_channels
                results += values
                table += values if i["table"] else 0
                residual += values if path.residual is not None else 0
                steps += i["groups"] * i["planes"] * (TINY.pixels // TINY.drain)
    array, rest = inference_counts(made)
    assert min(array[name] for name in GROUPS["compute"][:3]) > 0
    assert rest["requantize"] == results
    assert rest["table_byte"] == table + moved[Target.TABLE] > 0
    assert rest["act_byte"] == results + residual + moved[Target.ACT]
    assert residual > 0
    assert rest["wgt_byte"] == moved[Target.WGT]
    assert rest["param_byte"] == steps * TINY.param_word_bytes + moved[Target.PARAM]


def test_layers_add_up_but_for_transfers_of_none(program):
    array, rest = inference_counts(program)
    counted = array + rest
    names = layer_of(program.layers)
    for index, instruction in enumerate(instructions(program, program.infer)):
        if index not in names and instruction.opcode in (Opcode.LOAD, Opcode.SAVE):
            transfer = Transfer.of(TINY, instruction)
            counted[BYTE_OF[transfer.target]] -= transfer.words.size * transfer.word_bytes
    layers = layer_counts(program)
    for name in set(EVENTS) - {"dram_byte"}:
        assert sum(at.get(name, 0) for at in layers.values()) == counted[name]
    run = predicted_run(program)
    beats = run.counters["READ_BEATS"] + run.counters["WRITE_BEATS"]
    total = sum(at.get("dram_byte", 0) for at in layers.values())
    assert 0 < total <= beats * TINY.beat_bytes


def test_energy_is_static_power_and_events(program):
    coefficients = energy_file.find("pynq-z2")
    assert coefficients is not None
    run = predicted_run(program)
    model = energy_model(program, coefficients)
    assert model == program.energy
    found = model.estimate(run.counters, 1e-3)
    assert found.static_uj == pytest.approx(coefficients.static_w * 1e3)
    compute = sum(found.events[n] * coefficients.energy_pj[n] for n in GROUPS["compute"]) / 1e6
    assert found.compute_uj == pytest.approx(compute)
    beats = run.counters["READ_BEATS"] + run.counters["WRITE_BEATS"]
    assert found.dram_uj == pytest.approx(beats * 8 * coefficients.energy_pj["dram_byte"] / 1e6)
    parts = (found.compute_uj, found.on_chip_uj, found.dram_uj, found.static_uj)
    assert found.total_uj == pytest.approx(sum(parts))
    name = program.layers[0].name
    assert model.layer_uj(name, 0) > 0
    static = model.layer_uj(name, 1e-3) - model.layer_uj(name, 0)
    assert static == pytest.approx(coefficients.static_w * 1e3)


def test_other_boards_have_none():
    made = compile(network.graph(), TINY.replace(board="mine"))
    assert made.energy is None
    assert predicted_energy(made) is None


def test_hardware_and_reference_count_the_same_events(program, tmp_path):
    program.save(tmp_path / "net.prog")
    with RtlDevice(TINY) as device, Accelerator(device) as accelerator:
        accelerator.load(tmp_path / "net.prog")
        accelerator.run(network.inputs(program.graph.batch))
        measured = accelerator.report()
    predicted = predicted_energy(program)
    assert predicted is not None
    assert measured.energy is not None
    assert measured.energy.events == predicted.events
    assert measured.energy.source == "modelled"
    for part in ("total", "compute", "on_chip", "dram", "static"):
        found, told = (getattr(at, f"{part}_uj") for at in (measured.energy, predicted))
        assert found == pytest.approx(told, rel=1e-12)
