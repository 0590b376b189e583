"""How long a run lasts: the first of its bounds that is reached ends it."""

import math
from dataclasses import dataclass

from steepest.errors import ConfigError


@dataclass(frozen=True)
class Budget:
    """The `budget` node. Null is no bound; one of steps, epochs and examples is needed, since schedules span them.

    Raises:
        ConfigError: a bound below its minimum, or none that fixes the number of steps.
    """

    steps: int | None
    epochs: float | None
    examples: int | None
    seconds: float | None

    def __post_init__(self) -> None:
        for key in ("steps", "epochs", "examples", "seconds"):
            value = getattr(self, key)
            kind, whole = (int, "whole number") if key in ("steps", "examples") else (int | float, "number")
            if value is not None and (not isinstance(value, kind) or not value > 0):
                raise ConfigError(f"budget.{key}={value} is out of range; allowed is a {whole} above 0, or null.")
        if self.steps is None and self.epochs is None and self.examples is None:
            raise ConfigError("budget.steps, budget.epochs and budget.examples are all null; one of them is needed.")

    def total_steps(self, steps_per_epoch: int, examples_per_step: float, examples_before: int = 0) -> int:
        """Optimizer steps until the first bound is reached (seconds aside); an unfinished step counts whole.

        `examples_before` are those that are spent before the first step.
        """
        bounds = [
            self.steps,
            None if self.epochs is None else self.epochs * steps_per_epoch,
            None if self.examples is None else (self.examples - examples_before) / examples_per_step,
        ]
        return max(1, min(math.ceil(bound) for bound in bounds if bound is not None))
