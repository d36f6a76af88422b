"""Resources from an architecture's parameters, against Yosys on architectures never fitted to."""

import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import pytest

from codesign.arch import Arch, preset
from codesign.boards import BOARDS
from codesign.cost import resources as model
from codesign.cost.archs import Archs

ROOT = Path(__file__).parents[2] / "benchmarks"
EXACT = ("dsp", "ramb36", "uram")
WORST = 0.10


def measured() -> list[tuple[str, Arch, str, bool, dict[str, float]]]:
    """Name, architecture, family, UltraRAM and figures of what was synthesised as a whole."""
    rows = json.loads((ROOT / "results/presets.json").read_text())["rows"]
    figures = {row["name"]: row["value"] for row in rows}
    found = []
    for board in BOARDS.values():
        took = {n: figures[f"presets.{board.name}.{n}"] for n in model.SHARE}
        arch = preset(board.preset)
        found.append((board.name, arch, board.part.family, took["uram"] > 0, took))
    path = ROOT / "resources/whole.jsonl"
    for text in path.read_text().splitlines() if path.exists() else ():
        line = json.loads(text)
        if line["set"] == "held out":
            arch = Arch(**line["arch"])
            name = f"{arch.name} {line['family']}"
            found.append((name, arch, line["family"], line["uram"], line))
    return found


MEASURED = measured()
each = pytest.mark.parametrize(
    ("arch", "family", "uram", "took"), [m[1:] for m in MEASURED], ids=[m[0] for m in MEASURED]
)


@each
def test_dsps_and_memories_are_those_of_the_synthesis(arch, family, uram, took) -> None:
    told = model.resources(Archs.of([arch]), family, uram)
    assert {name: getattr(told, name)[0] for name in EXACT} == {name: took[name] for name in EXACT}


@each
def test_luts_and_flip_flops_are_within_a_tenth(arch, family, uram, took) -> None:
    told = model.resources(Archs.of([arch]), family, uram)
    for name in model.LOGIC:
        assert getattr(told, name)[0] == pytest.approx(took[name], rel=WORST), name


def test_every_preset_fits_its_board_and_tells_what_does_not() -> None:
    for board in BOARDS.values():
        assert model.fits(Archs.of([preset(board.preset)]), board).ok.all(), board.name
    fit = model.fits(Archs.of([preset("zcu104"), preset("tiny")]), BOARDS["pynq-z2"])
    assert fit.ok.tolist() == [False, True]
    assert model.REASONS[fit.code[0]] == "lut"
    assert fit.reason(0).startswith("lut: ")
    assert fit.reason(0).endswith(" of 45,220 that may be used")
    assert fit.reason(1) == ""


def test_the_first_resource_exceeded_is_the_reason() -> None:
    deep = preset("pynq_z2").replace(wgt_depth=8192)
    fit = model.fits(Archs.of([deep]), BOARDS["pynq-z2"])
    assert fit.reason(0).startswith("ramb36: ")
    assert fit.value[0] > fit.limit[0] == BOARDS["pynq-z2"].part.resources.ramb36


def test_usage_is_one_row_of_the_columns() -> None:
    board = BOARDS["pynq-z2"]
    own = preset(board.preset)
    columns = model.resources(Archs.of([own]), board.part.family)
    used = model.usage(own, board)
    assert used.ramb36 == np.ceil(columns.ramb36[0])
    assert (used.lut, used.ff, used.dsp) == (columns.lut[0], columns.ff[0], columns.dsp[0])


def test_rows_do_not_depend_on_each_other() -> None:
    archs = [preset(board.preset) for board in BOARDS.values()]
    together = model.resources(Archs.of(archs), "xcup")
    for row, arch in enumerate(archs):
        alone = model.resources(Archs.of([arch]), "xcup")
        for field in dataclasses.fields(alone):
            assert getattr(together, field.name)[row] == getattr(alone, field.name)[0]


def test_what_grows_takes_more() -> None:
    small = preset("pynq_z2")
    changes = ({"pixels": 7}, {"out_channels": 16}, {"regions": 4}, {"drain": 2}, {"dma_bits": 128})
    archs = Archs.of([small, *(small.replace(**change) for change in changes)])
    for family in ("xc7", "xcup"):
        told = model.resources(archs, family)
        for name in model.LOGIC:
            assert (getattr(told, name)[1:] >= getattr(told, name)[0]).all(), (family, name)


def test_unknown_family_and_ultraram_without_any_are_refused() -> None:
    archs = Archs.of([preset("tiny")])
    with pytest.raises(ValueError, match="family 'ice40': choose one of xc7, xcup"):
        model.resources(archs, "ice40")
    with pytest.raises(ValueError, match="no part of family 'xc7' has UltraRAM"):
        model.resources(archs, "xc7", uram=True)


def test_thousands_of_architectures_take_no_time() -> None:
    archs = Archs.of([preset("zcu104")]).take(np.zeros(20_000, np.int64))
    start = time.process_time()
    model.fits(archs, BOARDS["zcu104"])
    assert time.process_time() - start < 1
