"""A listener that remembers what each step said."""

from kaiffin.train.trainer import StepResult


class Results:
    def __init__(self) -> None:
        self.results: list[StepResult] = []

    def on_start(self, step: int, steps: int) -> None: ...

    def on_step(self, result: StepResult) -> None:
        self.results.append(result)

    def on_end(self) -> None: ...
