"""Header and configuration packets of .bit files."""

import struct

import pytest

from bitstreams import bit

BODY = bit.simulation_body(0x1234ABCD, {"arch": {"name": "tiny"}})
FILE = bit.BitFile("design;Version=1", "xc7z020clg400-1", "2026/01/02", "03:04:05", BODY)


def swapped(body: bytes) -> bytes:
    """The byte order of a .bin file."""
    words = struct.unpack(f">{len(body) // 4}I", body)
    return struct.pack(f"<{len(words)}I", *words)


def test_a_file_is_read_as_it_was_written() -> None:
    assert bit.BitFile.decode(FILE.encode()) == FILE


def test_the_header_is_vivados() -> None:
    header = FILE.encode()
    assert header[:13] == bytes.fromhex("00090ff00ff00ff00ff0000001")
    assert header[13:16] == b"a\x00\x11"
    assert header[-len(BODY) - 5 : -len(BODY)] == b"e" + struct.pack(">I", len(BODY))


@pytest.mark.parametrize("order", [bytes, swapped])
def test_user_access_and_description_in_both_byte_orders(order) -> None:
    assert bit.user_access(order(BODY)) == 0x1234ABCD
    assert bit.simulation_description(order(BODY)) == {"arch": {"name": "tiny"}}


def configuration(*words: int) -> bytes:
    return struct.pack(f">{len(words)}I", *words)


def test_words_of_frame_data_are_no_packets() -> None:
    frames = [0x3001A001, 0xBAD, 0x3001A001]  # data that looks like a write to USR_ACCESS
    body = configuration(
        0xFFFFFFFF, 0x000000BB, 0x11220044, bit.SYNC, 0x20000000,
        0x3001A001, 0x600DCAFE,  # USR_ACCESS
        0x30004000, 0x50000000 | len(frames), *frames,  # FDRI: type 1 of no words, then type 2
        0x28018001,  # a read of IDCODE has no data
        0x30008001, 0x0000000D, 0x3001A001, 0xBAD,  # behind the end of synchronisation
    )  # fmt: skip
    assert bit.user_access(body) == 0x600DCAFE
    assert [register for register, _ in bit.packets(body)] == [0x0D, 0x02, 0x02, 0x04]
    assert bit.simulation_description(body) is None


def test_a_bitstream_without_user_access() -> None:
    assert bit.user_access(configuration(bit.SYNC, 0x30008001, 0x0000000D)) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04", "no .bit file"),
        (FILE.encode()[:-4], "cut off; copy it again"),
        (FILE.encode()[:30], "damaged"),
        (FILE.encode().replace(b"b\x00\x10", b"x\x00\x10", 1), "damaged"),
    ],
)
def test_what_is_no_bit_file_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(bit.BitError, match=message):
        bit.BitFile.decode(content)


def test_a_broken_configuration_is_refused() -> None:
    with pytest.raises(bit.BitError, match="synchronisation word"):
        bit.user_access(configuration(1, 2, 3))
    with pytest.raises(bit.BitError, match="breaks off in a packet of 5 words"):
        bit.user_access(configuration(bit.SYNC, 0x30004005, 1, 2))


def test_a_body_of_whole_words() -> None:
    with pytest.raises(ValueError, match="3 bytes"):
        bit.BitFile("", "", "", "", b"abc").encode()
