"""What each command does with the results of `run`: what goes to stdout, what to stderr, and the exit code."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gradfix.command_line.session import Session, open_session
from gradfix.errors import FileProblem, UsageError
from gradfix.findings import Severity
from gradfix.report.paint import Paint
from gradfix.report.visible import visible
from gradfix.results import FileResult, Result, Status

if TYPE_CHECKING:
    from gradfix.command_line.run import Input
    from gradfix.proof.plan import Plan

LISTED = 20  # files named before their code runs; more are counted
PATIENCE = 0.5  # seconds of looking at files without a word

T = TypeVar("T")


def check(given: Mapping[str, object]) -> int:
    """`gradfix check`: findings on stdout, the summary on stderr."""
    from gradfix.command_line import run
    from gradfix.report import summary

    session = open_session(given)
    inputs = tuple(session.inputs())
    files = _counted(session, inputs, run.check(session.rules, inputs, session.options.jobs))
    _tell_unreported(session, inputs)
    session.screen.out(_report(session, files, session.screen.out_paint))
    _complain(session, files)
    _sum_up(session, files, summary.checked([result for file in files for result in file.results]))
    return _exit_code(session, files)


def apply(given: Mapping[str, object]) -> int:
    """`gradfix apply` and `gradfix diff`: the fixed files or the patch, what became of each finding, the summary."""
    from gradfix.command_line import run
    from gradfix.report import summary

    session = open_session(given)
    options, screen = session.options, session.screen
    if options.require_verified and options.no_verify:
        raise UsageError("--require-verified needs the backward check: leave out --no-verify")
    inputs = tuple(session.inputs())
    declared = None if options.no_verify else session.declared
    planned = _counted(session, inputs, run.plan(session.rules, inputs, declared, options.jobs))
    _tell_unreported(session, inputs)
    if not options.no_verify:
        planned = run.with_programs(planned)
    plans = [one for one in planned if not isinstance(one, FileResult)]
    files = tuple(_proved(session, planned, plans))
    if options.dry:
        files = _with_patch(session, files)
    else:
        with screen.uninterrupted():
            files = run.write(files, plans)
        _print_stdin_text(session, files, plans)
    taken = options.dry or session.reads_stdin
    report = _report(session, files, screen.err_paint if taken else screen.out_paint)
    (screen.err if taken else screen.out)(report)
    _complain(session, files)
    _sum_up(session, files, summary.applied(files, dry=options.dry))
    code = _exit_code(session, files)
    return 0 if code == 1 and session.reads_stdin and not options.dry else code  # a filter that did its work


def quickfix(given: Mapping[str, object]) -> int:
    """`gradfix quickfix`: the fixes at one place as JSON, or the best of them as a patch."""
    from gradfix.command_line import run
    from gradfix.command_line.place import covers, place_of
    from gradfix.report.quickfix import quickfix_json

    session = open_session({"severity": "info", **{key: value for key, value in given.items() if value is not None}})
    place = place_of(session.options.place, session.options.stdin_filename)
    loaded = session.one(place.path, place.stdin_filename)
    (file,) = run.check(session.rules, [loaded])
    if file.problem is not None:
        _complain(session, [file])
        return 2
    results = [result for result in file.results if covers(place, loaded.source, result.finding)]
    if session.options.output_format == "json":
        session.screen.out(_json(quickfix_json(loaded.source, results)))
    else:
        _with_patch(session, [replace(file, edits=run.together(results))])
    return 0


def rule(given: Mapping[str, object]) -> int:
    """`gradfix rule`: the page of one codemod, or of all."""
    from gradfix import registry
    from gradfix.command_line.terminal import Screen
    from gradfix.report import pages

    codemods = registry.load(Path(str(folder)) for folder in _sequence(given["codemods"]))
    code = given["code"]
    if not given["every"]:
        if code is None:
            raise UsageError("which rule? Give its code or name, or --all")
        codemods = (registry.find(codemods, str(code)),)
    as_json = given["output_format"] == "json"
    text = pages.as_json(codemods) if as_json else "\n".join(map(pages.as_text, codemods))
    Screen.open("never").out(text.encode() if as_json else text)
    return 0


def _counted(session: Session, inputs: Sequence[Input], looked_at: Iterator[T]) -> list[T]:
    """All that comes of looking at the files, told on the terminal where it takes a while."""
    done = []
    with session.screen.progress(len(inputs), patience=PATIENCE) as at:
        for given, one in zip(inputs, looked_at, strict=True):
            at.step(given.path)
            done.append(one)
    return done


def _tell_unreported(session: Session, inputs: Sequence[Input]) -> None:
    """With `--verbose`, why nothing is said of what was found."""
    if session.options.verbose:
        from gradfix.command_line import run
        from gradfix.report.unreported import unreported

        for one in run.unreported(session.rules, inputs):
            session.screen.tell(unreported(one))


def _proved(session: Session, planned: Sequence[Plan | FileResult], plans: Sequence[Plan]) -> Iterator[FileResult]:
    """The results of the plans, after the backward check unless it is off."""
    from gradfix.command_line import run

    options, screen = session.options, session.screen
    busy = [one for one in plans if one.fixed.applied]
    if options.no_verify or not busy:
        yield from (one if isinstance(one, FileResult) else run.unproven(one) for one in planned)
        return
    python = session.python()
    _announce(session, [one for one in busy if one.cases or one.sought], python)
    pool = run.pool(
        python, trust=options.trust, budget=session.budget, jobs=options.jobs or 1, keep=options.keep_failed
    )
    with pool:
        with screen.progress(len(busy)) as at:
            yield from run.prove_all(session.rules, planned, pool, at.step, proven=options.require_verified)
        if pool.walls or pool.fresh:
            walls = f": {'; '.join(pool.walls)}" if pool.walls else " no walls"
            screen.tell(f"The backward check ran behind{walls}{', each run in a process of its own' * pool.fresh}.")
        if pool.kept is not None:
            screen.tell(f"The evidence of rejected fixes is kept in {pool.kept}.")


def _announce(session: Session, runs: Sequence[Plan], python: str) -> None:
    """What is going to be executed, before it is."""
    if not runs:
        return
    from gradfix.command_line.run import names_of

    lines = [visible(f"  {plan.loaded.path}: {', '.join(names_of(plan))}") for plan in runs[:LISTED]]
    if len(runs) > LISTED:
        lines.append(f"  and {len(runs) - LISTED} more files")
    session.screen.tell("\n".join([f"The backward check will run with {_from_here(python)}:", *lines]))


def _with_patch(session: Session, files: Sequence[FileResult]) -> tuple[FileResult, ...]:
    """Print the patch of all files on stdout; a file whose patch can't be encoded has the problem in its result."""
    from gradfix import patches

    pieces: list[bytes] = []
    done: list[FileResult] = []
    for file in files:
        try:
            if file.source is not None and file.edits:
                patch = patches.patch_of(file.source, file.edits, _from_here(file.path))
                pieces.append(patches.encode(file.source, patch))
            done.append(file)
        except FileProblem as problem:
            done.append(replace(file, problem=problem, edits=()))
    data = b"".join(pieces)
    paint = session.screen.out_paint
    session.screen.out(paint.diff(data.decode("utf-8", "backslashreplace")) if paint.on else data)
    return tuple(done)


def _from_here(path: str) -> str:
    """How a patch names a file: from the current folder where it lies in it, so that `git apply` finds it."""
    absolute, here = Path(os.path.abspath(path)), Path.cwd()
    return absolute.relative_to(here).as_posix() if absolute.is_relative_to(here) else path


def _print_stdin_text(session: Session, files: Sequence[FileResult], plans: Sequence[Plan]) -> None:
    """The text of stdin with its fixes, unchanged where there are none; nothing when it couldn't be read."""
    from gradfix import edits

    stamps = {plan.loaded.path: plan.loaded.stamp for plan in plans}
    for file in files:
        if file.source is not None and file.problem is None and stamps.get(file.path, file) is None:
            session.screen.out(file.source.encode(edits.apply(file.source.text, file.edits)))


def _report(session: Session, files: Sequence[FileResult], paint: Paint) -> str | bytes:
    results = [result for file in files for result in file.results]
    if session.options.output_format == "json":
        from gradfix.report.structured import structured

        return _json(structured(results, [file.problem for file in files if file.problem]))
    if not results:
        return ""
    if session.options.output_format == "concise":
        from gradfix.report.concise import concise

        return concise(results, unsafe=session.unsafe)
    from gradfix.report.full import full

    return full(results, paint)


def _json(text: str) -> bytes:
    """What a name has of bytes that aren't UTF-8 becomes an escape of JSON, `\\udcff`."""
    return text.encode(errors="backslashreplace")


def _complain(session: Session, files: Sequence[FileResult]) -> None:
    for file in files:
        if file.problem is None:
            continue
        session.screen.complain(visible(f"error: {file.problem}"))
        if session.options.verbose and file.problem.details is not None:
            session.screen.complain(file.problem.details)


def _sum_up(session: Session, files: Sequence[FileResult], text: str) -> None:
    problems = sum(file.problem is not None for file in files)
    if not files:
        session.screen.tell("warning: no Python files were found")
    elif problems:
        session.screen.tell(f"{problems} of {len(files)} files could not be done.")
    if len(files) > problems:
        session.screen.tell(text)


def _exit_code(session: Session, files: Sequence[FileResult]) -> int:
    """2 for a file that couldn't be done; 1 for what is left, or would change; else 0."""
    options = session.options
    if any(file.problem for file in files):
        return 2
    if options.exit_zero:
        return 0
    if (options.dry or options.exit_non_zero_on_fix) and any(file.edits for file in files):
        return 1
    results = [result for file in files for result in file.results]
    return int(any(_fails(result, session.fail_on) for result in results))


def _fails(result: Result, fail_on: Severity) -> bool:
    return result.status in (Status.FOUND, Status.LEFT) and result.finding.severity.rank >= fail_on.rank


def _sequence(value: object) -> tuple[object, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else ()
