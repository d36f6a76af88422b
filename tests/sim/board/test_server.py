"""The remote protocol on the wire, as any client of it sees it."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from sim.board.board import Board
from sim.board.boards import board_model
from sim.board.fabric import fabrics
from sim.board.protocol import SERVICES, message_classes
from sim.board.server import BoardServer

CLASSES = message_classes()
LARGE = 5 << 20


class Client:
    """Calls methods with the fields of their requests, and returns the response or its parts."""

    def __init__(self, port: int) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")

    def __call__(self, service: str, name: str, *parts: dict[str, Any], **fields: Any) -> Any:
        method, messages = SERVICES[service][name], CLASSES[service, name]
        kind = ("unary", "stream")
        make = getattr(
            self.channel, f"{kind[method.request_stream]}_{kind[method.response_stream]}"
        )
        call = make(
            f"/{service}/{name}", messages.request.SerializeToString, messages.response.FromString
        )
        if method.request_stream:
            return call(iter([messages.request(**part) for part in parts]), timeout=30)
        answer = call(messages.request(**fields), timeout=30)
        return list(answer) if method.response_stream else answer


@pytest.fixture(scope="module")
def server() -> Iterator[BoardServer]:
    board = Board(board_model("zcu104"), fabrics("reference"))
    with BoardServer(board, port=0) as made:
        yield made


@pytest.fixture(scope="module")
def client(server: BoardServer) -> Iterator[Client]:
    made = Client(server.port)
    yield made
    made.channel.close()


BUFFER, MMIO, FILES, GPIO = (
    "buffer.RemoteBuffer",
    "mmio.Mmio",
    "remote_device.RemoteDevice",
    "gpio.Gpio",
)


def test_buffers_travel_in_pieces(client: Client) -> None:
    key = client(BUFFER, "allocate", size=LARGE, cacheable=True).buffer_id
    data = bytes(range(256)) * (LARGE // 256)
    pieces = [data[i : i + (2 << 20)] for i in range(0, LARGE, 2 << 20)]
    assert not client(BUFFER, "write", *({"buffer_id": key, "data": p} for p in pieces)).msg
    parts = client(BUFFER, "read", buffer_id=key)
    assert len(parts) == 3
    assert b"".join(part.data for part in parts) == data
    assert client(BUFFER, "physical_address", buffer_id=key).address == 0x4000_0000
    assert client(BUFFER, "virtual_address", buffer_id=key).address
    assert client(BUFFER, "cacheable", buffer_id=key).cacheable
    assert not client(BUFFER, "freebuffer", buffer_id=key).msg
    for name in ("flush", "invalidate", "freebuffer", "physical_address"):
        assert f"no buffer '{key}'" in client(BUFFER, name, buffer_id=key).msg
    assert "no buffer" in client(BUFFER, "read", buffer_id=key)[0].msg


def test_refusals_come_in_the_response(client: Client) -> None:
    assert "1073741824 contiguous bytes" in client(BUFFER, "allocate", size=1 << 30).msg
    key = client(BUFFER, "allocate", size=4).buffer_id
    assert (
        "5 bytes for a buffer of 4"
        in client(BUFFER, "write", {"buffer_id": key, "data": bytes(5)}).msg
    )
    assert (
        "bytes 1..3"
        in client(BUFFER, "write", {"buffer_id": key, "data": b"1", "start": 1, "end": 3}).msg
    )
    client(BUFFER, "freebuffer", buffer_id=key)
    assert "is not empty" in client(MMIO, "get_mmio", base_addr=0, length=0).msg
    window = client(MMIO, "get_mmio", base_addr=0xA000_0000, length=0x1000).mmio_id
    read = client(MMIO, "read", mmio_id=window, offset=0, length=4)
    assert "the programmable logic is empty" in read.msg
    assert not read.status
    assert "lie beyond window" in client(MMIO, "read", mmio_id=window, offset=0x1000, length=4).msg
    assert "no window 'x'" in client(MMIO, "write", mmio_id="x", offset=0, data=bytes(4)).msg
    assert "write of 8 bytes" in client(MMIO, "write", mmio_id=window, offset=0, data=bytes(8)).msg


def test_registers_of_the_processing_system_are_there(client: Client) -> None:
    window = client(MMIO, "get_mmio", base_addr=0xFF5E0000, length=0x100).mmio_id
    again = client(MMIO, "get_mmio", base_addr=0xFF5E0000, length=0x100).mmio_id
    assert window == again
    high = 0x8100_0F00
    assert client(
        MMIO, "write", mmio_id=window, offset=0xC4, data=high.to_bytes(4, "little")
    ).status
    assert client(MMIO, "read", mmio_id=window, offset=0xC4, length=4).data == high


def test_files_that_are_refused_end_the_call(client: Client) -> None:
    assert client(FILES, "existsfile", file_path="/proc/version").exists
    assert b"aarch64" in client(FILES, "readfile", file_path="/proc/version")[0].data
    client(FILES, "writefile", {"file_path": "/tmp/a", "data": b"12"}, {"data": b"3"})
    assert client(FILES, "readfile", file_path="/tmp/a")[0].data == b"123"
    with pytest.raises(grpc.RpcError, match="/etc/a: not writable"):
        client(FILES, "writefile", {"file_path": "/etc/a", "data": b"1"})
    with pytest.raises(grpc.RpcError, match="an empty stream"):
        client(FILES, "writefile")
    with pytest.raises(grpc.RpcError, match="/tmp/b: there is no such file"):
        client(FILES, "readfile", file_path="/tmp/b")
    with pytest.raises(grpc.RpcError, match="partial reconfiguration is not simulated"):
        client(FILES, "set_bitstream_attrs", binfile_name="a", partial=True)


def test_pins_are_exported_and_kept(client: Client) -> None:
    chip = client(GPIO, "get_gpio_base_path").base_path
    first = int("".join(filter(str.isdigit, chip)))
    assert client(GPIO, "get_gpio_npins").npins == 174
    pin = client(GPIO, "get_gpio", index=first + 78, direction="out").gpio_id
    client(GPIO, "write", gpio_id=pin, value=1)
    assert client(GPIO, "read", gpio_id=pin).value == 1
    assert client(GPIO, "is_exported", gpio_id=pin).is_exported
    client(GPIO, "unexport", gpio_id=pin)
    assert not client(GPIO, "is_exported", gpio_id=pin).is_exported
    assert "is not exported" in client(GPIO, "read", gpio_id=pin).message
    assert "no pin 5" in client(GPIO, "get_gpio", index=5, direction="out").message


def test_what_pynq_never_calls_is_not_there(client: Client) -> None:
    call = client.channel.unary_unary("/remote_device.RemoteDevice/shutdown")
    with pytest.raises(grpc.RpcError, match="Method not found"):
        call(b"", timeout=30)


def test_one_board_at_a_port(server: BoardServer) -> None:
    board = Board(board_model("zcu104"), fabrics("reference"))
    with pytest.raises(OSError, match=f"cannot listen at 127.0.0.1:{server.port}"):
        BoardServer(board, port=server.port)
