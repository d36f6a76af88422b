"""The page and the table of an exploration: what they hold, and what they refuse."""

import csv
import dataclasses
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from codesign.boards import board
from codesign.report import exploration_csv, explore_page
from codesign.report.exploration import read
from tests.report.exploration_folder import make


class Tags(HTMLParser):
    """Attributes of all elements, and the text of the scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.scripts: list[str] = []
        self._script = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._script = tag == "script"
        self.links += [value for name, value in attrs if name in ("src", "href") and value]

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts.append(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("exploration"))


def test_the_page_holds_all_that_it_needs(folder: Path) -> None:
    tags = Tags(explore_page.render(read(folder)))
    assert [link for link in tags.links if not link.startswith("#")] == []
    data, plotly, _ = (script for script in tags.scripts if script.strip())
    assert json.loads(data)["name"] == "toy"
    assert "plotly.js" in plotly[:200]


def test_texts_do_not_become_elements(folder: Path) -> None:
    text = explore_page.embedded({"name": "</script><b>"})
    assert "<" not in text
    assert json.loads(text) == {"name": "</script><b>"}


def test_the_document_has_every_design(folder: Path) -> None:
    found = read(folder)
    document = explore_page.document(found)
    assert sorted(document["ids"]) == [row["id"] for row in found.trials]
    assert [document["ids"][at] for at in document["front"]] == found.front
    names = [parameter["name"] for parameter in document["parameters"]]
    for at, number in enumerate(document["ids"]):
        row = found.trials[number]
        told = {
            parameter["name"]: parameter["values"][index]
            for parameter, index in zip(document["parameters"], document["choice"][at], strict=True)
        }
        assert told == row["choice"]
        assert {key: document["values"][key][at] for key in row["values"]} == row["values"]
    assert names == list(found.trials[0]["choice"])
    parts = {at["name"]: (at["group"], at["label"]) for at in document["parameters"]}
    assert parts["hardware.pixels"] == ("hardware", "pixels")
    assert parts["prune.channels.stack.1.conv"] == ("prune.channels", "stack.1.conv")
    limits = {at["key"]: at["limit"] for at in document["resources"]}
    assert limits == vars(board("pynq-z2").part.resources)


def test_designs_beside_the_front_are_thinned(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explore_page, "MOST_OTHERS", 20)
    found = read(folder)
    document = explore_page.document(found)
    shown = len(document["ids"]) - len(found.front)
    assert 10 <= shown <= 20
    assert document["others"] == len(found.trials) - len(found.front)


def test_compiled_designs_are_never_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explore_page, "MOST_OTHERS", 1)
    found = dataclasses.replace(read(folder), front=[])
    shown = explore_page.document(found)["ids"]
    assert set(found.designs) < set(shown)
    assert len(shown) == len(found.designs) + 1


def test_a_value_that_no_choice_of_json_has(folder: Path, tmp_path: Path) -> None:
    make(tmp_path, trials=3, finalists=0)
    lines = (tmp_path / "trials.jsonl").read_text().splitlines()
    row = json.loads(lines[1])
    row["values"]["energy_uj"] = float("nan")
    row["choice"]["network.kernels"] = [3, 5]
    row["choice"]["network.bias"] = True
    (tmp_path / "trials.jsonl").write_text("\n".join([lines[0], json.dumps(row), lines[2]]) + "\n")
    document = explore_page.document(read(tmp_path))
    assert None in document["values"]["energy_uj"]
    values = {at["name"]: at["values"] for at in document["parameters"]}
    assert values["network.kernels"] == ["[3, 5]"]
    assert values["network.bias"] == ["true"]
    assert document["choice"][0].count(None) + document["choice"][1].count(None) >= 2


def test_the_last_line_of_a_design_counts(tmp_path: Path) -> None:
    make(tmp_path, trials=5)
    with (tmp_path / "trials.jsonl").open("a") as file:
        tuned = {**read(tmp_path).trials[2], "fidelity": "finetuned", "network": "tuned"}
        file.write(json.dumps(tuned) + "\n" + '{"id": 5, "cho')
    found = read(tmp_path)
    assert [row["id"] for row in found.trials] == [0, 1, 2, 3, 4]
    assert found.trials[2]["network"] == "tuned"


@pytest.mark.parametrize("state", ["running", "interrupted"])
def test_a_run_without_a_front(state: str, tmp_path: Path) -> None:
    make(tmp_path, trials=0, finalists=0, state=state)
    (tmp_path / "front.json").unlink()
    (tmp_path / "trials.jsonl").unlink()
    document = explore_page.document(read(tmp_path))
    assert document["ids"] == document["front"] == document["parameters"] == []


def test_csv(folder: Path) -> None:
    found = read(folder)
    rows = list(csv.DictReader(io.StringIO(exploration_csv.table(found))))
    assert [int(row["id"]) for row in rows] == [row["id"] for row in found.trials]
    assert [int(row["id"]) for row in rows if row["front"] == "1"] == found.front
    for row, trial in zip(rows, found.trials, strict=True):
        assert float(row["latency_ms"]) == trial["values"]["latency_ms"]
        assert row["quantize.method"] == trial["choice"]["quantize.method"]
        design = found.designs.get(trial["id"])
        assert row["cycles_simulated"] == (str(design["cycles"]["simulated_rtl"]) if design else "")


def test_what_is_no_exploration(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no exploration .* `codesign explore FILE.yaml"):
        read(tmp_path)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    make(tmp_path, trials=3)
    (tmp_path / "trials.jsonl").write_text('{"id": 0}\nbroken\n{"id": 1}\n')
    with pytest.raises(ValueError, match=r"trials.jsonl', line 2, is no JSON"):
        read(tmp_path)
    (tmp_path / "trials.jsonl").unlink()
    (tmp_path / "front.json").write_text("[1,")
    with pytest.raises(ValueError, match=r"front.json' is no JSON .* explore again"):
        read(tmp_path)
