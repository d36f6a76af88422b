"""The command `codesign` and what its subcommands share: errors in one line, exit codes."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from codesign.errors import CodesignError

COMMANDS = {
    "demo": "Train, quantise, compile, generate and verify a network in RTL simulation.",
    "estimate": "Tell what a network would cost on an architecture, without compiling it.",
    "compile": "Quantise a network and compile it for an architecture.",
    "run": "Run a program on the machine reference or on the RTL.",
    "check": "Compare a program's three executions, bit for bit.",
    "compare": "Compare a model with its framework, layer by layer.",
    "generate": "Write an accelerator's Verilog.",
    "overlay": "Write what a board's bitstream is built from, and build it.",
    "explain": "Tell what a program does layer by layer, and what limits it.",
    "disasm": "Print a program's instructions.",
    "explore": "Search networks and hardware together, and verify what is found.",
    "report": "Show what an exploration found as one HTML page.",
    "calibrate": "Fit a board's energy coefficients to measured energies.",
    "bench": "Measure an architecture.",
    "board": "Simulate a PYNQ board for PYNQ's own client.",
}
"""Command -> what it does; module ``codesign.cli.COMMAND`` has it as ``command``."""

EXIT_WRONG = 2
"""The user's input, or the environment, does not allow what was asked."""


class LazyGroup(click.Group):
    """Loads a command's module when the command is called, for torch takes seconds to import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"codesign.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="codesign")
@click.option("--debug", is_flag=True, help="Show where an error was raised.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Turn trained networks into verified FPGA accelerators.

    \b
    A first tour:
      codesign demo                                      everything at once, on real images
      codesign compile net.pt2 --arch pynq_z2 -o net.prog
      codesign check net.prog --inputs images.npy        reference = machine = RTL, bit for bit
      codesign run net.prog --inputs images.npy --device rtl --outputs y.npy --report r.json
      codesign generate --arch pynq_z2 -o build/verilog

    Each command tells more with --help.
    """
    ctx.obj = {"debug": debug}


def expected_errors() -> tuple[type[Exception], ...]:
    """What wrong input or a missing tool raises: told in one line, without a traceback."""
    from host import errors as host_errors
    from sim.board.errors import BoardError
    from sim.model import ProtocolError
    from sim.verilator import BuildError

    return (
        CodesignError,
        ValueError,
        TypeError,
        OSError,
        ModuleNotFoundError,
        host_errors.DriverError,
        BoardError,
        BuildError,
        ProtocolError,
    )


def main(arguments: list[str] | None = None) -> None:
    """Entry point: exit code 0, 1 for a check that found a difference, 2 for anything wrong."""
    debug = "--debug" in (sys.argv[1:] if arguments is None else arguments)
    try:
        code: Any = cli.main(arguments, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("stopped", err=True)
        sys.exit(EXIT_WRONG)
    except expected_errors() as error:
        if debug:
            raise
        click.echo(f"codesign: {_line(error)}", err=True)
        sys.exit(EXIT_WRONG)
    sys.exit(code if isinstance(code, int) else 0)


def _line(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"package {error.name!r} is not installed; `pip install codesign[all]` brings it"
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    main()
