"""What stops the machine: the checks of docs/machine.md, "Faults", on single instructions."""

from __future__ import annotations

from collections.abc import Iterator

from codesign.arch import ISA_VERSION, Arch
from codesign.arith import SHIFT_MAX, SHIFT_MIN
from codesign.isa import Base, ErrorCode, Instruction, Mode, Opcode, Target
from codesign.reference.memory import (
    Transfer,
    depth,
    depthwise_words,
)
from codesign.registers import ADDRESS_BITS, ALIGNMENT

Fault = tuple[ErrorCode, str]
_BANKS = {prefix: (f"{prefix}_bank", f"{prefix}_pitch_bank") for prefix in ("dst", "res")}


def begin_faults(arch: Arch, i: Instruction) -> Iterator[Fault]:
    """A program for another instruction set or architecture."""
    if i["isa_version"] != ISA_VERSION:
        yield (
            ErrorCode.ARCH_MISMATCH,
            f"program of ISA version {i['isa_version']} on a machine of version {ISA_VERSION}",
        )
    if i["fingerprint"] != arch.fingerprint:
        yield (
            ErrorCode.ARCH_MISMATCH,
            f"program for fingerprint {i['fingerprint']:08X} on a machine {arch.fingerprint:08X}",
        )


def buffer_faults(name: str, address: int, size: int) -> Iterator[Fault]:
    """A buffer in DRAM that no part or transfer may use."""
    if address % ALIGNMENT:
        yield ErrorCode.MALFORMED, f"{name}_BASE=0x{address:X} is no multiple of {ALIGNMENT}"
    if address + size > 1 << ADDRESS_BITS:
        yield (
            ErrorCode.ADDRESS_RANGE,
            f"buffer {name} ends at 0x{address + size:X}, beyond {ADDRESS_BITS} bits of address",
        )


def transfer_faults(arch: Arch, i: Instruction, size: int, address: int = 0) -> Iterator[Fault]:
    """LOAD and SAVE: ``size`` is that of the DRAM buffer in bytes, ``address`` where it begins."""
    malformed = [f"{field}=0" for field in ("rows", "words") if not i[field]]
    malformed += [
        f"{field} is no multiple of {ALIGNMENT}"
        for field in ("offset", "stride")
        if i[field] % ALIGNMENT
    ]
    buffer = list(buffer_faults(Base(i["base"]).name, address, size))
    malformed += [what for code, what in buffer if code is ErrorCode.MALFORMED]
    target = i["target"] if i.opcode is Opcode.LOAD else Target.ACT
    if target > max(Target):
        malformed.append(f"target={target}")
    elif target == Target.ACT:
        if i["region"] >= arch.regions:
            malformed.append(f"region={i['region']} of {arch.regions}")
        malformed += [
            f"{name}={i[name]} of {arch.pixels}"
            for name in ("bank", "stride_bank")
            if i[name] >= arch.pixels
        ]
    if malformed:
        yield ErrorCode.MALFORMED, ", ".join(malformed)
        return
    yield from buffer
    transfer = Transfer.of(arch, i)
    last, limit = int(transfer.words[-1, -1]), depth(arch, transfer.target)
    if last >= limit:
        yield (
            ErrorCode.ADDRESS_RANGE,
            f"reaches word {last} of {transfer.target.name}, which has {limit}",
        )
    padded = -(-transfer.row_bytes // arch.beat_bytes) * arch.beat_bytes
    end = i["offset"] + (i["rows"] - 1) * i["stride"] + padded
    if end > size:
        yield (
            ErrorCode.ADDRESS_RANGE,
            f"reaches byte {end} of buffer {Base(i['base']).name}, which has {size}",
        )


def calc_faults(arch: Arch, i: Instruction) -> Iterator[Fault]:
    """CALC: fields that contradict the architecture or each other, and memories too short."""
    malformed = [f"{field}=0" for field in ("groups", "taps", "planes") if not i[field]]
    if i["mode"] > max(Mode):
        malformed.append(f"mode={i['mode']}")
    limit = arch.planes if i["mode"] == Mode.DENSE else 1
    if i["planes"] > limit:
        malformed.append(f"planes={i['planes']} of {limit}")
    if i["grid_width"] < arch.drain:
        malformed.append(f"grid_width={i['grid_width']} below drain={arch.drain}")
    if i["table"] and i["table_id"] >= arch.tables:
        malformed.append(f"table_id={i['table_id']} of {arch.tables}")
    malformed += _map_contradictions(arch, i)
    if i["residual"]:
        if i["res_region"] == i["src_region"]:
            malformed.append(f"res_region={i['res_region']} is the source's")
        if not SHIFT_MIN <= i["add_shift"] <= SHIFT_MAX:
            malformed.append(f"add_shift={i['add_shift']} outside {SHIFT_MIN}..{SHIFT_MAX}")
    if malformed:
        yield ErrorCode.MALFORMED, ", ".join(malformed)
        return
    words = {Mode.DENSE: i["taps"], Mode.DEPTHWISE: depthwise_words(arch, i["taps"]), Mode.MAX: 0}
    for target, first, count in (
        (Target.TAP, i["tap_base"], i["taps"]),
        (Target.WGT, i["wgt_base"], words[Mode(i["mode"])]),
        (Target.PARAM, i["param_base"], i["planes"]),
    ):
        if count and first + count > depth(arch, target):
            yield (
                ErrorCode.ADDRESS_RANGE,
                f"reaches word {first + count - 1} of {target.name}, "
                f"which has {depth(arch, target)}",
            )
    for prefix in ("dst", "res") if i["residual"] else ("dst",):
        row = i[f"{prefix}_row"]
        if row >= arch.act_depth:
            yield (
                ErrorCode.ADDRESS_RANGE,
                f"{prefix}_row={row} of a region of {arch.act_depth} rows",
            )


def _map_contradictions(arch: Arch, i: Instruction) -> Iterator[str]:
    for prefix in ("src", "dst", "res") if i["residual"] else ("src", "dst"):
        if i[f"{prefix}_region"] >= arch.regions:
            yield f"{prefix}_region={i[f'{prefix}_region']} of {arch.regions}"
        for name in (f"{prefix}_bank",) if prefix == "src" else _BANKS[prefix]:
            if i[name] >= arch.pixels:
                yield f"{name}={i[name]} of {arch.pixels}"
        if prefix != "src" and i[f"{prefix}_split"] and i["grid_width"] % arch.drain:
            yield f"{prefix}_split=1, but grid_width={i['grid_width']} of drain={arch.drain}"
