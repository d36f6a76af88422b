"""`codesign board`: simulated PYNQ boards for users' notebooks."""

from __future__ import annotations

from pathlib import Path

import click

from codesign.cli.console import console
from codesign.cli.options import FOLDER
from sim.board.board import Board
from sim.board.boards import SIMULATED, board_model
from sim.board.fabric import KINDS, Description, Fabric, Make, fabrics
from sim.board.leds import write_leds
from sim.board.server import PORT, BoardServer

_BOARD = click.option("--board", type=click.Choice(SIMULATED), required=True)


@click.group()
def command() -> None:
    """Simulate a PYNQ board.

    \b
    Examples:
      codesign board serve --board pynq-z2
      codesign board leds --board zcu104 -o build/leds
    """


@command.command()
@_BOARD
@click.option("--address", default="127.0.0.1", show_default=True,
              help="Of this machine; further boards take 127.0.0.2 and so on.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True,
              help="PYNQ_REMOTE_DEVICES knows the default alone; 0 takes a free one.")  # fmt: skip
@click.option("--fabric", type=click.Choice(KINDS), default=KINDS[0], show_default=True,
              help="The generated Verilog, or the machine reference; same results.")  # fmt: skip
def serve(board: str, address: str, port: int, fabric: str) -> None:
    """Serve a board to PYNQ until Ctrl-C.

    PYNQ's own client, in this or another Python, then loads overlays on it as on a board in the
    network. Overlays for it are in folder `simulated` of what `codesign overlay` writes.

    \b
    Example, in two terminals:
      codesign board serve --board pynq-z2
      PYNQ_REMOTE_DEVICES=127.0.0.1 jupyter notebook examples
    """
    simulated = Board(board_model(board), _announced(fabrics(fabric)))
    with BoardServer(simulated, address, port) as server:
        console.print(f"{board}, simulated ({fabric}), is at {address}, port {server.port}.")
        if server.port == PORT:
            console.print(f"Clients find it with PYNQ_REMOTE_DEVICES={address}; Ctrl-C ends it.")
        try:
            server.wait()
        except KeyboardInterrupt:
            console.print("stopped")


@command.command()
@_BOARD
@click.option("-o", "--output", type=FOLDER, required=True, help="The folder to write to.")
def leds(board: str, output: Path) -> None:
    """Write an overlay for the client's self-test.

    It holds LEDs behind an AXI GPIO, which `python -m pynq.remote.selftest` (PYNQ 4.0) writes to.

    \b
    Example:
      codesign board leds --board zcu104 -o build/leds
      python -m pynq.remote.selftest --ip 127.0.0.1 --bitstream build/leds/leds_zcu104.bit
    """
    console.print(f"{write_leds(board, output)}, and its .hwh")


def _announced(make: Make) -> Make:
    """The same, with a line for whoever watches the server."""

    def announce(description: Description) -> Fabric:
        what = description["arch"]["name"] if "arch" in description else "LEDs"
        console.print(f"programming {what}; the first use of an architecture builds its simulator")
        fabric = make(description)
        console.print(f"{what} is in the logic")
        return fabric

    return announce
