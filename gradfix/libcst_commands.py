"""Every codemod as a command of LibCST: `python -m libcst.tool codemod -x gradfix.libcst_commands.ViewWrite src/`.

For those who run their codemods that way. Nothing is checked by running backward there: `gradfix apply` does that.
"""

from __future__ import annotations

import argparse

import libcst as cst
from libcst.codemod import CodemodCommand, CodemodContext, SkipFile

from gradfix import edits, registry
from gradfix.codemod import Codemod
from gradfix.engine import engine
from gradfix.engine.policy import Policy
from gradfix.errors import FileProblem
from gradfix.findings import Applicability
from gradfix.source import Source


class GradfixCommand(CodemodCommand):
    """One codemod; which one, the subclasses say."""

    CODEMOD: Codemod

    def __init__(self, context: CodemodContext, *, unsafe_fixes: bool = False) -> None:
        super().__init__(context)
        self._grade = Applicability.UNSAFE if unsafe_fixes else Applicability.SAFE

    @staticmethod
    def add_args(parser: argparse.ArgumentParser) -> None:
        """The same flag as `gradfix apply` has."""
        parser.add_argument("--unsafe-fixes", action="store_true", help="make fixes that ask for a judgement too")

    def transform_module_impl(self, tree: cst.Module) -> cst.Module:
        """The module with the fixes of the codemod made. Skips a file that gradfix can't read."""
        text = tree.code
        try:
            source = Source.from_text(self.context.filename or "<stdin>", text)
            result = engine.fix(source, [self.CODEMOD], Policy(applicability=self._grade))
        except FileProblem as problem:
            raise SkipFile(str(problem)) from None
        if not result.edits:
            return tree
        return cst.parse_module(edits.apply(text, result.edits), config=tree.config_for_parsing)


def _commands() -> dict[str, type[GradfixCommand]]:
    """A class for every codemod there is, called as the codemod is: `view-write` is `ViewWrite`."""
    made = {}
    for codemod in registry.load():
        name = "".join(part.capitalize() for part in codemod.name.split("-"))
        members = {"CODEMOD": codemod, "DESCRIPTION": codemod.summary, "__module__": __name__, "__doc__": codemod.page}
        made[name] = type(name, (GradfixCommand,), members)
    return made


globals().update(_commands())
