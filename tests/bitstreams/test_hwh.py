"""What pynq reads of a handoff file, for every board."""

from xml.etree import ElementTree

import pytest

from bitstreams.design import Design
from bitstreams.hwh import hwh
from codesign.arch import preset
from codesign.boards import BOARDS
from codesign.registers import REGISTERS

TINY = preset("tiny")


def design(board: str, **changes) -> Design:
    return Design(TINY.replace(board=board), BOARDS[board], "", identity=0xABCD1234, **changes)


def parsed(board: str, **changes) -> tuple[Design, ElementTree.Element]:
    made = design(board, **changes)
    return made, ElementTree.fromstring(hwh(made).encode())


def module(root: ElementTree.Element, instance: str) -> ElementTree.Element:
    (found,) = (m for m in root.iter("MODULE") if m.get("INSTANCE") == instance)
    return found


def parameters(element: ElementTree.Element) -> dict[str, str]:
    return {p.get("NAME"): p.get("VALUE") for p in element.iter("PARAMETER")}


@pytest.mark.parametrize("board", BOARDS)
def test_clocks_multiply_up_to_the_boards_pll(board: str) -> None:
    made, root = parsed(board)
    values = parameters(module(root, made.ps))
    name = "PCW_FCLK{}_PERIPHERAL_{}" if made.zynq7000 else "PSU__CRL_APB__PL{}_REF_CTRL__{}"
    enable = "PCW_FPGA_FCLK{}_ENABLE" if made.zynq7000 else "PSU__FPGA_PL{}_ENABLE"
    assert [values[enable.format(i)] for i in range(4)] == ["1", "0", "0", "0"]
    for i in range(4):  # pynq divides by those of clocks that are off, too
        assert all(int(values[name.format(i, f"DIVISOR{j}")]) > 0 for j in (0, 1))
    divisor = int(values[name.format(0, "DIVISOR0")]) * int(values[name.format(0, "DIVISOR1")])
    mhz = made.board.processor.pll_mhz / divisor
    assert mhz <= TINY.clock_mhz
    assert mhz == pytest.approx(float(parameters(module(root, made.cell))["CLOCK_MHZ"]))


@pytest.mark.parametrize("board", BOARDS)
def test_the_address_map_names_what_is_there(board: str) -> None:
    made, root = parsed(board)
    interfaces = {
        (m.get("INSTANCE"), b.get("NAME")): b.get("TYPE")
        for m in root.iter("MODULE")
        for b in m.iter("BUSINTERFACE")
    }
    taken = []
    for m in root.iter("MODULE"):
        for r in m.iter("MEMRANGE"):
            assert interfaces[m.get("INSTANCE"), r.get("MASTERBUSINTERFACE")] == "MASTER"
            assert interfaces[r.get("INSTANCE"), r.get("SLAVEBUSINTERFACE")] == "SLAVE"
            if r.get("MEMTYPE") == "REGISTER":
                taken.append((int(r.get("BASEVALUE"), 16), int(r.get("HIGHVALUE"), 16)))
    assert len(taken) == 2
    assert all(high == base + 0xFFF for base, high in taken)
    assert len({base for base, _ in taken}) == 2
    assert min(base for base, _ in taken) == made.base


@pytest.mark.parametrize("board", BOARDS)
def test_both_ends_of_every_connection_know_of_it(board: str) -> None:
    _, root = parsed(board)
    edges = {
        ((m.get("INSTANCE"), p.get("NAME")), (c.get("INSTANCE"), c.get("PORT")))
        for m in root.iter("MODULE")
        for p in m.iter("PORT")
        for c in p.iter("CONNECTION")
    }
    assert edges == {(b, a) for a, b in edges}
    assert (("accelerator", "interrupt"), ("axi_intc_0", "intr")) in edges


def test_registers_are_the_accelerators() -> None:
    made, root = parsed("pynq-z2")
    accelerator = module(root, made.cell)
    (block,) = accelerator.iter("ADDRESSBLOCK")
    assert block.get("USAGE") == "register"
    found = {
        r.get("NAME"): int(
            next(p for p in r.iter("PROPERTY") if p.get("NAME") == "ADDRESS_OFFSET").get("VALUE"),
            16,
        )
        for r in block.iter("REGISTER")
    }
    assert found == {register.name: register.offset for register in REGISTERS}
    values = parameters(accelerator)
    assert values["DESIGN_ID"] == "0xabcd1234"
    assert int(values["FINGERPRINT"], 16) == TINY.fingerprint


def test_without_a_controller_the_interrupt_goes_to_the_processor() -> None:
    made, root = parsed("pynq-z2", controller=False)
    assert {m.get("INSTANCE") for m in root.iter("MODULE")} == {made.cell, made.ps}
    (interrupt,) = (p for p in root.iter("PORT") if p.get("NAME") == "interrupt")
    (connection,) = interrupt.iter("CONNECTION")
    assert connection.attrib == {"INSTANCE": made.ps, "PORT": "IRQ_F2P"}


def test_port_widths_of_ultrascale_follow_the_architecture() -> None:
    wide = Design(TINY.replace(dma_bits=128), BOARDS["zcu104"], "")
    assert 'NAME="C_SAXIGP2_DATA_WIDTH" VALUE="128"' in hwh(wide)
    assert 'NAME="C_SAXIGP2_DATA_WIDTH" VALUE="64"' in hwh(design("zcu104"))
    with pytest.raises(ValueError, match="dma_bits=128: port S_AXI_HP0 of pynq-z2 has 64"):
        Design(TINY.replace(dma_bits=128), BOARDS["pynq-z2"], "")
