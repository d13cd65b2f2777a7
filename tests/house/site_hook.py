# SPDX-License-Identifier: MIT
"""The hook of a site that docs/hooks.md shows, as files."""

import re
from pathlib import Path

from tests.house.imports import HOUSE


def write(directory: Path) -> str:
    """Put hooks/same_site.py below `directory`; the configuration that is shown with it."""
    text = (HOUSE / "docs/hooks.md").read_text()
    code = re.search(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    shown = re.search(r"^```yaml\n([^`]*same_site[^`]*)^```$", text, re.MULTILINE)
    assert code, "docs/hooks.md shows a hook"
    assert shown, "and a configuration for it"
    (directory / "hooks").mkdir()
    (directory / "hooks/same_site.py").write_text(code[1])
    return shown[1]
