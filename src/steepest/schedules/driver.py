"""From a schedule's numbers to an optimizer's parameter groups."""

from typing import TYPE_CHECKING, Any

from steepest.errors import ConfigError
from steepest.schedules.schedule import Schedule

if TYPE_CHECKING:
    from torch.optim import Optimizer


def apply(schedule: Schedule, optimizer: "Optimizer", step: int, total: int) -> None:
    """Set learning rate and momentum of every parameter group for update `step` of `total`, before that update.

    The learning rate is the group's own, kept as `initial_lr` from the first call on, times the multiplier. A cycled
    momentum becomes `momentum`, or the first of `betas`.

    Raises:
        ConfigError: the schedule cycles momentum and the optimizer has none.
    """
    factor = schedule.multiplier(step, total)
    momentum = schedule.momentum(step, total)
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
        if momentum is not None:
            _set_momentum(group, momentum, schedule, optimizer)


def _set_momentum(group: dict[str, Any], momentum: float, schedule: Schedule, optimizer: "Optimizer") -> None:
    if "momentum" in group:
        group["momentum"] = momentum
    elif "betas" in group:
        betas = group["betas"]
        group["betas"] = type(betas)([momentum, *betas[1:]])
    else:
        raise ConfigError(
            f"The schedule {type(schedule).__name__} cycles momentum and the optimizer {type(optimizer).__name__} has "
            "none; set schedule.cycle_momentum=false or take an optimizer with momentum or betas."
        )
