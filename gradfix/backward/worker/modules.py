"""How the text under judgement takes its file's place: every import of that file gets it, and nothing is written.

Programs find their modules as they do for the user: the program's own folder comes first, or for a module that uses
relative imports, the folder its package lies in, as under `python -m`. The working directory and its `src` come last,
for projects that are installed or put on the path elsewhere.
"""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import importlib.util
import itertools
import os
import sys
import types

Code = types.CodeType


def shadow(path: str, code: Code, copy: str) -> None:
    """From now on an import of the file `path`, or of its copy in the scratch directory, runs `code`."""
    shadowed = {os.path.realpath(path), os.path.realpath(copy)}
    plain = importlib.machinery.SourceFileLoader.get_code

    def get_code(self: importlib.machinery.SourceFileLoader, fullname: str) -> Code | None:
        return code if os.path.realpath(self.path) in shadowed else plain(self, fullname)

    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[method-assign, assignment]


def forget(path: str, known: int) -> None:
    """The next import of the file runs it again. It isn't among the first `known` modules that were imported."""
    for name in list(itertools.islice(reversed(sys.modules), max(0, len(sys.modules) - known))):
        if _is_of(sys.modules[name], path):
            del sys.modules[name]


def package_of(path: str) -> tuple[str, str]:
    """The folder that imports of the file start from, and its dotted name there: packages have an `__init__.py`."""
    folder, name = os.path.split(os.path.splitext(path)[0])
    parts = [] if name == "__init__" else [name]
    while os.path.exists(os.path.join(folder, "__init__.py")):
        folder, package = os.path.split(folder)
        parts.insert(0, package)
    return folder, ".".join(parts)


def run_program(path: str, text: str, code: Code, cwd: str) -> None:
    """Run the code of the file `path` as `__main__`, as a script or, when it imports relatively, as `python -m`."""
    root, name = package_of(path)
    package = name.rpartition(".")[0] if _imports_relatively(text) else ""
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=path, __builtins__=__builtins__, __annotations__={})
    module.__package__ = package or None
    sys.modules["__main__"] = module
    sys.argv = [path]
    _extend_path(root if package else os.path.dirname(path), cwd)
    if package:
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, origin=path)
        importlib.import_module(package)
    exec(code, module.__dict__)


def imported(path: str, code: Code, cwd: str) -> types.ModuleType:
    """The module of the file as `import` gives it; where its name means something else, made from the code alone."""
    root, name = package_of(path)
    _extend_path(root, cwd)
    if name.rpartition(".")[0]:
        importlib.import_module(name.rpartition(".")[0])
    if name not in sys.modules and _is_found(name, path):
        importlib.import_module(name)
    if name in sys.modules and _is_of(sys.modules[name], path):
        return sys.modules[name]
    module = types.ModuleType(name)
    is_package = os.path.basename(path) == "__init__.py"
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, origin=path, is_package=is_package)
    module.__file__ = path
    module.__package__ = name if is_package else name.rpartition(".")[0]
    if is_package:
        module.__path__ = [os.path.dirname(path)]
    sys.modules[name] = module
    exec(code, module.__dict__)
    return module


def _is_found(name: str, path: str) -> bool:
    """Whether `name` means that file: it need not exist, and another may come first."""
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None and os.path.realpath(spec.origin) == os.path.realpath(path)


def _is_of(module: types.ModuleType, path: str) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and os.path.realpath(file) == os.path.realpath(path)


def _extend_path(first: str, cwd: str) -> None:
    sys.path.insert(0, first)
    sys.path += [folder for folder in (cwd, os.path.join(cwd, "src")) if folder not in sys.path]


def _imports_relatively(text: str) -> bool:
    return any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(ast.parse(text)))
