"""Files with the suffix .bit: the header that Vivado writes, and the configuration behind it.

The header is a list of tagged fields; what follows are words of 32 bits, most significant byte
first: after the synchronisation word, packets that write the device's configuration registers
(7 Series: UG470, tables 5-19 to 5-25; UltraScale: UG570, chapter 9).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_MAGIC = bytes.fromhex("0ff00ff00ff00ff000")
_FIELDS = {"a": "design", "b": "part", "c": "date", "d": "time"}
_BODY = "e"
SYNC = 0xAA99_5566
_DUMMY, _NOP = 0xFFFF_FFFF, 0x2000_0000
_CMD, _AXSS = 0x04, 0x0D
"""Configuration registers: commands, and what the design reads from its primitive USR_ACCESSE2."""
_DESYNC = 0x0D
_WRITE = 2
EPOCH = "1970/01/01", "00:00:00"
"""Date and time of files that depend on nothing but their contents."""


class BitError(ValueError):
    """A file is no .bit file, or its configuration breaks off."""


@dataclass(frozen=True)
class BitFile:
    """A .bit file's header fields and its body, words as they lie in the file."""

    design: str
    part: str
    date: str
    time: str
    body: bytes

    def encode(self) -> bytes:
        """The file's bytes; ``ValueError`` where the body is no whole number of words."""
        if len(self.body) % 4:
            raise ValueError(f"a body of {len(self.body)} bytes is no whole number of words")
        out = struct.pack(">H", len(_MAGIC)) + _MAGIC + struct.pack(">H", 1)
        for tag, name in _FIELDS.items():
            text = getattr(self, name).encode("ascii") + b"\0"
            out += tag.encode() + struct.pack(">H", len(text)) + text
        return out + _BODY.encode() + struct.pack(">I", len(self.body)) + self.body

    @classmethod
    def decode(cls, content: bytes) -> BitFile:
        """From a file's bytes.

        Raises
        ------
        BitError
            The header is not one, or the body is shorter or longer than it says.
        """
        start = 2 + len(_MAGIC) + 2
        if content[:2] != struct.pack(">H", len(_MAGIC)) or content[2 : start - 2] != _MAGIC:
            raise BitError("this is no .bit file: it does not begin with the header's first field")
        fields: dict[str, str] = {}
        try:
            while (tag := chr(content[start])) != _BODY:
                (length,) = struct.unpack_from(">H", content, start + 1)
                text = content[start + 3 : start + 3 + length]
                fields[_FIELDS[tag]] = text.rstrip(b"\0").decode("ascii")
                start += 3 + length
            (length,) = struct.unpack_from(">I", content, start + 1)
            body = content[start + 5 :]
            if length != len(body):
                raise BitError(
                    f"the header announces {length} bytes of configuration, {len(body)} follow: "
                    "the file was cut off; copy it again"
                )
            return cls(body=body, **fields)
        except (IndexError, KeyError, TypeError, UnicodeDecodeError, struct.error) as error:
            raise BitError(f"the header of this .bit file is damaged ({error!r})") from error


def user_access(body: bytes) -> int | None:
    """What the configuration writes to USR_ACCESS, or None where it writes nothing.

    ``body`` may have the byte order of a .bit or of a .bin file (each word reversed).

    Raises
    ------
    BitError
        There is no synchronisation word.
    """
    value = None
    for register, words in packets(body):
        if register == _AXSS and words:
            value = words[-1]
    return value


def with_user_access(body: bytes, identity: int) -> bytes:
    """A configuration that writes ``identity`` to USR_ACCESS first of all.

    What follows begins with a reset of the checksum, which therefore does not see the addition.
    """
    order, position = _synchronised(body)
    added = struct.pack(order + "3I", _NOP, *_write(_AXSS, identity))
    return body[:position] + added + body[position:]


def packets(body: bytes) -> Iterator[tuple[int, tuple[int, ...]]]:
    """(register, words) of every write, up to the command that ends the synchronisation."""
    order, position = _synchronised(body)
    register = 0
    while position + 4 <= len(body):
        (header,) = struct.unpack_from(order + "I", body, position)
        position += 4
        kind, operation = header >> 29, header >> 27 & 3
        if kind == 1:
            register, count = header >> 13 & 0x1F, header & 0x7FF
        elif kind == 2:
            count = header & 0x7FF_FFFF
        else:
            continue
        if operation != _WRITE:
            continue
        if position + 4 * count > len(body):
            raise BitError(
                f"the configuration breaks off in a packet of {count} words: copy the file again"
            )
        words = struct.unpack_from(f"{order}{count}I", body, position)
        position += 4 * count
        yield register, words
        if register == _CMD and words == (_DESYNC,):
            return


def _synchronised(body: bytes) -> tuple[str, int]:
    """The byte order of the words, and where they begin behind the synchronisation word."""
    for order in "><":
        position = body.find(struct.pack(order + "I", SYNC))
        if position >= 0:
            return order, position + 4
    raise BitError("the configuration has no synchronisation word 0xAA995566: this is no bitstream")


def simulation_body(identity: int, description: dict[str, Any]) -> bytes:
    """A configuration that only a simulated board takes: USR_ACCESS, and no logic at all.

    ``description`` follows the packets as JSON, where a device would read nothing more; so a
    simulated board knows which accelerator to put behind the ports.
    """
    words = [_DUMMY] * 8 + [SYNC, _NOP, *_write(_AXSS, identity), _NOP]
    words += [*_write(_CMD, _DESYNC), *[_NOP] * 4]
    text = json.dumps(description, sort_keys=True, separators=(",", ":")).encode("ascii")
    return struct.pack(f">{len(words)}I", *words) + text + b" " * (-len(text) % 4)


def simulation_description(body: bytes) -> dict[str, Any] | None:
    """What ``simulation_body`` was given, or None for a bitstream of real logic.

    ``body`` may have the byte order of a .bit or of a .bin file.
    """
    order, _ = _synchronised(body)
    if order == "<":
        words = struct.unpack(f"<{len(body) // 4}I", body)
        body = struct.pack(f">{len(words)}I", *words)
    end = struct.pack(">6I", *_write(_CMD, _DESYNC), *[_NOP] * 4)
    _, found, text = body.partition(end)
    if not found or not text.startswith(b"{"):
        return None
    description: dict[str, Any] = json.loads(text)
    return description


def _write(register: int, value: int) -> tuple[int, int]:
    """A packet of type 1 that writes one word."""
    return 1 << 29 | _WRITE << 27 | register << 13 | 1, value
