"""Which decorators and context managers turn gradients off, as their text tells, held against torch."""

from __future__ import annotations

import ast
import functools
from contextlib import contextmanager
from textwrap import dedent
from typing import Any

import pytest

from gradfix.analysis.text.switches import turns_off

torch = pytest.importorskip("torch")

DECORATORS = {
    "calls it inside": """
        def switch(function):
            def wrapper():
                with torch.no_grad():
                    return function()
            return wrapper
        """,
    "decorates its wrapper": """
        def switch(function):
            @torch.inference_mode()
            def wrapper():
                return function()
            return wrapper
        """,
    "hands it over": """
        def switch(function):
            return torch.no_grad()(function)
        """,
    "calls it behind the block": """
        def switch(function):
            def wrapper():
                with torch.no_grad():
                    torch.zeros(3)
                return function()
            return wrapper
        """,
    "turns them on again": """
        def switch(function):
            def wrapper():
                with torch.no_grad():
                    with torch.enable_grad():
                        return function()
            return wrapper
        """,
    "gives back what it was handed": """
        def switch(function):
            torch.no_grad()(function)
            return function
        """,
    "keeps another beside it": """
        def switch(function):
            @torch.no_grad()
            def quiet():
                return function()
            function.quiet = quiet
            return function
        """,
    "keeps what it was handed": """
        def switch(function):
            def wrapper():
                with torch.no_grad():
                    function()
                return wrapper.loud()
            wrapper.loud = function
            return wrapper
        """,
    "asks for its name": """
        def switch(function):
            assert function is not None
            assert function.__name__
            @functools.wraps(function)
            def wrapper():
                with torch.no_grad():
                    return function()
            return wrapper
        """,
    "turns them on": """
        def switch(function):
            def wrapper():
                with torch.set_grad_enabled(True):
                    return function()
            return wrapper
        """,
}
CONTEXTS = {
    "yields inside": """
        def switch():
            with torch.set_grad_enabled(False):
                yield
        """,
    "yields behind the block": """
        def switch():
            with torch.no_grad():
                torch.zeros(3)
            yield
        """,
    "yields in one of two": """
        def switch():
            if torch.is_grad_enabled():
                yield
            else:
                with torch.no_grad():
                    yield
        """,
}


def _loaded(text: str) -> tuple[Any, ast.FunctionDef]:
    text = dedent(text)
    names: dict[str, Any] = {"functools": functools, "torch": torch}
    exec(text, names)
    definition = ast.parse(text).body[0]
    assert isinstance(definition, ast.FunctionDef)
    return names["switch"], definition


@pytest.mark.parametrize("text", DECORATORS.values(), ids=DECORATORS)
def test_decorators(text: str) -> None:
    switch, definition = _loaded(text)
    assert turns_off(definition) is not switch(lambda: torch.is_grad_enabled())()


@pytest.mark.parametrize("text", CONTEXTS.values(), ids=CONTEXTS)
def test_contexts(text: str) -> None:
    switch, definition = _loaded(text)
    with contextmanager(switch)():
        assert turns_off(definition) is not torch.is_grad_enabled()


@pytest.mark.parametrize(("wanted", "off"), [("False", True), ("True", False), ("self.wanted", False)])
def test_a_class_that_sets_the_mode(wanted: str, *, off: bool) -> None:
    definition = ast.parse(f"def __enter__(self):\n    torch.set_grad_enabled({wanted})").body[0]
    assert isinstance(definition, ast.FunctionDef)
    assert turns_off(definition) is off


def test_a_class_that_sets_the_mode_twice() -> None:
    text = "def __enter__(self):\n    torch.set_grad_enabled(False)\n    torch.set_grad_enabled(True)"
    definition = ast.parse(text).body[0]
    assert isinstance(definition, ast.FunctionDef)
    assert not turns_off(definition)
