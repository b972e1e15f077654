"""The errors gradfix raises on purpose.

    GradfixError                  exit code 2; the message is meant for the user as it stands
    ├── UsageError                a command line or an argument that makes no sense
    ├── ConfigError               a configuration file that can't be read or holds an unknown key
    ├── CodemodError              a codemod that can't be loaded or breaks its contract
    ├── EditError                 edits that overlap or lie outside the text
    └── FileProblem               one file that can't be read, parsed or written; the others go on
        └── FileChanged           the file was changed by somebody else since it was read

A syntax error in a user's file is a result, not an accident: it becomes a `FileProblem` at the file boundary.
A bug in gradfix is none of these and stays a traceback.
"""

from __future__ import annotations


class GradfixError(Exception):
    """Base of every error gradfix raises on purpose."""

    exit_code = 2


class UsageError(GradfixError):
    """A command line or an argument that makes no sense."""


class ConfigError(GradfixError):
    """A configuration file that can't be read or holds an unknown key."""


class CodemodError(GradfixError):
    """A codemod that can't be loaded or breaks its contract."""


class EditError(GradfixError):
    """Edits that overlap or lie outside the text."""


class FileProblem(GradfixError):
    """One file that can't be read, parsed or written.

    `path` is the file as the user named it, `reason` one line without the path, `line` 1-based where known, `details`
    the traceback of an error that nobody foresaw. All of it outlives a copy that was sent to another process.
    """

    def __init__(self, path: str, reason: str, line: int | None = None, details: str | None = None) -> None:
        super().__init__(path, reason, line, details)
        self.path = path
        self.reason = reason
        self.line = line
        self.details = details

    def __str__(self) -> str:
        where = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{where}: {self.reason}"


class FileChanged(FileProblem):
    """The file was changed by somebody else since gradfix read it."""
