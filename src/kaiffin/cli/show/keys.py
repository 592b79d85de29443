"""A service: where it answers; its keys: a new one, all of them, one revoked. Torch-free."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kaiffin.cli.terminal import console

if TYPE_CHECKING:
    from kaiffin.serve.keys import Key
    from kaiffin.serve.server import Address


def address(at: Address) -> None:
    """Where to go with a browser, and with programs."""
    console.print(f"Kaiffin serves {at.data} at {at.url}")
    if at.login:
        console.print(f"open once, in a browser of yours: {at.login}")
    console.print(f"a key for programs: kaiffin keys add NAME --data {at.data}")


def added(key: Key, secret: str) -> None:
    """The secret alone on a line, for scripts."""
    console.print(f"{key.name}: a key of {key.user} for {', '.join(key.scopes)}; shown this once:")
    console.print(secret)


def listed(keys: Sequence[Key]) -> None:
    """A line a key."""
    for key in keys:
        made = time.strftime("%Y-%m-%d", time.localtime(key.created))
        state = "revoked" if key.revoked else ",".join(key.scopes)
        console.print(f"{key.id}  {key.name:20} {key.user:20} {made}  {state}")
    if not keys:
        console.print("There is no key. `kaiffin keys add NAME` makes one.")


def revoked(key: Key) -> None:
    console.print(f"{key.name}: opens nothing any more.")
