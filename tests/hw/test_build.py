"""The generated text: ports, name, fingerprint, repeatability."""

from __future__ import annotations

import re

from codesign.arch import preset
from codesign.latency import BURST_BEATS, SAVE_OUTSTANDING
from hw.build import MODULE, generate, generate_rtlil
from hw.top import MASTER, SLAVE

TINY = preset("tiny")


def ports(text: str) -> dict[str, tuple[str, int]]:
    """Direction and width of every port of the top module of a Verilog text."""
    module = text[text.index(f"module {MODULE}(") :]
    module = module[: module.index("endmodule")]
    found = re.findall(
        r"^\s*(input|output) (?:wire |reg )?(?:\[(\d+):0\] )?(\w+)\s*;", module, re.M
    )
    return {name: (direction, int(high or 0) + 1) for direction, high, name in found}


def test_ports_are_those_of_a_block_design() -> None:
    found = ports(generate(TINY))
    assert found["aclk"] == found["aresetn"] == ("input", 1)
    assert found["interrupt"] == ("output", 1)
    assert found[SLAVE + "awaddr"] == ("input", 12)
    assert found[SLAVE + "rdata"] == ("output", 32)
    assert found[MASTER + "araddr"] == ("output", 40)
    assert found[MASTER + "wstrb"] == ("output", TINY.beat_bytes)
    assert found[MASTER + "rdata"] == ("input", TINY.dma_bits)
    address = {"id", "addr", "len", "size", "burst", "lock", "cache", "prot", "qos"}
    address |= {"valid", "ready"}
    expected = {MASTER + channel + name for channel in ("ar", "aw") for name in address}
    assert expected <= found.keys()
    rest = found.keys() - {"aclk", "aresetn", "interrupt"}
    assert all(name.startswith((SLAVE, MASTER)) for name in rest)


def test_clock_reset_and_interrupt_tell_a_block_design_what_they_are() -> None:
    text = generate(TINY)
    module = text[text.index(f"module {MODULE}(") :]
    for port, words in {
        "input aclk;": ["clock:1.0 aclk CLK", "ASSOCIATED_BUSIF s_axi:m_axi, ASSOCIATED_RESET are"],
        "input aresetn;": ["reset:1.0 aresetn RST", '"POLARITY ACTIVE_LOW"'],
        "output interrupt;": ["interrupt:1.0 interrupt INTERRUPT", '"SENSITIVITY LEVEL_HIGH"'],
    }.items():
        lines = module[: module.index(port)].splitlines()
        attributes = "".join(line for line in lines[-3:] if line.lstrip().startswith("(*"))
        assert all(word in attributes for word in words), attributes


def test_the_memory_port_tells_what_it_asks_for() -> None:
    text = generate(TINY.replace(dma_bits=128))
    module = text[text.index(f"module {MODULE}(") :]
    module = module[: module.index("endmodule")]
    infos = re.findall(r'X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi (\w+)"', module)
    assert {MASTER + name.lower() for name in infos} == {n for n in ports(text) if MASTER in n}
    (parameters,) = re.findall(r'X_INTERFACE_PARAMETER = "(PROTOCOL[^"]*)"', module)
    values = dict(pair.split(" ") for pair in parameters.split(", "))
    assert values == {
        "PROTOCOL": "AXI4",
        "DATA_WIDTH": "128",
        "ADDR_WIDTH": "40",
        "ID_WIDTH": "1",
        "SUPPORTS_NARROW_BURST": "0",
        "MAX_BURST_LENGTH": str(BURST_BEATS),
        "NUM_READ_OUTSTANDING": "32",
        "NUM_WRITE_OUTSTANDING": str(SAVE_OUTSTANDING + 1),
    }


def test_text_is_repeatable_and_carries_the_fingerprint() -> None:
    text = generate_rtlil(TINY)
    assert f"fingerprint 0x{TINY.fingerprint:08x}" in text.splitlines()[0]
    assert generate_rtlil(TINY) == text
    assert generate_rtlil(TINY.replace(pixels=5)) != text
