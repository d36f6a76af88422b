"""PYNQ itself, unmodified, on simulated boards: each client in an environment of its own."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitstreams import write_overlay
from codesign.arch import preset
from codesign.artifact import Program
from codesign.cli.session import encode, graph_outputs
from codesign.compiler import compile as compile_graph
from codesign.frontend.tflite import load_tflite
from codesign.quant.torch_module import quantize_module
from codesign.registers import MAGIC
from codesign.zoo import digits
from codesign.zoo.demo import small_network
from host.driver import Accelerator
from sim.benches import network
from sim.board.board import Board
from sim.board.boards import board_model
from sim.board.device import BoardDevice
from sim.board.fabric import fabrics
from sim.board.leds import write_leds
from sim.board.server import PORT, BoardServer
from sim.device import verilog
from tests.pynq_client import CLIENTS, ZYNQ, ZYNQ_ULTRASCALE, Client, own_address

pytestmark = pytest.mark.pynq
IMAGES = 4


@pytest.fixture
def address() -> str:
    return own_address()


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> Client:
    return request.param


@pytest.fixture
def served(client: Client, address: str) -> Iterator[Board]:
    board = Board(board_model(client.board), fabrics("rtl"))
    with BoardServer(board, address):
        yield board


@pytest.fixture(scope="session")
def digits_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's network for the smallest architecture."""
    images = digits.load(0).train_images
    graph = quantize_module(small_network()[0], images[:32], name="digits")
    path = tmp_path_factory.mktemp("digits") / "digits.prog"
    compile_graph(graph, preset("tiny")).save(path)
    return path


def check_on_board(
    client: Client, address: str, bitfile: Path, program: Path, x: Any, folder: Path
) -> None:
    """The client's lines for inputs that are codes, on a board of its own."""
    np.save(folder / "x.npy", x)
    board = Board(board_model(client.board), fabrics("rtl"))
    script, base = Path(__file__).with_name("client.py"), board.model.board.processor.base
    with BoardServer(board, address):
        client.run(address, folder, script, bitfile, program, folder, base)
    check_results(client.board, bitfile, program, folder)


def check_results(board: str, bitfile: Path, program: Path, folder: Path) -> dict[str, Any]:
    """What the client told, once its codes are the graph reference's, and its cycles those of the
    same board without network and PYNQ."""
    x, y = (np.load(folder / name) for name in ("x.npy", "y.npy"))
    (expected,) = graph_outputs(Program.load(program).graph, x)
    assert np.array_equal(y, expected)
    made = Board(board_model(board), fabrics("rtl"))
    with BoardDevice(made, bitfile) as device, Accelerator(device) as accelerator:
        accelerator.load(program)
        assert np.array_equal(accelerator.run(x), y)
        cycles = accelerator.report().cycles
    told: dict[str, Any] = json.loads((folder / "told.json").read_text())
    assert told["cycles"] == cycles
    return told


def test_the_users_lines(
    client: Client,
    served: Board,
    address: str,
    overlays: dict[str, Path],
    digits_program: Path,
    tmp_path: Path,
) -> None:
    images = digits.load(0).test_images[:IMAGES]
    np.save(tmp_path / "x.npy", encode(Program.load(digits_program), images))
    bitfile = overlays[client.board]
    script, base = Path(__file__).with_name("client.py"), served.model.board.processor.base
    client.run(address, tmp_path, script, bitfile, digits_program, tmp_path, base)
    told = check_results(client.board, bitfile, digits_program, tmp_path)
    assert told["version"] == client.version
    check_device(client, address, told)
    check_refusals(told)
    assert not served.memory.allocations


def check_device(client: Client, address: str, told: dict[str, Any]) -> None:
    model = board_model(client.board)
    assert told["name"] == f"{model.title} at {address}"
    assert told["fingerprint"] == preset("tiny").fingerprint
    assert told["clock_hz"] == pytest.approx(1e6 * model.board.clock(100.0).mhz, rel=1e-4)
    assert told["slow_hz"] == pytest.approx(50e6, rel=1e-3)
    assert model.soc.machine in told["version file"]
    assert told["address_bits"] == (32 if client.board == "pynq-z2" else 40)
    assert told["raw"]["id"] == MAGIC
    assert told["rails"] == [f"{rail.chip}/{rail.label}" for rail in model.rails]
    if model.rails:
        assert model.rails[0].idle_w <= told["watts"] <= model.rails[0].running_w
    assert told["raw"]["address"] % 4096 == 0


def check_refusals(told: dict[str, Any]) -> None:
    wanted = {
        "second": ("DeviceBusyError", "in use by this process"),
        "memory": ("MemoryError", "gives no 1073741824 contiguous bytes"),
        "no file": ("FileNotFoundError", "hwmon9"),
        "too fast": ("DeviceMismatchError", "pass clock_mhz with at most that"),
    }
    raw = {
        "long write": ("RuntimeError", "a write of 8 bytes"),
        "unmapped": ("RuntimeError", "0x90000000"),
        "beyond": ("RuntimeError", "lie beyond window"),
        "freed": ("RuntimeError", "no buffer"),
    }
    found = {name: told[name] for name in wanted} | {name: told["raw"][name] for name in raw}
    for name, (kind, text) in (wanted | raw).items():
        assert found[name] is not None, f"{name} is allowed"
        assert found[name][0] == kind, found[name]
        assert text in found[name][1], found[name]


def test_no_board_is_told(client: Client, overlays: dict[str, Path], tmp_path: Path) -> None:
    lines = f"""
from host.pynq import PynqDevice
try:
    PynqDevice({str(overlays[client.board])!r})
except ConnectionError as error:
    print(error)
"""
    for address, text in (("127.0.0.9", "Failed to connect"), ("", "set PYNQ_REMOTE_DEVICES")):
        assert text in client.run(address, tmp_path, "-c", lines)


def test_overlays_without_an_accelerator_are_refused(
    client: Client, served: Board, address: str, overlays: dict[str, Path], tmp_path: Path
) -> None:
    bitfile = tmp_path / "vivado.bit"
    bitfile.write_bytes(overlays[client.board].read_bytes())
    handoff = overlays[client.board].with_suffix(".hwh").read_text()
    bitfile.with_suffix(".hwh").write_text(handoff.replace('"FINGERPRINT"', '"OTHER"'))
    lines = f"""
from host.errors import DeviceMismatchError
from host.pynq import PynqDevice
for path in ({str(write_leds(client.board, tmp_path))!r}, {str(bitfile)!r}):
    try:
        PynqDevice(path)
    except DeviceMismatchError as error:
        print(error)
"""
    output = client.run(address, tmp_path, "-c", lines)
    assert f"leds_{client.board}.bit holds no codesign_top (its cores: axi_gpio_leds" in output
    assert "vivado.hwh tells nothing of the accelerator's FINGERPRINT" in output


def test_two_boards_in_a_process(
    client: Client, served: Board, address: str, overlays: dict[str, Path], tmp_path: Path
) -> None:
    other = own_address(1)
    lines = f"""
from pynq.pl_server.remote_device import RemoteDevice
from host.pynq import PynqDevice
first = PynqDevice({str(overlays[client.board])!r})
second = PynqDevice({str(overlays["pynq-z2"])!r}, device=RemoteDevice(1, {other!r}), clock_mhz=50)
buffer = first.allocate(64)
print(first.name, round(first.clock_hz / 1e6), second.name, round(second.clock_hz / 1e6))
second.close()
"""
    with BoardServer(Board(board_model("pynq-z2"), fabrics("reference")), other):
        output = client.run(address, tmp_path, "-c", lines)
    title = served.model.title
    assert f"{title} at {address} 100 Pynq-Z2 at {other} 50" in output


def test_a_board_that_went_away_is_usable_when_it_is_back(
    client: Client, address: str, overlays: dict[str, Path], program: Path, tmp_path: Path
) -> None:
    def board() -> Board:
        return Board(board_model(client.board), fabrics("rtl"))

    x = network.inputs(2)
    np.save(tmp_path / "x.npy", x)
    arguments = (overlays[client.board], program, tmp_path / "x.npy", tmp_path / "y.npy")
    server = BoardServer(board(), address)
    with client.start(
        address, tmp_path, Path(__file__).with_name("lost.py"), *arguments
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "running\n"
        server.close()
        lost = process.stdout.readline()
        with BoardServer(board(), address):
            process.stdin.write("back\n")
            process.stdin.flush()
            assert process.stdout.readline() == "ran\n"
        with BoardServer(board(), address):
            process.stdin.write("restarted\n")
            process.stdin.flush()
            restarted = process.stdout.readline()
            rest = process.stdout.read()
    assert lost.startswith(f"DeviceLostError: the connection to {board().model.title} at {address}")
    assert restarted.startswith("DeviceLostError: the connection to "), restarted + rest
    assert process.returncode == 0, rest
    assert np.array_equal(np.load(tmp_path / "y.npy"), network.expected(x))


@pytest.mark.slow
def test_the_clients_self_test(address: str, tmp_path: Path) -> None:
    client = ZYNQ_ULTRASCALE
    board = Board(board_model(client.board), fabrics("rtl"))
    bitfile = write_leds(client.board, tmp_path)
    with BoardServer(board, address):
        arguments = ("-m", "pynq.remote.selftest", "--ip", address, "--port", PORT)
        output = client.run(address, tmp_path, *arguments, "--bitstream", bitfile)
    assert "summary: 11 passed, 0 failed, 0 skipped" in output


@pytest.mark.slow
@pytest.mark.parametrize("client", [ZYNQ, ZYNQ_ULTRASCALE], ids=lambda client: client.board)
def test_resnet8(client: Client, address: str, shared: Path, tmp_path: Path) -> None:
    arch = preset("pynq_z2").replace(board=client.board)
    (model,) = (shared / "models" / "ic_resnet8").glob("*.tflite")
    program = tmp_path / "ic_resnet8.prog"
    compile_graph(load_tflite(model).graph, arch).save(program)
    bitfile = write_overlay(arch, client.board, tmp_path, verilog(arch)).simulated_bit
    rng = np.random.default_rng(8)
    x = rng.integers(-128, 128, (IMAGES, 3, 32, 32), np.int8)
    check_on_board(client, address, bitfile, program, x, tmp_path)


@pytest.mark.slow
def test_the_whole_width_of_the_memory_port(address: str, tmp_path: Path) -> None:
    client = ZYNQ_ULTRASCALE
    arch = preset("tiny").replace(name="wide", dma_bits=128, board=client.board)
    program = tmp_path / "small.prog"
    compile_graph(network.graph(), arch).save(program)
    bitfile = write_overlay(arch, client.board, tmp_path, verilog(arch)).simulated_bit
    check_on_board(client, address, bitfile, program, network.inputs(2), tmp_path)
