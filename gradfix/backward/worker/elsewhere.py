"""What a run leaves in other modules of the project than the one that is judged."""

from __future__ import annotations

import itertools
import sys
import types

from gradfix.backward.worker.installed import is_installed
from gradfix.backward.worker.state import Root

_CODE = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)


def left_elsewhere(judged: types.ModuleType, known: int) -> list[Root]:
    """Data that other modules of the user's own hold under names of their own, and what their classes hold.

    Those are looked at that were imported after the first `known`. The program itself isn't one of them: what it
    computes on its way is nobody's.
    """
    found: list[Root] = []
    for name in reversed(list(itertools.islice(reversed(sys.modules), max(0, len(sys.modules) - known)))):
        module = sys.modules[name]
        file = vars(module).get("__file__") if type(module) is types.ModuleType else None
        if module is judged or name == "__main__" or not isinstance(file, str) or is_installed(file):
            continue
        for attribute, value in list(vars(module).items()):
            kind = type(value)  # what an object says it is may be anything, or raise
            own = issubclass(kind, type) and value.__module__ == name
            if not attribute.startswith("__") and (own or not issubclass(kind, _CODE)):
                found.append((f"{name}.{attribute}", value))
    return found
