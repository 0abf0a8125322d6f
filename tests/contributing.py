"""The code that CONTRIBUTING.md prints."""

from __future__ import annotations

import re
import textwrap

from processes import ROOT


def printed(name: str) -> str:
    """The block that defines the class ``name``."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    (code,) = [block for block in map(textwrap.dedent, blocks) if f"class {name}(" in block]
    return code
