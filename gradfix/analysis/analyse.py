"""The door of the analysis: a source in, the facts of its module out."""

from __future__ import annotations

import ast
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from gradfix import syntax
from gradfix.analysis.across.opened import OpenModule
from gradfix.analysis.across.rounds import Rounds
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.records import WriteRecord
from gradfix.analysis.domain.state import State
from gradfix.analysis.facts import ModuleFacts, Write
from gradfix.analysis.hazards import swaps
from gradfix.analysis.hazards.blocks import blocks_of
from gradfix.analysis.hazards.buffers import buffers_of
from gradfix.analysis.hazards.views import Steadiness
from gradfix.analysis.imports import Imports, Modules
from gradfix.analysis.interpreter import calls, expressions, generators, statements, stores, unknown_calls
from gradfix.analysis.interpreter.roots import run_functions, run_module
from gradfix.analysis.operators import optimizers
from gradfix.analysis.outcome import gradient_facts, outcome
from gradfix.analysis.outcome.cut_facts import facts_of_cuts
from gradfix.analysis.outcome.way_facts import facts_of_ways
from gradfix.analysis.summaries import ModuleSummary
from gradfix.analysis.text.candidates import Candidates, candidates
from gradfix.analysis.text.masked import maskings_of, with_whole_masks
from gradfix.analysis.text.names import spelling_of
from gradfix.analysis.text.write_spellings import Spellings
from gradfix.source import Source

# Gradients that are read, and optimizers that are given something, concern files that write nothing. A pattern that
# begins with its letters is found 25 times as fast.
_GRADIENTS = tuple(map(re.compile, (r"grad(?<=\bgrad)\b", r"optim(?<=\boptim)\b", r"Optimizer")))


class _Interpreter:
    """The mutual recursion of the interpreter, tied together."""

    evaluate = staticmethod(expressions.evaluate)
    store = staticmethod(stores.store)
    call_function = staticmethod(calls.call_function)
    call_value = staticmethod(calls.call_value)
    unknown_call = staticmethod(unknown_calls.unknown_call)
    run_body = staticmethod(statements.run_body)
    run_block = staticmethod(statements.run_block)
    run_generator = staticmethod(generators.run)
    collected = staticmethod(generators.collected)
    rebind = staticmethod(stores.rebind)


@contextmanager
def _deep_recursion() -> Iterator[None]:
    """Room for long chains; calls between Python functions take no C stack from Python 3.11 on."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 20_000 if sys.version_info >= (3, 11) else 3_000))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def analyse(source: Source, imports: Imports | None = None) -> ModuleFacts:
    """Interpret a module and tell what autograd will see; `imports`: what is known of other files of its project.

    Raises `SyntaxError` for text that isn't Python for this interpreter and `RecursionError` for nesting too deep.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = syntax.tree_of(source.text)
    return analyse_tree(source, tree, imports=imports)


def opened(
    source: Source, tree: ast.Module, name: str, *, is_package: bool, modules: Modules, rounds: Rounds
) -> OpenModule:
    """The module that other files see, for a tree already parsed from `source.text`."""

    def run(imports: Imports) -> tuple[Machine, State]:
        m = Machine(source, _Interpreter(), imports)
        with _deep_recursion():
            return m, run_module(m, tree, name)

    return OpenModule(name, is_package, tree, source, Spellings(source.text), run, modules, rounds)


def summarise(source: Source, name: str, modules: Modules) -> ModuleSummary:
    """What other files can know of a module by this dotted name, of which `modules` are what it imports.

    Text that can't be parsed has an empty summary.
    """
    is_package = source.path.replace("\\", "/").endswith("__init__.py")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = syntax.tree_of(source.text)
            return opened(source, tree, name, is_package=is_package, modules=modules, rounds=Rounds()).closed()
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return ModuleSummary(name, is_package)


def analyse_tree(
    source: Source, tree: ast.Module, chosen: Candidates | None = None, imports: Imports | None = None
) -> ModuleFacts:
    """The same for a tree already parsed from `source.text`; `chosen`: the functions to run."""
    m = Machine(source, _Interpreter(), imports)
    with _deep_recursion():
        worth = candidates(tree, imports) if chosen is None else chosen
        if worth.functions or worth.writes or any(name.search(source.text) for name in _GRADIENTS):
            end = run_module(m, tree)
            run_functions(m, end, worth)
            end.unmade.clear()  # shared by all states; through it they hold each other in circles
    m.notes.leave_out_others()
    ordinals = outcome.ordinals_of(m, tree)
    written = outcome.written_memory(m)
    steadiness = Steadiness(tree)
    writes = with_whole_masks(tree, outcome.facts_of_writes(m, ordinals, written, steadiness))

    def describe(record: WriteRecord) -> Write:
        return outcome.fact_of_write(m, record, ordinals, written, steadiness)

    return ModuleFacts(
        writes=writes,
        fills=outcome.facts_of_fills(m, tree, writes, ordinals),
        backward_calls=outcome.facts_of_backwards(m, ordinals),
        swaps=swaps.facts_of_swaps(m, ordinals),
        second_backwards=gradient_facts.facts_of_again(m, ordinals),
        non_leaf_grads=gradient_facts.facts_of_grads(m, ordinals),
        bare_ways=facts_of_ways(m, tree, ordinals),
        cuts=facts_of_cuts(m, ordinals, written),
        spelling=spelling_of(tree, source.text),
        early_steps=optimizers.facts_of_steps(m, ordinals),
        maskings=maskings_of(tree, writes),
        buffers=buffers_of(m, tree, writes, describe),
        blocks=blocks_of(m, tree, writes, describe),
    )
