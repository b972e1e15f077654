"""What `docs/transforms.md` says of rewritten functions under vmap, grad and compile is what they do."""

from __future__ import annotations

import ast
from functools import cache

import pytest

pytest.importorskip("torch")

from . import measure
from .forms import FORMS, Form
from .measure import failure, function_of, rewritten

# Compiling takes a third of a second; the others are left to `python -m tests.transforms.measure`.
_COMPILED = ("arithmetic", "`index_put`", "`torch.slice_scatter`", "clone, then write", "a list of slots, stacked")
_COMPILED += ("the branch stays, a `torch.where` connects",)
_text = cache(rewritten)


def test_the_document_has_the_table() -> None:
    assert measure.documented() == measure.table(FORMS)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_the_form_is_what_the_table_says(form: Form) -> None:
    assert ast.unparse(ast.parse(form.line)) in _statements(_text(form))
    assert ast.unparse(ast.parse(form.line)) not in _statements(form.program())


def _statements(text: str) -> set[str]:
    return {ast.unparse(node) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)}


@pytest.mark.parametrize("transform", ["vmap", "grad"])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_it_works_where_it_is_meant_to(form: Form, transform: str) -> None:
    found = failure(transform, function_of(_text(form)), form)
    assert (found is not None) == bool(form.why_not(transform)), found


@pytest.mark.parametrize("form", [form for form in FORMS if form.name in _COMPILED], ids=lambda form: form.name)
def test_it_compiles_where_it_is_meant_to(form: Form) -> None:
    found = failure("compile", function_of(_text(form)), form)
    assert (found is not None) == bool(form.why_not("compile")), found
