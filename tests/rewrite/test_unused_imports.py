"""Imports that a fix leaves without use, and those that others may count on."""

from __future__ import annotations

import pytest

from gradfix import edits
from gradfix.edits import Edit
from gradfix.rewrite.text.unused_imports import without_import
from gradfix.source import Source, Span

BODY = "import torch\n\nx = np.zeros(3)\n"


@pytest.mark.parametrize(
    ("path", "before", "after", "gone"),
    [
        ("a.py", "import numpy as np\n", "", True),
        ("a.py", "", "import numpy as np\n", True),
        ("a/__init__.py", "import numpy as np\n", "", False),
        ("a.py", "import numpy as np  # noqa\n", "", False),
        ("a.py", "import numpy as np\n", "y = np.pi\n", False),
        ("a.py", "import numpy as np\n", '__all__ = ["np"]\n', False),
        ("a.py", "import numpy as np\n", "y = 1  # as np does\n", False),
        ("a.py", "import numpy as np, os\n", "", False),
        ("a.py", "import numpy as np; import os\n", "", False),
        ("a.py", "try:\n    import numpy as np\nexcept ImportError:\n    pass\n", "", False),
    ],
)
def test_an_import_goes_when_nothing_has_its_name(path: str, before: str, after: str, gone: bool) -> None:
    source = Source.from_text(path, before + BODY + after)
    start = source.text.index("np.zeros")
    fix = [Edit(Span(start, start + 2), "torch")]
    made = edits.apply(source.text, edits.normalise([*fix, *without_import(source, fix, "numpy")]))
    text = (before + BODY + after).replace("np.zeros", "torch.zeros")
    assert made == (text.replace("import numpy as np\n", "") if gone else text)
