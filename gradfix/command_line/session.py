"""One invocation: the command line over the configuration, the codemods it means, the files it names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from gradfix import registry, torch_tables
from gradfix.command_line.run import Input
from gradfix.command_line.terminal import Screen, read_stdin
from gradfix.engine.policy import Policy
from gradfix.errors import FileProblem, UsageError
from gradfix.findings import Applicability, Severity
from gradfix.project import config as config_files
from gradfix.project import files
from gradfix.project.config import Config
from gradfix.project.config import DeclaredCall as DeclaredTable
from gradfix.proof.plan import Loaded, Rules
from gradfix.source import Source

if TYPE_CHECKING:
    from gradfix.analysis.imports import Imports
    from gradfix.backward.cases import Case
    from gradfix.project.others import Project

STDIN = "-"
RECORDED = Path(".gradfix", "calls")  # in the project


@dataclass(frozen=True, slots=True)
class Options:
    """The command line as given; None and empty where the configuration decides."""

    paths: tuple[str, ...] = ()
    place: tuple[str, ...] = ()
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    severity: str | None = None
    fail_on: str | None = None
    codemods: tuple[str, ...] = ()
    allow_config_codemods: bool = False
    unsafe_fixes: bool | None = None
    form: str | None = None
    no_verify: bool = False
    require_verified: bool = False
    verify_budget: float | None = None
    verify_with: str | None = None
    trust: bool = False
    jobs: int | None = None
    keep_failed: bool = False
    python: str | None = None
    exclude: tuple[str, ...] = ()
    extend_exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    respect_gitignore: bool | None = None
    force_exclude: bool | None = None
    stdin_filename: str | None = None
    config: str | None = None
    isolated: bool = False
    output_format: str = "full"
    color: str = "auto"
    quiet: bool = False
    verbose: bool = False
    exit_zero: bool = False
    exit_non_zero_on_fix: bool = False
    dry: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """Everything a command needs besides the files' own contents."""

    options: Options
    config: Config
    rules: Rules
    screen: Screen
    fail_on: Severity

    @property
    def reads_stdin(self) -> bool:
        """Whether `-` is among the paths."""
        return STDIN in self.options.paths

    @property
    def unsafe(self) -> bool:
        """Whether unsafe fixes are made."""
        return self.rules.policy.applicability is not Applicability.SAFE

    @property
    def budget(self) -> float:
        """The bound of all runs of the backward check, in seconds."""
        given = self.options.verify_budget
        return self.config.verify_budget if given is None else given

    def python(self) -> str:
        """The interpreter that has the user's torch. Raises `UsageError` for one that isn't there."""
        from gradfix.project.interpreter import find_python

        given = self.options.python
        if given is not None and shutil.which(given) is None:
            raise UsageError(f"--python {given}: no such program")
        configured = self.config.python
        if given is None and configured is not None and shutil.which(configured) is None:
            raise UsageError(f"{self.config.path}: `python`: no such program: {configured}")
        return find_python(given, configured, Path.cwd())

    def declared(self, path: str) -> tuple[Case, ...]:
        """What there is to run for a file besides itself: recorded calls, what is declared, the user's own command."""
        from gradfix.backward.cases import Command, DeclaredCall, Program, recorded

        command = self.options.verify_with
        relative = os.path.relpath(os.path.abspath(path), self.config.root).replace(os.sep, "/")
        cases: list[Case] = [*recorded(self.config.root / RECORDED, relative)]
        for one in self._meant(relative):
            program = one.program
            cases.append(DeclaredCall(one.call or "", one.seed or 0) if program is None else Program(str(program)))
        return tuple(cases) if command is None else (*cases, Command(command, str(self._project())))

    def _meant(self, relative: str) -> list[DeclaredTable]:
        if not self.config.verify:
            return []
        from gradfix.project.ignores import Ignores

        return [one for one in self.config.verify if Ignores.of([one.file]).says(relative, folder=False)]

    def _project(self) -> Path:
        """The folder that the user's own command gets a copy of: the configuration's around us, else where we are."""
        here = Path.cwd()
        return self.config.root if self.config.path and here.is_relative_to(self.config.root) else here

    def inputs(self) -> Iterator[Input]:
        """The files that the paths stand for, each read when its turn comes; what can't be read comes as a problem."""
        paths = [path for path in self.options.paths if path != STDIN]
        if self.reads_stdin:
            yield self._guarded(STDIN, self.options.stdin_filename)
        for found in files.discover(
            paths,
            root=self.config.root,
            exclude=self.options.exclude or self.config.exclude,
            extend_exclude=(*self.config.extend_exclude, *self.options.extend_exclude),
            include=self.options.include or self.config.include,
            respect_gitignore=_or(self.options.respect_gitignore, self.config.respect_gitignore),
            force_exclude=bool(self.options.force_exclude),
        ):
            yield found if isinstance(found, FileProblem) else self._guarded(str(found), None)

    def one(self, path: str, stdin_filename: str | None) -> Loaded:
        """One file, or stdin for `-`. Raises `FileProblem`."""
        if path == STDIN:
            name = stdin_filename or "<stdin>"
            return Loaded(name, Source.from_bytes(name, read_stdin()))
        source, stamp = files.read(path)
        return Loaded(path, source, stamp)

    def _guarded(self, path: str, stdin_filename: str | None) -> Input:
        try:
            return self.one(path, stdin_filename)
        except FileProblem as problem:
            return problem


def open_session(given: Mapping[str, object]) -> Session:
    """The session of a command line. Raises `UsageError`, `ConfigError` and `CodemodError`."""
    options = _options(given)
    here = _current_folder()
    screen = Screen.open(options.color, quiet=options.quiet)
    config = _config(options)
    known = registry.load([*map(Path, options.codemods), *_consented(options, config, screen)])
    selected = options.select or ("ALL",) if config.select is None or options.select else config.select
    chosen = registry.select(known, selected, (*config.ignore, *options.ignore))
    severity = Severity(options.severity or config.severity)
    unsafe = _or(options.unsafe_fixes, config.unsafe_fixes)
    policy = Policy(
        severity=severity,
        applicability=Applicability.UNSAFE if unsafe else Applicability.SAFE,
        form=options.form or config.form,
        torch=torch_tables.nearest(config.torch_version or _installed_torch(options, config)),
    )
    rules = Rules(chosen, policy, _imports_of(here))
    return Session(options, config, rules, screen, Severity(options.fail_on or severity.value))


def _current_folder() -> str:
    try:
        return os.getcwd()
    except OSError as error:
        raise UsageError(f"the current folder can't be used: {error.strerror}") from None


def _imports_of(folder: str) -> Callable[[str], Imports]:
    """What the imports of a file lead to, in the project around `folder`; it is read once something is asked."""

    @cache
    def project() -> Project:
        from gradfix.project.others import Project

        return Project(lambda path: files.read(path)[0], folder)

    return lambda path: project().imports(path)


def _options(given: Mapping[str, object]) -> Options:
    """The options of any command; lists may be separated by commas."""
    values = dict(given)
    for key in ("select", "ignore", "exclude", "extend_exclude", "include"):
        items = values.get(key)
        pieces = (piece.strip() for item in items for piece in str(item).split(",")) if isinstance(items, tuple) else ()
        values[key] = tuple(piece for piece in pieces if piece)
    return Options(**values)  # type: ignore[arg-type]  # click has checked the types


def _config(options: Options) -> Config:
    """The file given, none, or the nearest one to the first path (for stdin: to the name its text has)."""
    if options.isolated and options.config is not None:
        raise UsageError("--isolated and --config exclude each other")
    if options.isolated:
        return Config(Path.cwd())
    if options.config is not None:
        return config_files.read(Path(options.config).absolute())
    first = next((path for path in (*options.paths, *options.place) if path != STDIN), None)
    start = Path(options.stdin_filename or first or ".").absolute()
    while not start.is_dir() and start != start.parent:
        start = start.parent
    return config_files.load(start)


def _consented(options: Options, config: Config, screen: Screen) -> tuple[Path, ...]:
    """The codemod folders of the configuration, when the user lets their code run."""
    if options.allow_config_codemods:
        return config.codemods
    for folder in config.codemods:
        if not any(folder.resolve() == Path(given).resolve() for given in options.codemods):
            screen.tell(
                f"note: the codemods in {folder}, named by {config.path}, are not loaded, since that runs their code: "
                f"--allow-config-codemods loads them"
            )
    return ()


def _installed_torch(options: Options, config: Config) -> str | None:
    """The release of torch in the interpreter that the check would run; None where that isn't easily seen."""
    from gradfix.project.interpreter import find_python, torch_version

    return torch_version(find_python(options.python, config.python, Path.cwd()))


def _or(given: bool | None, configured: bool) -> bool:
    return configured if given is None else given
