"""The page in a browser, opened from its file as a reader opens it."""

import math
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from codesign.report.exploration import read
from codesign.report.explore_page import write
from tests.report.exploration_folder import OBJECTIVES, make

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_MS = 120_000
"""A busy machine may take so long to draw; what does not happen at all takes so long to fail."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="package playwright is missing")
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip("no Chromium is installed (`apt-get install chromium` brings one)")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=executable)
        yield started
        started.close()


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make(tmp_path_factory.mktemp("full"))
    write(folder, folder / "report.html")
    return folder


class Visit:
    """A page that was opened, and what it asked for and complained of."""

    def __init__(self, browser: Any, page: Path, **context: Any) -> None:
        self.tab = browser.new_context(accept_downloads=True, **context).new_page()
        self.tab.set_default_timeout(PATIENCE_MS)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.on("console", self._told)
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.goto(page.as_uri())
        self.tab.wait_for_selector("#hypervolume .main-svg")

    def _told(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def text(self, selector: str) -> str:
        return str(self.tab.locator(selector).evaluate("(at) => at.innerText ?? at.textContent"))

    def selected(self) -> str:
        return self.text("#design h3 >> nth=0").split("\n")[0]

    def places(self, plot: str) -> dict[int, tuple[float, float]]:
        """Where a plot draws its designs, in pixels of the window."""
        script = """(id) => {
            const { ids } = JSON.parse(document.getElementById("data").textContent);
            const plot = document.getElementById(id);
            plot.scrollIntoView({ block: "center" });
            const { left, top } = plot.getBoundingClientRect();
            const { xaxis, yaxis } = plot._fullLayout;
            const marked = plot.data.filter((trace) => trace.mode.includes("markers"));
            return marked.flatMap(({ x, y, customdata }) => ids.flatMap((number, row) => {
                const at = customdata.indexOf(row);
                if (at < 0) return [];
                return [[number, left + xaxis._offset + xaxis.d2p(x[at]),
                         top + yaxis._offset + yaxis.d2p(y[at])]];
            }));
        }"""
        found = self.tab.evaluate(script, plot)
        return {int(number): (float(x), float(y)) for number, x, y in found}

    def clean(self, page: Path) -> None:
        """Nothing but the file was asked for, and nothing went wrong."""
        local = ("data:", "blob:", page.as_uri())
        assert [url for url in self.requests if not url.startswith(local)] == []
        assert self.complaints == []


@pytest.fixture(scope="module")
def visit(browser: Any, full: Path) -> Iterator[Visit]:
    """One visit for all tests: they leave other designs selected, and nothing else."""
    page = full / "report.html"
    opened = Visit(browser, page, viewport={"width": 1280, "height": 900})
    yield opened
    opened.clean(page)
    opened.tab.context.close()


def isolated(visit: Visit, places: dict[int, tuple[float, float]], among: Iterable[int]) -> int:
    """The design that is not selected and farthest from its neighbour."""
    others = [at for at in among if visit.selected() != f"Design {at}"]
    distance = {
        number: min(math.dist(places[number], places[at]) for at in places if at != number)
        for number in others
    }
    best = max(distance, key=distance.__getitem__)
    assert distance[best] > 4, "no design of the fixture stands alone"
    return best


def test_a_click_selects(visit: Visit, full: Path) -> None:
    places = visit.places("front")
    number = isolated(visit, places, read(full).designs)
    before = visit.text("#inside")
    visit.tab.mouse.click(*places[number])
    assert visit.selected() == f"Design {number}"
    assert visit.text("#inside-title") == f"Inside design {number}"
    assert visit.text("#inside") != before
    assert f"designs/{number}/arch.yaml" in visit.text("#inside")
    design = read(full).designs[number]
    assert f"{design['cycles']['simulated_rtl']:,}" in visit.text("#design")
    assert visit.tab.url.endswith(f"#design-{number}")


def test_hovering_tells(visit: Visit, full: Path) -> None:
    places = visit.places("front")
    number = isolated(visit, places, read(full).designs)
    visit.tab.mouse.move(*places[number])
    visit.tab.wait_for_selector("#front .hoverlayer .hovertext")
    assert f"Design {number}, verified in RTL" in visit.text("#front .hoverlayer")


def test_a_click_on_a_choice_selects(visit: Visit, full: Path) -> None:
    places = visit.places("choices")  # on the axis of accuracy, the first
    number = isolated(visit, places, read(full).front)
    visit.tab.mouse.click(*places[number])
    assert visit.selected() == f"Design {number}"


def test_keys_select(visit: Visit) -> None:
    visit.tab.locator("#table tr.chosen input").focus()
    before = visit.selected()
    visit.tab.keyboard.press("ArrowDown")
    after = visit.selected()
    assert after != before
    assert visit.text("#table tr.chosen td >> nth=0").strip() == after.removeprefix("Design ")
    visit.tab.keyboard.press("ArrowUp")
    assert visit.selected() == before


def test_the_table_sorts(visit: Visit) -> None:
    visit.tab.locator("#table thead button[data-key=lut]").click()
    cells = visit.tab.locator("#table tbody tr td:nth-child(5)").all_inner_texts()
    values = [int(cell.replace(",", "")) for cell in cells]
    assert values == sorted(values)
    assert values[0] < values[-1]


def test_no_button_uploads(visit: Visit) -> None:
    titles = "(all) => all.map((at) => at.dataset.title ?? at.dataset.attr)"
    buttons = visit.tab.locator(".modebar-btn").evaluate_all(titles)
    assert any("Download" in title for title in buttons)
    assert not [title for title in buttons if re.search("share|cloud|edit", title, re.IGNORECASE)]


def test_a_command_is_copied(visit: Visit) -> None:
    visit.tab.locator(".command button").first.click()
    selected = visit.tab.evaluate("getSelection().toString()")
    assert selected.strip() == visit.text(".command pre >> nth=0")
    visit.tab.wait_for_selector(".command button:has-text('ed')")


def test_axes_change(visit: Visit) -> None:
    visit.tab.locator("#axis-x").select_option("lut")
    assert "LUT" in visit.text("#front .xtitle")
    visit.tab.locator("#axis-x").select_option("latency_ms")
    assert "Latency (ms)" in visit.text("#front .xtitle")


def test_a_range_filters(visit: Visit, full: Path) -> None:
    count = len(read(full).front)
    rows = visit.tab.locator("#table tbody tr")
    assert rows.count() == count
    visit.tab.locator("#choices").scroll_into_view_if_needed()
    box = visit.tab.locator("#choices .nsewdrag").first.bounding_box()
    assert box is not None
    visit.tab.mouse.move(box["x"] + 2, box["y"] + 2)
    visit.tab.mouse.down()
    visit.tab.mouse.move(box["x"] + 30, box["y"] + 0.4 * box["height"], steps=4)
    visit.tab.mouse.up()
    visit.tab.wait_for_function("() => document.querySelector('#filter-state').textContent")
    assert 0 < rows.count() < count
    visit.tab.locator("#filter-clear").click()
    assert rows.count() == count


def test_the_front_is_saved(visit: Visit, full: Path) -> None:
    with visit.tab.expect_download() as waiting:
        visit.tab.locator("#save-csv").click()
    lines = Path(waiting.value.path()).read_text().splitlines()
    assert lines[0].startswith("id,fidelity,verified,accuracy,")
    assert sorted(int(line.split(",")[0]) for line in lines[1:]) == sorted(read(full).front)


def test_light_and_dark(visit: Visit) -> None:
    brightness = {}
    for scheme in ("dark", "light"):
        visit.tab.emulate_media(color_scheme=scheme)
        ground = visit.tab.evaluate("getComputedStyle(document.body).backgroundColor")
        drawn = visit.tab.evaluate("document.getElementById('front').layout.font.color")
        brightness[scheme] = sum(map(int, re.findall(r"\d+", ground))), drawn
    assert brightness["dark"][0] < 3 * 64
    assert brightness["light"][0] > 3 * 192
    assert brightness["dark"][1] != brightness["light"][1]


@pytest.mark.parametrize(("x", "y"), [("latency_ms", "accuracy"), ("accuracy", "lut")])
def test_the_outline_is_what_no_design_beats(visit: Visit, full: Path, x: str, y: str) -> None:
    visit.tab.locator("#axis-x").select_option(x)
    visit.tab.locator("#axis-y").select_option(y)
    script = """() => {
        const { ids } = JSON.parse(document.getElementById("data").textContent);
        const outline = document.getElementById("front").data.find((at) => at.mode === "lines");
        return outline.customdata.map((row) => ids[row]);
    }"""
    drawn = visit.tab.evaluate(script)
    found = read(full)
    sign = {name: -1 if goal == "max" else 1 for name, goal in OBJECTIVES.items()}
    costs = {
        row["id"]: tuple(sign[name] * row["values"][name] for name in (x, y))
        for row in found.trials
        if row["id"] in found.front
    }
    expected = [
        number
        for number, (a, b) in costs.items()
        if not any(c <= a and d <= b and (c, d) != (a, b) for c, d in costs.values())
    ]
    assert len(expected) > 2
    # of designs that are equal in both objectives one is drawn
    assert {costs[number] for number in drawn} == {costs[number] for number in expected}
    assert [costs[number] for number in drawn] == sorted(costs[number] for number in drawn)


@pytest.mark.parametrize("width", [1440, 768, 360])
def test_it_fits(visit: Visit, width: int) -> None:
    visit.tab.set_viewport_size({"width": width, "height": 900})
    fitting = """() => [...document.querySelectorAll(".plot:not(.choices) .main-svg")].every(
        (plot) => plot.clientWidth <= plot.closest(".card").clientWidth)"""
    try:
        visit.tab.wait_for_function(fitting)
        assert visit.tab.evaluate("document.documentElement.scrollWidth") <= width
    finally:
        visit.tab.set_viewport_size({"width": 1280, "height": 900})


@pytest.mark.parametrize(("trials", "told"), [(0, "No design"), (40, "not verified")])
def test_a_run_that_was_stopped(browser: Any, tmp_path: Path, trials: int, told: str) -> None:
    page = tmp_path / "report.html"
    write(make(tmp_path, trials=trials, finalists=0, state="interrupted"), page)
    visit = Visit(browser, page)
    assert told in visit.text("#design")
    assert "interrupted, can be continued" in visit.text("#facts")
    assert visit.tab.locator("#choices").is_visible() == bool(trials)
    if trials:
        assert f"-o {tmp_path} --design" in visit.text("#inside")
    visit.clean(page)
    visit.tab.context.close()
