"""Choices of layers in YAML, and the networks that stand for them."""

import pytest

from codesign.arch import preset
from codesign.errors import ExplorationError
from codesign.explore import choices
from codesign.explore.choices import Choice, LayerChoices
from codesign.frontend import network as net

TINY = preset("tiny")
WIDE = TINY.replace(in_channels=8, out_channels=16)


def loaded(tmp_path, text: str, arch=TINY) -> dict[str, LayerChoices]:
    (tmp_path / "choices.yaml").write_text(text)
    return choices.load(tmp_path / "choices.yaml", arch)


def test_lists_are_multiplied_out_the_last_field_fastest(tmp_path):
    text = "layers: {a: {in_channels: 8, out_channels: [8, 16], kernel: [1, 3], size: 12x10}}"
    found = loaded(tmp_path, text)["a"]
    assert found.position == "inner"
    assert [(at.out_channels, at.kernel) for at in found.choices] == [
        (8, (1, 1)), (8, (3, 3)), (16, (1, 1)), (16, (3, 3)),
    ]  # fmt: skip
    assert {at.size for at in found.choices} == {(12, 10)}


def test_alternatives_follow_each_other_and_none_comes_twice(tmp_path):
    text = """
    layers:
      body:
        - {op: mbconv, in_channels: 8, out_channels: 8, expand: [3, 3, 6], size: 8}
        - {op: skip, in_channels: 8, size: 8}
    """
    found = loaded(tmp_path, text)["body"].choices
    assert [(at.op, at.expand) for at in found] == [("mbconv", 3), ("mbconv", 6), ("skip", 1)]


def test_up_to_takes_the_steps_of_the_architecture(tmp_path):
    text = "layers: {a: {in_channels: {up_to: 20}, out_channels: {up_to: 40}, size: 8}}"
    found = loaded(tmp_path, text, WIDE)["a"].choices
    assert sorted({at.in_channels for at in found}) == [8, 16, 24]
    assert sorted({at.out_channels for at in found}) == [16, 32, 48]


def test_what_follows_from_the_operation_is_left_out():
    pool = Choice.from_dict({"op": "max_pool", "in_channels": 8, "kernel": 2, "size": 8})
    assert (pool.out_channels, pool.stride) == (8, (2, 2))
    linear = Choice.from_dict({"op": "linear", "in_channels": 8, "out_channels": 10})
    assert (linear.kernel, linear.size) == ((1, 1), (1, 1))


@pytest.mark.parametrize("op", choices.OPS)
def test_a_choice_survives_its_dictionary(op):
    values = {"op": op, "in_channels": 8, "out_channels": 8}
    if op not in ("linear", "skip"):
        values |= {"kernel": "2x4", "size": "12x10"}
    if op in ("conv", "mbconv", "linear"):
        values |= {"sparsity": 0.5}
    made = Choice.from_dict(values)
    assert Choice.from_dict(made.to_dict()) == made
    assert choices.shown(made).startswith(f"{op} 8>8")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not YAML"),
        ("3", "must be a mapping, with `layers`"),
        ("layers: {}", "layers: declares no choices; give each layer its fields"),
        ("layer: {}", "layers: is missing"),
        ("layers: {a: 3}", "yaml:1: layers.a: 3 is neither a layer's fields nor a list"),
        ("layers:\n  a: {}\n  a: {}", "yaml:3: layers.a stands twice, before in line 2"),
        ("layers: {a: [{op: skip, op: conv}]}", "layers.a.0.op stands twice"),
        ("layers: {a: {in_channels: {up_to: 0}, out_channels: 8}}", "up_to 0: must be 1 or more"),
        ("layers: {a: {in_channels: 8, out_channels: 8, expand: 3}}", "expand is of mbconv"),
        ("layers: {a: {op: skip, in_channels: 8, sparsity: 0.5}}", "skip has no such blocks"),
        ("layers: {a: {in_channels: 8, size: 8}}", "out_channels is missing"),
        ("layers: {a: {in_chanels: 8}}", "unknown field 'in_chanels'; there are op, in_channels"),
        ("layers: {a: {position: end, in_channels: 8}}", "must be one of first, inner, last"),
        ("layers: {a: {in_channels: 8.5, out_channels: 8}}", "a whole number, not 8.5"),
        ("layers: {a: {in_channels: 8, out_channels: 8, size: 8x}}", "such as 10x4, not '8x'"),
        ("layers: {a: {in_channels: 8, out_channels: 8, size: 0}}", "are 1 or more"),
        ("layers: {a: {in_channels: 8, out_channels: 8, sparsity: 2}}", "outside 0..1"),
        ("layers: {a: {in_channels: 8, out_channels: 8, residual: 1}}", "true or false, not 1"),
        ("layers: {a: {in_channels: 8, out_channels: []}}", "out_channels is an empty list"),
        ("layers: {a: {in_channels: 8, out_channels: 8, size: {up_to: 8}}}", "of channels"),
        ("layers: {a: {op: gru, in_channels: 8, out_channels: 8}}", "op 'gru' is none of conv"),
        ("layers: {a: {op: depthwise, in_channels: 8, out_channels: 4}}", "keeps its channels"),
        ("layers: {a: {in_channels: 8, out_channels: 4, residual: true}}", "keeps its shape"),
        ("layers: {a: {op: linear, in_channels: 8, out_channels: 4, size: 3}}", "reads a vector"),
    ],
)  # fmt: skip
def test_what_is_no_choice_is_refused(tmp_path, text, message):
    with pytest.raises(ExplorationError, match=message):
        loaded(tmp_path, text)


@pytest.mark.parametrize("position", choices.POSITIONS)
@pytest.mark.parametrize("op", choices.OPS)
def test_probes_are_networks(op, position):
    size = (1, 1) if op in ("linear", "skip") else (8, 6)
    kernel = (1, 1) if op == "linear" else (3, 3)
    made = choices.probe(Choice(8, 8, op, kernel, size=size, expand=1 + (op == "mbconv")), position)
    net.verify(made)
    names = [op.name for op in made.ops]
    before, after = choices.NEIGHBOURS
    assert (before in names) == (position != "first")
    assert (after in names) == (position != "last")


def test_a_probe_adds_what_its_layer_keeps():
    made = choices.probe(Choice(8, 8, size=(6, 6), residual=True), "inner")
    (total,) = [op for op in made.ops if isinstance(op, net.Add)]
    assert (total.a, total.b) == ("layer.y", "image")
    block = choices.probe(Choice(8, 8, "mbconv", size=(6, 6), expand=6, residual=True), "inner")
    (total,) = [op for op in block.ops if isinstance(op, net.Add)]
    assert (total.a, total.b) == ("project.y", "before.y")
    assert block.shapes["depthwise.y"] == (48, 6, 6)
