"""What a problem derives: the space over a network's names, ratios, objectives, violations."""

import re

import numpy as np
import pytest

from codesign.arch import preset
from codesign.errors import ExplorationError
from codesign.explore.problem import (
    Constraints,
    Fidelities,
    Objective,
    Pattern,
    Problem,
    Search,
    Source,
)
from codesign.explore.space import Parameter

GROUPS = ("stem", "stage1.a", "stage1.b", "stage2.a")
LAYERS = ("conv", "fc")


def problem(**changes) -> Problem:  # type: ignore[no-untyped-def]
    fields = {
        "name": "test",
        "source": Source("module:model", "module:data"),
        "base": preset("tiny"),
        "hardware": (Parameter("hardware.act_depth", (64, 128)),),
        "rules": (),
        "network": (Parameter("network.width", (0.5, 1.0)),),
        "quantize": (),
        "channels": (
            Pattern("*", (0.0, 0.5)),
            Pattern("stem", (0.0,)),
            Pattern("stage1.*", (0.0, 0.25, 0.5), together=True),
        ),
        "blocks": (Pattern("conv", (0.0, 0.75)),),
        "constraints": Constraints(
            "pynq-z2", maximum={"latency_ms": 2.0, "lut": 100.0}, minimum={"accuracy": 0.8}
        ),
        "objectives": (Objective("accuracy", True), Objective("latency_ms", False)),
        "search": Search(),
        "fidelities": Fidelities(),
    }
    return Problem(**{**fields, **changes})


def test_the_space_over_a_networks_names() -> None:
    space = problem().space(GROUPS, LAYERS)
    assert {at.name: at.values for at in space.parameters} == {
        "hardware.act_depth": (64, 128),
        "network.width": (0.5, 1.0),
        "prune.channels.stem": (0.0,),
        "prune.channels.stage1.*": (0.0, 0.25, 0.5),
        "prune.channels.stage2.a": (0.0, 0.5),
        "prune.blocks.conv": (0.0, 0.75),
    }


def test_ratios_and_sparsity_of_a_choice() -> None:
    at = problem()
    space = at.space(GROUPS, LAYERS)
    choice = space.decode(space.sizes[None] - 1)[0]
    assert at.ratios(choice, GROUPS) == {
        "stem": 0.0,
        "stage1.a": 0.5,
        "stage1.b": 0.5,
        "stage2.a": 0.5,
    }
    assert at.sparsity(choice, LAYERS) == {"conv": 0.75}
    assert at.ratios(choice, GROUPS[:2]) == {"stem": 0.0, "stage1.a": 0.5}  # a shallower network


def test_a_pattern_that_matches_nothing() -> None:
    at = problem(lines={"space.prune": 7, "space.prune.channels.stem": 9})
    expected = (
        "9: space.prune.channels.stem: no prunable channel group of the network matches 'stem'; "
        "there are stage1.a, b"
    )
    with pytest.raises(ExplorationError, match=re.escape(expected)):
        at.space(("stage1.a", "b"), LAYERS)
    with pytest.raises(ExplorationError, match=r"7: .*no layer with weights .* there are none"):
        at.space(GROUPS)


def test_objectives_are_minimised_in_their_order() -> None:
    values = {"latency_ms": np.array([1.0, 2.0]), "accuracy": np.array([0.9, np.nan])}
    assert np.array_equal(problem().minimised(values), [[-0.9, 1.0], [np.nan, 2.0]], equal_nan=True)


def test_violation_is_the_relative_excess() -> None:
    values = {
        "latency_ms": np.array([2.0, 3.0, 1.0, np.inf]),
        "accuracy": np.array([0.8, 0.4, np.nan, 0.9]),
        "lut": np.array([100, 110, 50, 50]),
    }
    found = problem().violation(values)
    assert found[:3] == pytest.approx([0.0, 0.5 + 0.5 + 0.1, 0.0])
    assert found[3] > 1e6
    assert problem().violation({"lut": np.array([90, 150])}) == pytest.approx([0.0, 0.5])
    assert problem(constraints=Constraints("pynq-z2")).violation(values).tolist() == [0.0] * 4


def test_which_bounds_a_design_breaks() -> None:
    at = problem()
    assert at.broken({"latency_ms": 3.0, "lut": 5, "accuracy": 0.7}) == ("latency_ms", "accuracy")
    assert at.broken({"latency_ms": 2.0, "lut": 101}) == ("lut",)
    assert at.broken({"latency_ms": 2.0, "accuracy": 0.8}) == ()
