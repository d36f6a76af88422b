"""The hardware handoff file (.hwh) of an overlay: what pynq knows of the design.

Vivado writes one with every block design. This one describes the same design with what pynq reads
(pynqmetadata 0.2): the processing system with its clocks and port widths, the accelerator with its
registers, the interrupt's way, the address map.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from bitstreams.design import CONTROLLER, Design
from codesign.arch import ISA_VERSION
from codesign.registers import REGISTERS

_AXI = "xilinx.com:interface:aximm:1.0"
_ACCESS = {"ro": "read-only", "rw": "read-write", "wo": "write-only"}
_CLOCKS = range(4)
Connection = tuple[str, str]
"""Instance and port."""


def hwh(design: Design) -> str:
    """The file's text."""
    board, processor = design.board, design.board.processor
    root = Element("EDKSYSTEM", EDWVERSION="1.2", TIMESTAMP="", VIVADOVERSION="")
    SubElement(
        root,
        "SYSTEMINFO",
        ARCH="zynq" if design.zynq7000 else "zynquplus",
        BOARD=board.name,
        DEVICE=board.die,
        PACKAGE=board.package,
        NAME=design.system,
        SPEEDGRADE=f"-{board.grade}",
    )
    SubElement(root, "EXTERNALPORTS")
    SubElement(root, "EXTERNALINTERFACES")
    modules = SubElement(root, "MODULES")
    _accelerator(modules, design)
    if design.controller:
        _interrupt_controller(modules, design)
    _processor(modules, design)
    ElementTree.indent(root)
    comment = f"<!-- codesign design {design.name}; processor {processor.ip} -->\n"
    text = ElementTree.tostring(root, encoding="unicode")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + comment + text + "\n"


def _module(parent: Element, instance: str, kind: str, vlnv: str) -> Element:
    version = vlnv.rsplit(":", 1)[1]
    return SubElement(
        parent, "MODULE", COREREVISION="1", FULLNAME=f"/{instance}", HWVERSION=version,
        INSTANCE=instance, IPTYPE="PERIPHERAL", IS_ENABLE="1", MODCLASS="PERIPHERAL",
        MODTYPE=kind, VLNV=vlnv,
    )  # fmt: skip


def _parameters(module: Element, values: Iterable[tuple[str, object]]) -> None:
    parent = SubElement(module, "PARAMETERS")
    for name, value in values:
        SubElement(parent, "PARAMETER", NAME=name, VALUE=str(value))


def _port(
    parent: Element, name: str, kind: str, direction: str, ends: Iterable[Connection]
) -> None:
    port = SubElement(parent, "PORT", DIR=direction, NAME=name, SIGIS=kind)
    if kind == "INTERRUPT":
        port.set("SENSITIVITY", "LEVEL_HIGH")
    connections = SubElement(port, "CONNECTIONS")
    for instance, end in ends:
        SubElement(connections, "CONNECTION", INSTANCE=instance, PORT=end)


def _interfaces(module: Element, values: Iterable[tuple[str, str, int]]) -> None:
    parent = SubElement(module, "BUSINTERFACES")
    for name, kind, bits in values:
        SubElement(parent, "BUSINTERFACE", DATAWIDTH=str(bits), NAME=name, TYPE=kind, VLNV=_AXI)


def _memory_map(module: Element, ranges: Iterable[tuple[str, int, int, str, str, str]]) -> None:
    """Ranges of (instance, first address, bytes, memory type, master port, slave port)."""
    parent = SubElement(module, "MEMORYMAP")
    for instance, base, size, kind, master, slave in ranges:
        SubElement(
            parent, "MEMRANGE", ADDRESSBLOCK="reg0" if kind == "REGISTER" else slave,
            BASENAME="C_BASEADDR", BASEVALUE=f"0x{base:08X}", HIGHNAME="C_HIGHADDR",
            HIGHVALUE=f"0x{base + size - 1:08X}", INSTANCE=instance, IS_DATA="TRUE",
            IS_INSTRUCTION="TRUE", MASTERBUSINTERFACE=master, MEMTYPE=kind,
            SLAVEBUSINTERFACE=slave,
        )  # fmt: skip


def _accelerator(modules: Element, design: Design) -> None:
    arch, cell = design.arch, design.cell
    module = _module(modules, cell, design.module, f"xilinx.com:module_ref:{design.module}:1.0")
    blocks = SubElement(module, "ADDRESSBLOCKS")
    block = SubElement(
        blocks, "ADDRESSBLOCK", ACCESS="read-write", INTERFACE="s_axi", NAME="reg0",
        RANGE=str(design.register_bytes), USAGE="register",
    )  # fmt: skip
    _registers(SubElement(block, "REGISTERS"))
    _parameters(module, (
        ("DESIGN_ID", f"0x{design.identity:08x}"),
        ("FINGERPRINT", f"0x{arch.fingerprint:08x}"),
        ("ISA_VERSION", ISA_VERSION),
        ("CLOCK_MHZ", f"{design.clock.mhz:.6f}"),
        ("ADDRESS_BITS", design.address_bits),
        ("ARCH", json.dumps(arch.to_dict(), sort_keys=True)),
        ("C_BASEADDR", f"0x{design.base:08X}"),
        ("C_HIGHADDR", f"0x{design.base + design.register_bytes - 1:08X}"),
    ))  # fmt: skip
    ports = SubElement(module, "PORTS")
    _port(ports, "aclk", "clk", "I", [design.clock_source])
    _port(ports, "interrupt", "INTERRUPT", "O", [design.interrupt_sink])
    _interfaces(module, (("s_axi", "SLAVE", 32), ("m_axi", "MASTER", arch.dma_bits)))
    _memory_map(module, [
        (design.ps, base, size, "MEMORY", "m_axi", design.board.processor.memory)
        for _, base, size in design.memory_ranges
    ])  # fmt: skip


def _registers(parent: Element) -> None:
    for register in REGISTERS:
        element = SubElement(parent, "REGISTER", NAME=register.name)
        for name, value in (
            ("DESCRIPTION", register.what),
            ("ADDRESS_OFFSET", f"0x{register.offset:X}"),
            ("SIZE", "32"),
            ("ACCESS", _ACCESS[register.access]),
            ("IS_ENABLED", "true"),
            ("RESET_VALUE", f"0x{register.initial:X}"),
        ):
            SubElement(element, "PROPERTY", NAME=name, VALUE=value)
        SubElement(element, "FIELDS")


def _interrupt_controller(modules: Element, design: Design) -> None:
    module = _module(modules, CONTROLLER, "axi_intc", "xilinx.com:ip:axi_intc:4.1")
    _parameters(module, (
        ("C_NUM_INTR_INPUTS", 1),
        ("C_BASEADDR", f"0x{design.controller_base:08X}"),
        ("C_HIGHADDR", f"0x{design.controller_base + design.register_bytes - 1:08X}"),
    ))  # fmt: skip
    ports = SubElement(module, "PORTS")
    _port(ports, "s_axi_aclk", "clk", "I", [design.clock_source])
    _port(ports, "intr", "INTERRUPT", "I", [(design.cell, "interrupt")])
    _port(ports, "irq", "INTERRUPT", "O", [(design.ps, design.ps_interrupt)])
    _interfaces(module, [("s_axi", "SLAVE", 32)])


def _processor(modules: Element, design: Design) -> None:
    processor = design.board.processor
    vlnv = f"xilinx.com:ip:{processor.ip}:{processor.version}"
    module = _module(modules, design.ps, processor.ip, vlnv)
    _parameters(module, _zynq(design) if design.zynq7000 else _zynqmp(design))
    ports = SubElement(module, "PORTS")
    clocked = [(design.cell, "aclk")]
    source = (CONTROLLER, "irq") if design.controller else (design.cell, "interrupt")
    if design.controller:
        clocked.append((CONTROLLER, "s_axi_aclk"))
    _port(ports, design.clock_source[1], "clk", "O", clocked)
    _port(ports, design.ps_interrupt, "INTERRUPT", "I", [source])
    _interfaces(module, (
        (processor.control, "MASTER", 32),
        (processor.memory, "SLAVE", design.arch.dma_bits),
    ))  # fmt: skip
    size, control = design.register_bytes, processor.control
    ranges = [(design.cell, design.base, size, "REGISTER", control, "s_axi")]
    if design.controller:
        address = design.controller_base
        ranges.append((CONTROLLER, address, size, "REGISTER", control, "s_axi"))
    _memory_map(module, ranges)


def _zynq(design: Design) -> list[tuple[str, object]]:
    """Parameters of the Zynq-7000's processing system, by the names of its IP (PG082)."""
    clock = design.clock
    values: list[tuple[str, object]] = []
    for i in _CLOCKS:
        used = i == 0
        values += [
            (f"PCW_FPGA_FCLK{i}_ENABLE", int(used)),
            (f"PCW_FCLK{i}_PERIPHERAL_CLKSRC", "IO PLL"),
            (f"PCW_FCLK{i}_PERIPHERAL_DIVISOR0", clock.first if used else 1),
            (f"PCW_FCLK{i}_PERIPHERAL_DIVISOR1", clock.second if used else 1),
            (f"PCW_ACT_FPGA{i}_PERIPHERAL_FREQMHZ", f"{clock.mhz if used else 10:.6f}"),
        ]
    return values


def _zynqmp(design: Design) -> list[tuple[str, object]]:
    """Parameters of the Zynq UltraScale+'s processing system, by the names of its IP (PG201)."""
    clock = design.clock
    values: list[tuple[str, object]] = [
        ("C_MAXIGP0_DATA_WIDTH", 32),
        ("C_SAXIGP2_DATA_WIDTH", design.arch.dma_bits),
    ]
    for i in _CLOCKS:
        used = i == 0
        prefix = f"PSU__CRL_APB__PL{i}_REF_CTRL__"
        values += [
            (f"PSU__FPGA_PL{i}_ENABLE", int(used)),
            (f"{prefix}SRCSEL", "IOPLL"),
            (f"{prefix}DIVISOR0", clock.first if used else 4),
            (f"{prefix}DIVISOR1", clock.second if used else 1),
            (f"{prefix}ACT_FREQMHZ", f"{clock.mhz if used else 100:.6f}"),
        ]
    return values
