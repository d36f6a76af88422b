import pytest

from codesign.arch import preset
from codesign.cli.bench import explore_speed


def test_evaluations_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    compile_graph = explore_speed.compile_graph

    def noting(graph, arch):
        compiled.append((graph.ops[0].weight.tobytes(), arch.fingerprint))
        return compile_graph(graph, arch)

    monkeypatch.setattr(explore_speed, "compile_graph", noting)
    monkeypatch.setattr(explore_speed, "EVALUATIONS", 3)
    (row,) = explore_speed.rows(preset("pynq_z2"))
    assert (row.name, row.unit) == ("explore.instruction_level_per_second", "1/s")
    assert row.value > 0
    assert len(set(compiled)) == 4  # one to warm up; every pair is new
