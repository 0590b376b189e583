"""hydra/sweeper=grid, the one of -m: every combination of the values on the command line, what is done left out.

Hydra imports this file at each start, also for --help: what is heavy is imported where it is used.
"""

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser


class GridSweeper(BasicSweeper):
    """Expands a command line as Hydra's own sweeper does, and runs what is missing of it.

    Args:
        seeds: so many seeds, from 0 on, of each combination; None: those that the command line names.
        dry_run: stop after the bill.
        retry_failed: run those again that failed.
        max_batch_size: jobs that are handed to the launcher at a time; None: all.
        params: further overrides, as Hydra's.
    """

    def __init__(
        self,
        seeds: int | None = None,
        dry_run: bool = False,
        retry_failed: bool = False,
        max_batch_size: int | None = None,
        params: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(max_batch_size, params)
        self.seeds, self.dry_run, self.retry_failed = seeds, dry_run, retry_failed

    def sweep(self, arguments: list[str]) -> None:
        """Run the sweep of these overrides."""
        from steepest.sweeps import sweep
        from steepest.sweeps.seeds import with_seeds

        assert self.config is not None
        assert self.launcher is not None
        assert self.hydra_context is not None
        loader = self.hydra_context.config_loader
        words = with_seeds([*self._parse_config(), *arguments], self.seeds)
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(words)
        [jobs] = self.split_arguments(overrides, None)
        options = sweep.Options(self.dry_run, self.retry_failed, self.max_batch_size)
        sweep.sweep(jobs, self.launcher, loader, self.config, options)
