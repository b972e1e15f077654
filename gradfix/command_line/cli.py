"""The command line: its options, and what becomes of errors. The only module that knows click.

Exit codes: 0 nothing is left, 1 findings are left or (`--diff`) something would change, 2 a usage, configuration, file
or internal error. A patch on stdout is pure: everything else goes to stderr then. Nothing heavy is imported before a
command needs it.
"""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from signal import SIGINT
from typing import Any, TypeVar

import click

from gradfix import __version__
from gradfix.command_line import interrupts
from gradfix.command_line.terminal import open_closed_streams, stop_as_by_ctrl_c
from gradfix.errors import GradfixError

Command = TypeVar("Command", bound=Callable[..., Any])
FORMATS = ("full", "concise", "json")
SEVERITIES = ("info", "warning", "error")
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def main() -> None:
    """Run the command line of this process and leave it with the exit code."""
    open_closed_streams()
    stop_as_by_ctrl_c()
    code = run(sys.argv[1:])
    gc.freeze()  # else Python looks through all that is left for garbage on its way out
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """The exit code of a command line; every error is told on stderr."""
    try:
        with interrupts.unwrapped():
            code = command.main(args=arguments, prog_name="gradfix", standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except GradfixError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort) as error:
        with suppress(OSError):  # of a terminal that is gone
            click.echo("interrupted: nothing was written", err=True)
        return 128 + getattr(error.__cause__ or error, "number", SIGINT)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has left; Python would complain once more at exit
        return 141
    except Exception:
        click.echo(
            f"{traceback.format_exc()}\nerror: this is a bug in gradfix {__version__}, please report it", err=True
        )
        return 2
    return code if isinstance(code, int) else 0


def _group(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator, in the order in which `--help` shows them."""

    def decorate(function: Command) -> Command:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _many(name: str, help: str) -> Callable[[Command], Command]:
    return click.option(name, multiple=True, metavar="LIST", help=f"{help} Comma separated, may be repeated.")


_RULES = _group(
    _many("--select", "Codemods to use: codes, prefixes of codes, names, or ALL."),
    _many("--ignore", "Codemods to leave out."),
    click.option("--severity", type=click.Choice(SEVERITIES), help="The lowest that is reported and fixed [warning]."),
    click.option("--codemods", multiple=True, metavar="DIR", help="Load your own codemods: runs the code in DIR."),
    click.option(
        "--allow-config-codemods", is_flag=True, help="Load the codemods folder that the configuration names."
    ),
)
_FIXES = _group(
    click.option("--unsafe-fixes/--no-unsafe-fixes", default=None, help="Fixes that need a judgement, too."),
    click.option("--form", type=click.Choice(["functional", "clone"]), help="The form preferred [functional]."),
)
_VERIFY = _group(
    click.option("--no-verify", is_flag=True, help="Don't run the backward check: no code of yours is executed."),
    click.option("--require-verified", is_flag=True, help="Only fixes that the check proves (fixed, equivalent)."),
    click.option("--verify-with", metavar="COMMAND", help="Your own command, run before and after on a copy."),
    click.option("--verify-budget", type=click.FloatRange(min=0), metavar="SECONDS", help="Bound of all runs [60]."),
    click.option("--keep-failed", is_flag=True, help="Keep the texts and runs of rejected fixes, and say where."),
    click.option("--trust", is_flag=True, help="Run the code even where nothing can wall it in."),
    click.option("--python", metavar="PATH", help="The interpreter that has your torch."),
)
_FILES = _group(
    _many("--exclude", "Patterns of files to leave out, instead of the default ones."),
    _many("--extend-exclude", "Patterns of files to leave out besides."),
    _many("--include", "Patterns of files to look at in folders [*.py]."),
    click.option("--respect-gitignore/--no-respect-gitignore", default=None, help="Leave out what git ignores [yes]."),
    click.option("--force-exclude/--no-force-exclude", default=None, help="Leave out also files named here [no]."),
    click.option("--stdin-filename", metavar="PATH", help="The name of the text on stdin, when PATH is `-`."),
    click.option("--config", metavar="FILE", help="This configuration file instead of the nearest."),
    click.option("--isolated", is_flag=True, help="No configuration file at all."),
)
_EXITS = _group(
    click.option("--fail-on", type=click.Choice(SEVERITIES), help="The lowest that exits with 1 [what is reported]."),
    click.option("--exit-zero", is_flag=True, help="Exit with 0 though findings are left."),
)
_OUTPUT = _group(
    click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", help="[auto]"),
    click.option("-q", "--quiet", is_flag=True, help="Findings only: no summary, no progress."),
    click.option("-v", "--verbose", is_flag=True, help="On stderr what is left out and why, and tracebacks."),
)
_FORMAT = click.option("--output-format", type=click.Choice(FORMATS), default="full", help="[full]")
_JOBS = click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Files at a time [to look at: one for each core, to run: 1].",
)
_PATHS = click.argument("paths", nargs=-1, required=True, metavar="PATH...")

_STATIC = _group(_FIXES, _RULES, _FORMAT, _OUTPUT, _EXITS, _JOBS, _FILES)  # of commands that run nothing and report


@click.group(context_settings=CONTEXT)
@click.version_option(__version__, "--version", message="gradfix %(version)s")
def command() -> None:
    """Find PyTorch code that breaks backward, rewrite it out-of-place, and prove the rewrite.

    Exit codes: 0 nothing is left, 1 findings are left or something would change, 2 an error.
    """


@command.command(context_settings=CONTEXT)
@_PATHS
@click.option("--diff", "dry", is_flag=True, help="Write nothing: print the patch on stdout, the rest on stderr.")
@click.option("--exit-non-zero-on-fix", is_flag=True, help="Exit with 1 also when everything was fixed.")
@_FIXES
@_RULES
@_VERIFY
@_JOBS
@_FORMAT
@_OUTPUT
@_EXITS
@_FILES
def apply(**given: object) -> int:
    """Fix files in place, with the backward check before and after.

    PATH is a file, a folder, or `-` for stdin (the fixed text goes to stdout).
    """
    from gradfix.command_line.shell import apply as work

    return work(given)


@command.command(context_settings=CONTEXT)
@_PATHS
@_STATIC
def check(**given: object) -> int:
    """Report what breaks backward. Executes nothing, writes nothing."""
    from gradfix.command_line.shell import check as work

    return work(given)


@command.command(context_settings=CONTEXT)
@_PATHS
@_STATIC
def diff(**given: object) -> int:
    """Print the patch that `apply --no-verify` would write. Executes nothing, writes nothing."""
    from gradfix.command_line.shell import apply as work

    return work({**given, "dry": True, "no_verify": True})


@command.command(context_settings={**CONTEXT, "ignore_unknown_options": True})  # `-:LINE` is no option
@click.argument("place", nargs=-1, required=True, metavar="FILE:LINE[:COL]")
@click.option("--output-format", type=click.Choice(["json", "diff"]), default="json", help="[json]")
@_FIXES
@_RULES
@_FILES
def quickfix(**given: object) -> int:
    """The fixes at one place, for editors: executes nothing, exits with 0 whether there are any or not.

    For an unsaved buffer on stdin: `gradfix quickfix -:LINE --stdin-filename FILE`.
    """
    from gradfix.command_line.shell import quickfix as work

    return work(given)


@command.command(context_settings=CONTEXT)
@click.argument("code", required=False)
@click.option("--all", "every", is_flag=True, help="The pages of all codemods.")
@click.option("--output-format", type=click.Choice(["text", "json"]), default="text", help="[text]")
@click.option("--codemods", multiple=True, metavar="DIR", help="Load your own codemods: runs the code in DIR.")
def rule(**given: object) -> int:
    """The page of a codemod, by code or name."""
    from gradfix.command_line.shell import rule as work

    return work(given)
