"""The run that overrides mean: its id, and the digest of the source that decides its result."""

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from steepest import schema
from steepest.config import compose
from steepest.runs.identity import source_digest
from steepest.train import settled


class Composer:
    """Composes the configurations of many runs, each group of choices once.

    Args:
        aside: overrides that say where runs lie and what watches them; they decide no result.
    """

    def __init__(self, aside: Sequence[str]) -> None:
        self.aside = tuple(aside)
        self._identified: dict[tuple[tuple[str, ...], str], tuple[str, str]] = {}
        self._composed: dict[tuple[str, ...], tuple[DictConfig, str]] = {}

    def identify(self, words: Sequence[str], values: Mapping[str, Any]) -> tuple[str, str]:
        """The id of the run that `train.py` makes of these words and values, and its source digest.

        Args:
            words: overrides; those of groups must be among them.
            values: of keys that are no groups, and that no word says.

        Raises:
            ConfigError: what they say is not possible.
        """
        asked = tuple(words), json.dumps(values)
        if asked not in self._identified:
            base, digest = self._base(tuple(words))
            cfg = copy.deepcopy(base)
            for key, value in values.items():
                OmegaConf.update(cfg, key, value)
            _, run_id = settled(cfg)
            self._identified[asked] = run_id, digest
        return self._identified[asked]

    def _base(self, words: tuple[str, ...]) -> tuple[DictConfig, str]:
        if words not in self._composed:
            cfg = compose([*words, *self.aside])
            schema.check(cfg)
            config, _ = settled(copy.deepcopy(cfg))
            self._composed[words] = cfg, source_digest(config)
        return self._composed[words]
