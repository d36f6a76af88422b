"""A DRAM behind an AXI4 port in Amaranth's simulator: random stalls, checks of the protocol, errors
on request.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

BOUNDARY = 4096
LONGEST = 64


@dataclass
class AxiMemory:
    """Serves the ``read`` and ``write`` channels of components with ports as in ``hw.axi``.

    ``stall`` is the probability that a channel pauses in a cycle; ``latency`` the cycles from an AR
    handshake to its first beat; addresses in ``errors`` answer SLVERR.
    """

    data: bytearray
    beat_bytes: int
    read: object = None
    write: object = None
    prefix: str = ""
    seed: int = 0
    stall: float = 0.0
    latency: int = 4
    errors: set[int] = field(default_factory=set)
    bursts: list[tuple[int, int]] = field(default_factory=list)
    write_bursts: list[tuple[int, int]] = field(default_factory=list)
    beat_times: list[int] = field(default_factory=list)
    request_times: list[int] = field(default_factory=list)
    response_times: list[int] = field(default_factory=list)
    outstanding: int = 0

    def _port(self, side, name):
        return getattr(side, self.prefix + name)

    def _check(self, address: int, length: int, size: int, burst: int) -> None:
        beats = length + 1
        assert beats <= LONGEST
        assert burst == 1
        assert 1 << size == self.beat_bytes
        assert address % self.beat_bytes == 0
        last = address + beats * self.beat_bytes - 1
        assert address // BOUNDARY == last // BOUNDARY, f"burst at {address:#x} crosses 4 KiB"

    async def serve_reads(self, ctx) -> None:
        rng = random.Random(self.seed)
        names = ("arvalid", "araddr", "arlen", "arsize", "arburst", "arid", "rready")
        signals = [self._port(self.read, name) for name in names]
        queues = {0: deque(), 1: deque()}
        time, arready, rvalid, held = 0, 0, 0, None
        while True:
            _, _, *values = await ctx.tick().sample(*signals)
            valid, address, length, size, burst, identity, rready = values
            if held is not None:
                assert (1, *held) == (valid, address, length, identity), "AR changed while waiting"
            held = (address, length, identity) if valid and not arready else None
            if valid and arready:
                self._check(address, length, size, burst)
                self.bursts.append((address, length + 1))
                self.request_times.append(time)
                self.outstanding += 1
                for i in range(length + 1):
                    place = address + i * self.beat_bytes
                    queues[identity].append((time + self.latency, place, i == length))
            if rvalid:
                assert rready, "read data refused"
            rvalid = 0
            ready = [i for i, queue in queues.items() if queue and queue[0][0] <= time + 1]
            if ready and rng.random() >= self.stall:
                identity = (
                    rng.choice(ready) if self.stall else min(ready, key=lambda i: queues[i][0][0])
                )
                _, place, last = queues[identity].popleft()
                word = int.from_bytes(self.data[place : place + self.beat_bytes], "little")
                ctx.set(self._port(self.read, "rdata"), word)
                ctx.set(self._port(self.read, "rid"), identity)
                ctx.set(self._port(self.read, "rlast"), last)
                ctx.set(self._port(self.read, "rresp"), 2 if place in self.errors else 0)
                self.outstanding -= last
                self.beat_times.append(time + 1)
                rvalid = 1
            arready = int(rng.random() >= self.stall)
            ctx.set(self._port(self.read, "rvalid"), rvalid)
            ctx.set(self._port(self.read, "arready"), arready)
            time += 1

    async def serve_writes(self, ctx) -> None:
        rng = random.Random(self.seed + 1)
        names = ("awvalid", "awaddr", "awlen", "awsize", "awburst", "awid")
        names += ("wvalid", "wdata", "wstrb", "wlast", "bready")
        signals = [self._port(self.write, name) for name in names]
        bursts, responses = deque(), deque()
        beat, time = 0, 0
        awready = wready = bvalid = 0
        waiting = None
        beats = deque()
        while True:
            _, _, *values = await ctx.tick().sample(*signals)
            valid, address, length, size, burst, identity, *values = values
            wvalid, wdata, wstrb, wlast, bready = values
            if valid and awready:
                self._check(address, length, size, burst)
                self.write_bursts.append((address, length + 1))
                self.request_times.append(time)
                bursts.append((address, length, identity))
            if waiting is not None:
                assert (1, *waiting) == (wvalid, wdata, wstrb, wlast), "W changed while waiting"
            waiting = (wdata, wstrb, wlast) if wvalid and not wready else None
            if wvalid and wready:
                beats.append((wdata, wstrb, wlast))
            while beats and bursts:
                word, strobe, last = beats.popleft()
                address, length, identity = bursts[0]
                assert last == (beat == length), "WLAST in the wrong place"
                place = address + beat * self.beat_bytes
                for i in range(self.beat_bytes):
                    if strobe >> i & 1:
                        self.data[place + i] = word >> 8 * i & 0xFF
                beat += 1
                if last:
                    bursts.popleft()
                    beat = 0
                    responses.append((time + self.latency, identity, address in self.errors))
            if bvalid and bready:
                self.response_times.append(time)
                bvalid = 0
            due = responses and responses[0][0] <= time
            if due and not bvalid and rng.random() >= self.stall:
                _, identity, bad = responses.popleft()
                ctx.set(self._port(self.write, "bid"), identity)
                ctx.set(self._port(self.write, "bresp"), 3 if bad else 0)
                bvalid = 1
            awready, wready = (int(rng.random() >= self.stall) for _ in range(2))
            ctx.set(self._port(self.write, "bvalid"), bvalid)
            ctx.set(self._port(self.write, "awready"), awready)
            ctx.set(self._port(self.write, "wready"), wready)
            time += 1

    def attach(self, simulator) -> None:
        if self.read is not None:
            simulator.add_testbench(self.serve_reads, background=True)
        if self.write is not None:
            simulator.add_testbench(self.serve_writes, background=True)
