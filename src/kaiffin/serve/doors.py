"""Words for callers who have no command line. Torch-free."""

from __future__ import annotations

import re

FLAG = re.compile(r"(?<![\w-])--(?=[a-z][\w.-]*)")


def flagless(text: str) -> str:
    """A problem or its way out with settings by their names: `--data.crop` is data.crop."""
    return FLAG.sub("", text)
