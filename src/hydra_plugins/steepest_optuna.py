"""hydra/sweeper=optuna: a search for the best hyperparameters, by whatever launcher is chosen.

Hydra imports this file at each start, also for --help: what is heavy is imported where it is used.
"""

from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class OptunaSweeper(Sweeper):
    """Tunes with Optuna, round by round.

    Args:
        options: as conf/hydra/sweeper/optuna.yaml states them.
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
        """Tune what these overrides leave open."""
        from steepest.errors import ConfigError

        try:
            from steepest.sweeps.tuning import tune
        except ModuleNotFoundError as error:
            if error.name not in ("optuna", "sqlalchemy"):
                raise
            raise ConfigError(
                f"hydra/sweeper=optuna needs the package {error.name}, which is not installed: "
                "pip install 'steepest[search]'."
            ) from None
        assert self.config is not None
        assert self.hydra_context is not None
        assert self.launcher is not None
        options: Any = OmegaConf.to_container(OmegaConf.create(self.options), resolve=True)
        tune(self.launcher, self.hydra_context.config_loader, self.config, arguments, **options)
