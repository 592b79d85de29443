"""`kaiffin doctor` and `kaiffin completion`: the machine and its shell. Torch-free
until it looks."""

from __future__ import annotations

from typing import Literal

from kaiffin.cli.settings import Command, argument, option


class Doctor(Command):
    """Is all well on this machine? One screen to paste into an issue; exit code 1 if not."""

    quick: bool = option(False, "without a training step and a picture on the miniature")

    def __call__(self) -> int:
        from kaiffin.cli.show import doctor as show
        from kaiffin.stories.doctor import doctor

        found = self.answer(doctor(quick=self.quick, tell=self.tell), show.checkup)
        return 0 if found.healthy else 1


class Completion(Command):
    """Print what makes a shell complete commands, settings, runs and bases."""

    shell: Literal["bash", "zsh", "fish"] = argument(
        'bash or zsh: eval "$(...)" in its rc; fish: ... | source'
    )

    def __call__(self) -> None:
        from kaiffin.cli.completion import script

        self.answer(script(self.shell), print)
