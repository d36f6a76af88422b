"""Resources from an architecture's parameters, against Yosys on architectures never fitted to."""

import dataclasses
import time

import numpy as np
import pytest

from codesign.arch import preset
from codesign.boards import BOARDS
from codesign.cli.bench.explore_resources import EXACT, Synthesised, held_out, rows
from codesign.cost import resources as model
from codesign.cost.archs import Archs

WORST = 0.10


JUDGED = held_out()
each = pytest.mark.parametrize("one", JUDGED, ids=[one.name for one in JUDGED])


@each
def test_dsps_and_memories_are_those_of_the_synthesis(one: Synthesised) -> None:
    told = one.told()
    assert {name: told[name] for name in EXACT} == {name: one.took[name] for name in EXACT}


@each
def test_luts_and_flip_flops_are_within_a_tenth(one: Synthesised) -> None:
    assert max(map(abs, one.errors().values())) <= WORST


def test_the_bench_reports_the_worst_of_them() -> None:
    found = {row.name: row.value for row in rows(preset("tiny"))}
    worst = max(max(map(abs, one.errors().values())) for one in JUDGED)
    assert found["explore.resource_error"] == worst <= WORST
    assert found["explore.resource_memories_wrong"] == 0
    assert found["explore.resources_per_second"] > 0


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
