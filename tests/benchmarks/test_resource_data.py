"""The data set of resources: whole, and what the coefficients in the package are made of."""

import pytest

from benchmarks.resources import fit
from benchmarks.resources.designs import held_out, train
from benchmarks.resources.measure import FAMILIES, in_uram, lines
from benchmarks.resources.units import CUTS, plain, units
from codesign.arch import preset
from codesign.cost import resources as model
from codesign.cost.archs import Archs
from hw.build import generate_rtlil

NAMES = {plain(cut).rpartition(".")[2] for cut in CUTS} | {"lane", "codesign_top"}
LEAST = {"xc7": 45, "xcup": 45}
"""Architectures whose every unit is synthesised."""


def test_every_unit_of_every_architecture_is_measured() -> None:
    data = fit.Data()
    assert len({arch.fingerprint for arch in data.archs}) == len(data.archs)
    for row in range(len(data.archs)):
        assert data.figures(row, "xc7").keys() == NAMES


@pytest.mark.parametrize("family", FAMILIES)
def test_dsps_and_memories_of_the_units_are_those_of_the_closed_form(family: str) -> None:
    data = fit.Data()
    checked = 0
    for row, arch in enumerate(data.archs):
        took = data.figures(row, family)
        if len(took) == len(NAMES):
            told = model.resources(Archs.of([arch]), family, in_uram(arch, family))
            for name in ("dsp", "ramb36", "uram"):
                assert getattr(told, name)[0] == sum(at[name] for at in took.values()), arch.name
            checked += 1
    assert checked >= LEAST[family]


def test_the_coefficients_are_what_the_data_give() -> None:
    found = fit.fitted(fit.Data())
    for family in FAMILIES:
        for resource in model.LOGIC:
            assert found[family][resource] == pytest.approx(
                model.coefficients()[family][resource], rel=1e-3, abs=1e-3
            )


def test_what_is_judged_by_is_not_fitted_to() -> None:
    fitted = {arch.fingerprint for arch in [*train(60), *fit.Data().archs]}
    judged = {fit.arch_of(line).fingerprint for line in lines("whole.jsonl")
              if line["set"] == "held out"}  # fmt: skip
    assert not fitted & judged
    assert judged <= {arch.fingerprint for arch in held_out(20)}


def test_units_are_equal_however_often_they_are_made() -> None:
    arch = preset("tiny").replace(act_depth=16, wgt_depth=16, param_depth=16, tap_depth=16)
    first, second = ({u.name: u for u in units(generate_rtlil(arch))} for _ in range(2))
    assert {n: u.key for n, u in first.items()} == {n: u.key for n, u in second.items()}
    assert first["lane"].count == arch.pixels
    wider = {u.name: u for u in units(generate_rtlil(arch.replace(pixels=4)))}
    assert wider["lane"].key == first["lane"].key
    assert wider["array"].key != first["array"].key
