"""Vivado's side of an overlay: the block design as Tcl, constraints, and running the build.

Commands and properties: UG835 (Tcl), UG994 (block designs), UG912 (properties), PG082 and PG201
(processing systems).
"""

from __future__ import annotations

import textwrap

from bitstreams.design import CONTROLLER, HIGH_MEMORY, SYSTEM, Design

_RESET, _CONTROL, _MEMORY = "reset_0", "control_0", "memory_0"
"""Cells of the block design: reset synchroniser, interconnect to the registers, and to DRAM."""
DONE = "codesign: bitstream written"
"""What the script prints last."""
_ROUNDING = 1e-4
"""Vivado tells 142.857132 MHz where 1000 / 7 are meant."""


def script(design: Design) -> str:
    """Tcl that builds the block design, implements it and writes the bitstream.

    `vivado -mode batch -source NAME.tcl` in the folder of the files; the project is made beside
    them, and the bitstream lands there.
    """
    parts = (_head(design), _processor(design), _cells(design), _nets(design), _addresses(design),
             _build(design))  # fmt: skip
    return "\n".join(parts)


def _head(design: Design) -> str:
    board = design.board
    return textwrap.dedent(f"""\
        # {design.name}: codesign accelerator {design.arch.name} on {board.name}.
        # vivado -mode batch -source {design.name}.tcl
        set name {design.name}
        set here [file normalize [file dirname [info script]]]
        create_project -force $name [file join $here project_$name] -part {board.device}

        # The board's own preset of the processing system, where Vivado has its board files. The
        # image that boots the board has set DRAM and pins up already: the design runs without.
        set files [get_board_parts -quiet -latest_file_version {{{board.vivado}}}]
        if {{[llength $files] > 0}} {{
            set_property board_part [lindex $files 0] [current_project]
        }} else {{
            puts "codesign: no board files match {board.vivado}; DRAM and pins stay at defaults"
        }}
        set preset [expr {{[llength $files] > 0}}]

        add_files -norecurse [file join $here $name.v]
        add_files -fileset constrs_1 -norecurse [file join $here $name.xdc]
        update_compile_order -fileset sources_1
        create_bd_design {SYSTEM}
        """)


def _processor(design: Design) -> str:
    processor = design.board.processor
    external = "make_external {FIXED_IO, DDR} " if design.zynq7000 else ""
    values = _zynq(design) if design.zynq7000 else _zynqmp(design)
    width = max(map(len, values))
    lines = "".join(f"    CONFIG.{key:{width}} {{{value}}} \\\n" for key, value in values.items())
    made = "PCW_ACT_FPGA0_PERIPHERAL_FREQMHZ"
    if not design.zynq7000:
        made = "PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ"
    return (
        f"create_bd_cell -type ip -vlnv xilinx.com:ip:{processor.ip} {design.ps}\n"
        f"apply_bd_automation -rule xilinx.com:bd_rule:{processor.ip} \\\n"
        f"    -config [list {external}apply_board_preset $preset] [get_bd_cells {design.ps}]\n"
        f"set_property -dict [list \\\n{lines}] [get_bd_cells {design.ps}]\n"
        + _clock_check(design, made)
    )


def _clock_check(design: Design, made: str) -> str:
    """A clock below the one that pynq sets would be constrained too loosely."""
    mhz = design.clock.mhz
    return textwrap.dedent(f"""\
        # pynq sets the clock by the handoff file; timing must be met at no less
        set made [get_property CONFIG.{made} [get_bd_cells {design.ps}]]
        if {{![string is double -strict $made] || $made < {mhz * (1 - _ROUNDING):.6f}}} {{
            error "codesign: Vivado makes a clock of '$made' MHz where {mhz:.6f} MHz will run:\\
        install board files that match {design.board.vivado}, or choose another clock_mhz"
        }}
        """)


def _zynq(design: Design) -> dict[str, object]:
    return {
        "PCW_CRYSTAL_PERIPHERAL_FREQMHZ": 50,
        "PCW_FPGA0_PERIPHERAL_FREQMHZ": f"{design.clock.mhz:.6f}",
        "PCW_FCLK0_PERIPHERAL_CLKSRC": "IO PLL",
        "PCW_FPGA_FCLK0_ENABLE": 1,
        "PCW_EN_CLK0_PORT": 1,
        "PCW_EN_RST0_PORT": 1,
        "PCW_USE_M_AXI_GP0": 1,
        "PCW_USE_S_AXI_HP0": 1,
        "PCW_S_AXI_HP0_DATA_WIDTH": design.arch.dma_bits,
        "PCW_USE_FABRIC_INTERRUPT": 1,
        "PCW_IRQ_F2P_INTR": 1,
    }


def _zynqmp(design: Design) -> dict[str, object]:
    return {
        "PSU__FPGA_PL0_ENABLE": 1,
        "PSU__CRL_APB__PL0_REF_CTRL__SRCSEL": "IOPLL",
        "PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ": f"{design.clock.mhz:.6f}",
        "PSU__USE__FABRIC__RST": 1,
        "PSU__USE__M_AXI_GP0": 1,
        "PSU__MAXIGP0__DATA_WIDTH": 32,
        "PSU__USE__M_AXI_GP1": 0,
        "PSU__USE__M_AXI_GP2": 0,
        "PSU__USE__S_AXI_GP2": 1,
        "PSU__SAXIGP2__DATA_WIDTH": design.arch.dma_bits,
        "PSU__USE__IRQ0": 1,
    }


def _cells(design: Design) -> str:
    return textwrap.dedent(f"""\
        create_bd_cell -type module -reference {design.module} {design.cell}
        create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset {_RESET}
        create_bd_cell -type ip -vlnv xilinx.com:ip:axi_intc {CONTROLLER}
        create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect {_CONTROL}
        create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect {_MEMORY}
        set_property -dict [list CONFIG.NUM_SI {{1}} CONFIG.NUM_MI {{2}}] [get_bd_cells {_CONTROL}]
        set_property -dict [list CONFIG.NUM_SI {{1}} CONFIG.NUM_MI {{1}}] [get_bd_cells {_MEMORY}]
        # level interrupts, one line to the processing system
        set_property -dict [list CONFIG.C_IRQ_CONNECTION {{1}} CONFIG.C_IRQ_IS_LEVEL {{1}}] \\
            [get_bd_cells {CONTROLLER}]
        """)


def _nets(design: Design) -> str:
    processor, ps = design.board.processor, design.ps
    clock, reset = "/".join(design.clock_source), "/".join(design.reset_source)
    interfaces = [
        (f"{ps}/{processor.control}", f"{_CONTROL}/S00_AXI"),
        (f"{_CONTROL}/M00_AXI", f"{design.cell}/s_axi"),
        (f"{_CONTROL}/M01_AXI", f"{CONTROLLER}/s_axi"),
        (f"{design.cell}/m_axi", f"{_MEMORY}/S00_AXI"),
        (f"{_MEMORY}/M00_AXI", f"{ps}/{processor.memory}"),
    ]
    clocked = [
        f"{_RESET}/slowest_sync_clk",
        *(f"{cell}/aclk" for cell in (_CONTROL, _MEMORY, design.cell)),
        f"{CONTROLLER}/s_axi_aclk",
        *(f"{ps}/{pin}" for pin in _clock_pins(design)),
    ]
    held = [
        *(f"{c}/aresetn" for c in (_CONTROL, _MEMORY, design.cell)),
        f"{CONTROLLER}/s_axi_aresetn",
    ]
    lines = [
        f"connect_bd_intf_net [get_bd_intf_pins {a}] [get_bd_intf_pins {b}]" for a, b in interfaces
    ]
    lines += [_net(clock, clocked), _net(reset, [f"{_RESET}/ext_reset_in"])]
    lines.append(_net(f"{_RESET}/peripheral_aresetn", held))
    lines.append(_net(f"{design.cell}/interrupt", [f"{CONTROLLER}/intr"]))
    lines.append(_net(f"{CONTROLLER}/irq", [f"{ps}/{design.ps_interrupt}"]))
    return "\n".join(lines) + "\n"


def _clock_pins(design: Design) -> tuple[str, ...]:
    """Clock inputs of the processing system's ports."""
    if design.zynq7000:
        return "M_AXI_GP0_ACLK", "S_AXI_HP0_ACLK"
    return "maxihpm0_fpd_aclk", "saxihp0_fpd_aclk"


def _net(source: str, sinks: list[str]) -> str:
    pins = "".join(f" \\\n    [get_bd_pins {pin}]" for pin in sinks)
    return f"connect_bd_net [get_bd_pins {source}]{pins}"


_REMEDY = (
    "see what get_bd_addr_segs lists of that port, and put its name for DRAM into this script",
    "without board files that match {} Vivado knows of no DRAM beyond 2 GiB; install them",
)
"""Where a segment of DRAM is missing: the lower, the upper one."""


def _addresses(design: Design) -> str:
    processor, size = design.board.processor, f"{design.register_bytes // 1024}K"
    space = f"[get_bd_addr_spaces {design.ps}/Data]"
    lines = []
    for cell, segment, base in (
        (design.cell, "s_axi/reg0", design.base),
        (CONTROLLER, "S_AXI/Reg", design.controller_base),
    ):
        lines.append(
            f"assign_bd_address -offset 0x{base:08X} -range {size} \\\n"
            f"    -target_address_space {space} [get_bd_addr_segs {cell}/{segment}] -force"
        )
    master = f"[get_bd_addr_spaces {design.cell}/m_axi]"
    port = processor.memory if design.zynq7000 else "SAXIGP2"
    for name, base, length in design.memory_ranges:
        # a range is a power of two: the upper segment goes whole to where Vivado has it
        where = "" if name == HIGH_MEMORY else f"-offset 0x{base:X} -range 0x{length:X} "
        lines.append(
            f"set segment [get_bd_addr_segs -quiet {design.ps}/{port}/{name}]\n"
            "if {[llength $segment] != 1} {\n"
            f'    error "codesign: {design.ps} offers no {port}/{name} for {design.board.name}: '
            f'{_REMEDY[name == HIGH_MEMORY].format(design.board.vivado)}"\n'
            "}\n"
            f"assign_bd_address {where}\\\n"
            f"    -target_address_space {master} $segment -force"
        )
    return "\n".join(lines) + "\n"


def _build(design: Design) -> str:
    return textwrap.dedent(f"""\
        validate_bd_design
        save_bd_design
        set wrapper [make_wrapper -files [get_files {SYSTEM}.bd] -top]
        add_files -norecurse $wrapper
        set_property top {SYSTEM}_wrapper [current_fileset]
        update_compile_order -fileset sources_1

        set_property strategy Performance_ExplorePostRoutePhysOpt [get_runs impl_1]
        launch_runs impl_1 -to_step write_bitstream -jobs 4
        wait_on_run impl_1
        if {{[get_property PROGRESS [get_runs impl_1]] ne "100%"}} {{
            error "codesign: the build stopped: [get_property STATUS [get_runs impl_1]]"
        }}
        open_run impl_1
        report_utilization -hierarchical -file [file join $here $name.utilization.rpt]
        report_timing_summary -file [file join $here $name.timing.rpt]
        foreach {{figure check remedy}} {{
            WHS hold "try another strategy of impl_1"
            WNS setup "choose a slower clock_mhz"
        }} {{
            set slack [get_property STATS.$figure [get_runs impl_1]]
            if {{![string is double -strict $slack]}} {{
                error "codesign: impl_1 has no $figure (it is '$slack'), so that nothing\\
        tells whether timing is met: see $name.timing.rpt"
            }}
            if {{$slack < 0}} {{
                error "codesign: timing fails by [expr {{-$slack}}] ns ($check) at\\
        {design.clock.mhz:.3f} MHz: $remedy, see $name.timing.rpt"
            }}
        }}
        set made [file join [get_property DIRECTORY [get_runs impl_1]] {SYSTEM}_wrapper.bit]
        file copy -force $made [file join $here $name.bit]
        puts "{DONE} to $name.bit, worst slack $slack ns"
        """)


def constraints(design: Design) -> str:
    """XDC: the bitstream's identity, and where a design of no pins needs nothing else.

    Clocks come constrained from the processing system's IP.
    """
    return textwrap.dedent(f"""\
        # {design.name}: a design without pins of its own; the processing system constrains its
        # clock. The bitstream tells which design it is (register USR_ACCESS, UG470 and UG570).
        set_property BITSTREAM.CONFIG.USR_ACCESS 0x{design.identity:08X} [current_design]
        set_property BITSTREAM.GENERAL.COMPRESS TRUE [current_design]
        """)
