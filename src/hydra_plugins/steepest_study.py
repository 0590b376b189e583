"""hydra/sweeper=study: the runs of a study, in place of those of a sweep, by whatever launcher is chosen.

Hydra imports this file at each start, also for --help: what is heavy is imported where it is used.
"""

from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class StudySweeper(Sweeper):
    """Hands the launcher what a study has to run, round by round.

    Args:
        options: as conf/hydra/sweeper/study.yaml states them.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make the launcher."""
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the study; the arguments are those of its options."""
        from steepest.run_study import run_study

        assert self.config is not None
        assert self.launcher is not None
        options: Any = OmegaConf.to_container(OmegaConf.create(self.options), resolve=True)
        launcher: Any = OmegaConf.to_container(self.config.hydra.launcher, resolve=True)
        run_study(self.launcher.launch, launcher, **options)
