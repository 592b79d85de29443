"""`kaiffin doctor`. Torch-free until it looks."""

from __future__ import annotations

from kaiffin.cli.settings import Command, option


class Doctor(Command):
    """Look whether all is well on this machine: one screen to paste into an issue.

    Nothing private is in it. Exit code 1 where something that is needed is broken.
    """

    quick: bool = option(False, "without a training step and a picture on the miniature")

    def __call__(self) -> int:
        from kaiffin.cli.show import doctor as show
        from kaiffin.stories.doctor import doctor

        found = doctor(quick=self.quick, tell=self.tell)
        show.checkup(found)
        return 0 if found.healthy else 1
