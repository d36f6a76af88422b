"""The example of a search with latency in its loss."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from codesign.arch import preset
from codesign.explore.differentiable import ExpectedLatency
from codesign.explore.latency_table import latency_table

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "latency_search.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("latency_search", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the script does
    yield module
    torch.set_num_threads(threads)


def test_a_high_price_of_latency_buys_the_quickest_layers(example):
    table = latency_table(example.LAYERS, preset("tiny"))
    model = example.search(ExpectedLatency(table, "cycles"), 1.0, 1, seed=0)
    quickest = {name: int(table.column(name).argmin()) for name in table.layers}
    assert model.chosen() == quickest


def test_it_tells_what_it_found(example, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["latency_search.py", "--epochs", "1"])
    example.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*example.LAYERS, "accuracy", "latency"]
    assert float(lines[-2].split()[1].rstrip("%")) > 20
    by_table, whole = (float(word) for word in lines[-1].split() if word[0].isdigit())
    assert by_table == pytest.approx(whole, rel=0.05)
