"""The figures that the project promises for `pynq_z2`, measured."""

import pytest

from codesign.arch import preset
from codesign.cli.bench import measure

XC7Z020 = {"synth.lut": 30_000, "synth.ff": 60_000, "synth.dsp": 220, "synth.ramb36": 140}
"""Upper bounds: what the accelerator may take of the device."""


def rows(group: str) -> dict[str, float]:
    return {row.name: row.value for row in measure(group, preset("pynq_z2"))}


@pytest.mark.slow
def test_the_array_is_busy() -> None:
    found = rows("array")
    assert found["array.conv3x3.utilization"] >= 0.97
    assert found["array.conv1x1.utilization"] >= 0.92
    assert found["array.conv3x3s2.utilization"] >= 0.95
    assert found["array.depthwise3x3.utilization"] >= 0.95


@pytest.mark.slow
def test_resnet8_is_fast_and_predicted() -> None:
    found = rows("network")
    assert found["network.resnet8.cycles"] <= 37_000
    predicted = found["network.resnet8.predicted_cycles"]
    assert found["network.resnet8.cycles"] == pytest.approx(predicted, rel=0.01)


@pytest.mark.slow
def test_the_accelerator_fits_the_device() -> None:
    found = rows("synth")
    assert {name: found[name] for name in XC7Z020 if found[name] > XC7Z020[name]} == {}
    assert found["synth.array_dsp"] == preset("pynq_z2").macs_per_cycle // 2
    assert found["synth.latches"] == 0
    assert found["synth.logic_levels"] <= 8
    assert found["synth.wgt_kib"] >= 288
    assert found["synth.act_kib"] >= 128
