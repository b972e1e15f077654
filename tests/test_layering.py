"""The direction of imports, and which module may touch what: read from the source, nothing is run."""

from __future__ import annotations

import ast
import functools
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gradfix"

# Lowest first: a module imports only from the rows above its own, or from its own package.
LAYERS = (
    ("errors", "nearest", "collector"),
    ("source",),
    ("edits",),
    ("patches", "findings"),
    ("project.config", "project.interpreter"),
    ("project.ignores", "torch_tables"),
    ("project.imports", "torch_ops", "syntax", "results", "identity"),
    ("engine.origins", "engine.taken", "engine.policy"),
    ("engine.suppress", "project.files", "engine.passes"),
    ("analysis.tensor_facts",),
    ("analysis.way_facts",),
    ("analysis.cut_kinds", "analysis.view_facts"),
    ("analysis.backward_facts", "analysis.updates"),
    ("analysis.graph_ends",),
    ("analysis.effects",),
    ("analysis.imports",),
    ("analysis.summaries",),
    ("analysis.facts",),
    ("analysis.severities", "analysis.text"),
    ("analysis.domain",),
    ("analysis.hazards",),
    ("analysis.operators", "analysis.outcome"),
    ("analysis.interpreter",),
    ("analysis.across",),
    ("analysis",),
    ("rewrite.text",),
    ("rewrite.grounds",),
    ("rewrite.backward_calls", "rewrite.cuts", "rewrite.views"),
    ("rewrite.writes",),
    ("rewrite.branches", "rewrite.buffers", "rewrite.callers", "rewrite.parts"),
    ("rewrite",),
    ("codemod",),
    ("codemods",),
    ("registry", "engine.prefilter", "project.others"),
    ("engine.engine",),
    ("libcst_commands",),
    ("tracer",),
    ("backward.worker",),
    ("backward.worker.synthesis",),
    ("backward.worker.run",),
    ("backward.worker.start",),
    ("backward.limits", "backward.protocol"),
    ("backward.verdict",),
    ("proof.touched", "proof.shares", "proof.attribution", "backward"),
    ("proof.plan",),
    ("proof.proof",),
    ("report", "command_line.place"),
    ("command_line.terminal", "command_line.interrupts", "command_line.side_by_side"),
    ("command_line.run",),
    ("command_line.session",),
    ("command_line.shell",),
    ("command_line.cli",),
    ("__main__",),
)
RANK = {name: rank for rank, row in enumerate(LAYERS) for name in row}

# Third-party packages: where they may be imported at all, and where also while the module itself is imported.
THIRD_PARTY = {
    "torch": {"backward.worker", "tracer"},
    "libcst": {"rewrite", "libcst_commands"},
    "click": {"command_line.cli"},
    "unidiff": {"patches"},
    "tomli": {"project.config"},
}
LAZY = {"unidiff"}  # only inside functions

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

CALLS = {
    "print": {"backward.worker"},
    "open": {"project.files", "project.config", "backward", "tracer"},
    "subprocess": {"backward"},
}


def _modules() -> Iterator[tuple[str, Path]]:
    for folder, prefix in ((PACKAGE, ""), (ROOT / "codemods", "codemods.")):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = prefix + ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            yield name.rstrip(".") or "__init__", path


MODULES = dict(_modules())
PARAMETERS = [pytest.param(name, id=name) for name in MODULES]


@functools.cache
def _tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@functools.cache
def _imported(module: str) -> tuple[tuple[str, int], ...]:
    return tuple(_imports(_tree(module)))


def _imports(tree: ast.AST, *, top_level: bool = False) -> Iterator[tuple[str, int]]:
    """Full names of what is imported, with the line; not what only a type checker imports."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            continue  # of a sibling
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        elif not isinstance(node, ast.expr) and not (top_level and isinstance(node, FUNCTIONS)):
            yield from _imports(node, top_level=top_level)


def _layer(module: str) -> str | None:
    """The row's name: the longest one that `module` starts with."""
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((name for name in names if name in RANK), None)


def _allowed(module: str, places: set[str]) -> bool:
    return any(module == place or module.startswith((f"{place}.", f"{place}_")) for place in places)


def test_every_module_has_its_layer() -> None:
    """But packages whose modules have layers of their own, which say what they are and nothing else."""
    without = {name for name in MODULES if _layer(name) is None} - {"__init__"}
    assert without == {"command_line", "engine", "project", "proof"}
    assert all(isinstance(node, ast.Expr) for name in without for node in _tree(name).body)


@pytest.mark.parametrize("module", PARAMETERS)
def test_imports_go_down_only(module: str) -> None:
    for name, line in _imported(module):
        package, _, own = name.partition(".")
        layer, imported = _layer(module), _layer(own)
        if package != "gradfix" or layer is None or imported is None:
            continue
        assert imported == layer or RANK[imported] < RANK[layer], f"line {line}: {module} imports {name}"


def _sources(module: str) -> set[str]:
    """The modules that `module` imports, at its top or inside functions."""
    named = {name.removeprefix("gradfix.") for name, _ in _imported(module)}
    modules = {name if name in MODULES else name.rpartition(".")[0] for name in named}  # of what one defines: that one
    return (modules & MODULES.keys()) - {module}


def test_no_circle_of_modules() -> None:
    """Also none that an import inside a function hides."""
    sorter = graphlib.TopologicalSorter({module: _sources(module) for module in MODULES})
    sorter.prepare()  # raises CycleError, which names the circle


def test_type_checkers_see_no_cycle_that_runs_lack() -> None:
    """What is imported for types alone may name any layer, but never `codemods`, which has two names."""
    for module in MODULES:
        names = [node.module or "" for node in ast.walk(_tree(module)) if isinstance(node, ast.ImportFrom)]
        assert not any(name.startswith(("gradfix.codemods", "codemods")) for name in names), module


@pytest.mark.parametrize("module", PARAMETERS)
def test_third_party_packages_stay_in_their_places(module: str) -> None:
    for name, line in _imported(module):
        package = name.split(".")[0]
        if package in THIRD_PARTY:
            assert _allowed(module, THIRD_PARTY[package]), f"line {line}: {module} imports {package}"
    for name, line in _imports(_tree(module), top_level=True):
        assert name.split(".")[0] not in LAZY, f"line {line}: {module} imports {name} when it is imported itself"


@pytest.mark.parametrize("module", PARAMETERS)
def test_printing_opening_and_starting_stay_in_their_places(module: str) -> None:
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "open"):
            assert _allowed(module, CALLS[node.func.id]), f"line {node.lineno}: {module} calls {node.func.id}"
        if isinstance(node, ast.Attribute) and node.attr in ("stdout", "stderr", "stdin"):
            allowed = ast.unparse(node.value) != "sys" or _allowed(
                module, {"command_line.terminal", "command_line.cli", "backward"}
            )
            assert allowed, f"line {node.lineno}: {module}"
    for name, line in _imported(module):
        assert name.split(".")[0] != "subprocess" or _allowed(module, CALLS["subprocess"]), f"line {line}: {module}"
        assert name.split(".")[0] != "difflib", f"line {line}: {module} imports difflib"


def test_the_workers_need_nothing_but_python_and_torch() -> None:
    """They are loaded by path in an interpreter where gradfix isn't installed."""
    workers = [name for name in MODULES if name.startswith(("backward.worker", "tracer."))]
    assert workers
    for module in workers:
        for name, line in _imported(module):
            own = name.startswith(("gradfix.backward.worker.", "gradfix.tracer."))
            assert own or name.split(".")[0] != "gradfix", f"line {line}: {module} imports {name}"


def test_what_runs_in_the_users_interpreter_suits_an_old_one() -> None:
    """Its grammar, and what later releases gave to calls that are common."""
    newer = {"zip": {"strict"}, "dataclass": {"slots", "kw_only"}}
    for module in MODULES:
        if not _allowed(module, {"backward.worker", "tracer"}):
            continue
        path = MODULES[module]
        tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            given = {keyword.arg for keyword in call.keywords}
            assert not given & newer.get(name, set()), f"line {call.lineno} of {path.name}"
