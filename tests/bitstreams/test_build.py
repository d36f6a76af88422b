"""Running the tools, with programs on PATH that stand for them."""

import sys
from pathlib import Path

import pytest

import bitstreams
from bitstreams.build import BuildError, build_open, build_vivado, run
from codesign.arch import preset
from tests.bitstreams.tools import OPEN_TOOLS, fake_open_tools, fake_vivado

TINY = preset("tiny").replace(clock_mhz=150.0)
RTL = "module codesign_top; endmodule\n"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def overlay(tmp_path: Path) -> bitstreams.Overlay:
    return bitstreams.write_overlay(TINY, "pynq-z2", tmp_path / "files", RTL)


@pytest.fixture(scope="module")
def open_overlay(tmp_path_factory: pytest.TempPathFactory) -> bitstreams.Overlay:
    return bitstreams.write_open_overlay(TINY, "pynq-z2", tmp_path_factory.mktemp("open"))


@pytest.fixture
def databases(tmp_path: Path) -> tuple[Path, Path]:
    chipdb, xray = tmp_path / "xc7z020.bin", tmp_path / "prjxray-db"
    chipdb.write_text("chip")
    part = xray / "zynq7" / "xc7z020clg400-1" / "part.yaml"
    part.parent.mkdir(parents=True)
    part.write_text("part")
    return chipdb, xray


def test_vivados_bitstream_is_checked(tools: Path, overlay: bitstreams.Overlay) -> None:
    fake_vivado(tools)
    path = build_vivado(overlay)
    assert path == overlay.bit
    file = bitstreams.BitFile.decode(path.read_bytes())
    assert bitstreams.user_access(file.body) == overlay.design.identity


def test_vivado_is_missing(tools: Path, overlay: bitstreams.Overlay) -> None:
    with pytest.raises(BuildError, match=r"^vivado is not on PATH; it comes from AMD Vivado 2024"):
        build_vivado(overlay)


def test_vivados_lines_are_shown_as_they_come(
    tools: Path, overlay: bitstreams.Overlay, capfd: pytest.CaptureFixture[str]
) -> None:
    fake_vivado(tools)
    build_vivado(overlay)
    assert "\ncodesign: bitstream written to" in "\n" + capfd.readouterr().out
    lines: list[str] = []
    (tools / "tool").write_text(
        f"#!{sys.executable}\nimport pathlib, time\nfor i in range(20): print(i, flush=True)\n"
        "while not pathlib.Path('seen').exists(): time.sleep(0.01)\nraise SystemExit(3)\n"
    )
    (tools / "tool").chmod(0o755)

    def show(line: str) -> None:
        lines.append(line)
        if line == "19":  # the tool waits for this: a line comes before the end
            (overlay.directory / "seen").touch()

    with pytest.raises(BuildError) as caught:
        run(["tool"], overlay.directory, show)
    assert lines == [str(i) for i in range(20)]
    tail = "\n".join(str(i) for i in range(5, 20))
    assert str(caught.value) == f"`tool` ended with code 3:\n{tail}"


def test_vivado_stops(tools: Path, overlay: bitstreams.Overlay) -> None:
    fake_vivado(tools, slack_ns=-1.5)
    with pytest.raises(BuildError, match=r"(?s)ended with code 1:.*timing fails by 1\.5 ns"):
        build_vivado(overlay)
    assert not overlay.bit.exists()


def test_a_bitstream_of_another_design(tools: Path, overlay: bitstreams.Overlay) -> None:
    fake_vivado(tools, identity=0xBAD)
    message = f"carries 0x00000bad in USR_ACCESS, not the design's 0x{overlay.design.identity:08x}"
    with pytest.raises(BuildError, match=message):
        build_vivado(overlay)


def test_the_open_tools_bitstream_gets_its_identity(
    tools: Path, open_overlay: bitstreams.Overlay, databases: tuple[Path, Path]
) -> None:
    fake_open_tools(tools)
    file = bitstreams.BitFile.decode(build_open(open_overlay, *databases).read_bytes())
    assert bitstreams.user_access(file.body) == open_overlay.design.identity
    assert file.body.count(bytes.fromhex("30008001")) == 2, "the rest is as it was"
    assert list(open_overlay.directory.glob("*.bit")) == [open_overlay.bit], "the overlay is one"


@pytest.mark.parametrize("tool", OPEN_TOOLS)
def test_an_open_tool_is_missing(
    tool: str, tools: Path, open_overlay: bitstreams.Overlay, databases: tuple[Path, Path]
) -> None:
    fake_open_tools(tools, leave_out=tool)
    with pytest.raises(BuildError, match=f"^{tool} is not on PATH; it comes from"):
        build_open(open_overlay, *databases)


def test_all_missing_tools_are_told_at_once(
    tools: Path, open_overlay: bitstreams.Overlay, databases: tuple[Path, Path]
) -> None:
    with pytest.raises(BuildError) as caught:
        build_open(open_overlay, *databases)
    assert all(f"{tool} is not on PATH" in str(caught.value) for tool in OPEN_TOOLS)


def test_a_database_is_missing(
    tools: Path, open_overlay: bitstreams.Overlay, databases: tuple[Path, Path]
) -> None:
    fake_open_tools(tools)
    chipdb, xray = databases
    with pytest.raises(BuildError, match=r"there is no .*part.yaml, X-Ray's database"):
        build_open(open_overlay, chipdb, xray.parent)
    with pytest.raises(BuildError, match=r"there is no .*none\.bin, nextpnr-xilinx's file"):
        build_open(open_overlay, chipdb.with_name("none.bin"), xray)


def test_the_open_overlay_has_no_interrupt_controller(open_overlay: bitstreams.Overlay) -> None:
    assert "axi_intc" not in open_overlay.hwh.read_text()
    assert "PS7 ps7" in open_overlay.hwh.with_suffix(".v").read_text()
    with pytest.raises(
        ValueError, match="'zcu104': the open tools have no xczu7ev; they build for"
    ):
        bitstreams.write_open_overlay(TINY, "zcu104", open_overlay.directory)
