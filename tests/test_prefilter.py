"""The prefilter: it may let too much through, never too little."""

from __future__ import annotations

import ast
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradfix.engine.prefilter import mentions_torch, worth_parsing


@dataclass(frozen=True)
class Rule:
    needles: tuple[bytes, ...]


def imports_torch(text: str) -> bool:
    """What `ast` says: some import statement names torch or a module of it."""
    modules: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            modules += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules.append(node.module or "")
    return any(module.split(".")[0] == "torch" for module in modules)


IMPORTS = [
    "import torch",
    "import torch.nn as nn",
    "import os, torch",
    "import numpy as np, torch.nn as nn",
    "import\ttorch",
    "import os as x , torch as th",
    "from torch import nn",
    "from torch.nn import functional as F",
    "from torch.nn import (\n    functional,\n    Linear,\n)",
    "from\ftorch import nn",
    "import \\\n torch",
    "import os, \\\n  sys, \\\n torch",
    "from \\\n  torch . nn import functional",
    "import os; import torch",
    "if x: import torch",
    "try:\n    import torch\nexcept ImportError: torch = None",
    "def f():\n\timport torch\n",
    "\fimport torch",
    "x = 1;from torch import nn",
    "from __future__ import annotations; import torch",
]
OTHERS = [
    "import numpy as np",
    "import torchvision",
    "from torch_geometric import data",
    "from .torch import nn",
    "from . import torchlib",
    "x = torch",
    "# what torch needs",
    "import x.torch",
    "def f(torch): return torch",
    "importtorch = 1; torch",
    "x.important = 1; torch.x = 2",
    "import numpy; torch = 1",
    "import numpy  # torch",
    "import numpy\ntorch = 1",
]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("text", IMPORTS)
def test_every_way_to_import_torch_is_seen(text: str, newline: str) -> None:
    assert imports_torch(text)
    assert mentions_torch(f"y = 1\n{text}\ntorch".replace("\n", newline).encode())
    assert mentions_torch(text.replace("\n", newline).encode())


@pytest.mark.parametrize("text", OTHERS)
def test_most_of_the_rest_is_skipped(text: str) -> None:
    assert not imports_torch(text)
    assert not mentions_torch(f"{text}\ntorch.x".encode())


@given(
    st.lists(
        st.sampled_from([*IMPORTS, *OTHERS, "'''torch", "'''", "\\", "é", "import", "from", "torch,"]), max_size=5
    ),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_no_import_of_torch_is_overlooked(lines: list[str], newline: str) -> None:
    text = "\n".join(lines).replace("\n", newline)
    try:
        expected = imports_torch(text)
    except SyntaxError:
        return
    assert mentions_torch(text.encode()) or not expected


def test_the_standard_library_imports_no_torch() -> None:
    folder = Path(ast.__file__).parent
    names = [path for path in (folder / f"{name}.py" for name in sorted(sys.stdlib_module_names)) if path.is_file()]
    assert len(names) > 50
    assert not [path for path in names if mentions_torch(path.read_bytes())]


def test_a_file_is_worth_parsing_when_one_rule_may_find_something() -> None:
    text = "import torch\nx.add_(1)\n"
    assert worth_parsing(text, [Rule((b"+=",)), Rule((b"mul_(", b"_("))])
    assert worth_parsing(text.encode("latin-1"), [Rule(())])
    assert not worth_parsing(text, [Rule((b"+=",)), Rule((b"mul_(",))])
    assert not worth_parsing(text, [])
    assert not worth_parsing("x.add_(1)\n", [Rule((b"_(",)), Rule(())])


def test_the_cost_is_linear_where_torch_is_never_imported() -> None:
    def seconds(lines: int) -> float:
        data = b"x = torch.y\n" * lines
        start = time.process_time()
        assert not mentions_torch(data)
        return time.process_time() - start

    assert min(seconds(40_000) for _ in range(3)) < 40 * min(seconds(4_000) for _ in range(3))
