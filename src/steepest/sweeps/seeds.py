"""Seeds as a dimension of their own, which no sampler looks at."""

from collections.abc import Sequence

from steepest.errors import ConfigError, shown


def with_seeds(words: Sequence[str], seeds: int | None) -> list[str]:
    """The overrides with the seeds from 0 on, so many of them.

    Raises:
        ConfigError: `seeds` is no number of 1 or more, or the words name seeds of their own.
    """
    if seeds is None:
        return [*words]
    if type(seeds) is not int or seeds < 1:
        raise ConfigError(f"seeds={shown(seeds)} is not possible; allowed is an integer of 1 or more.")
    for word in words:
        if word.partition("=")[0].lstrip("+~") == "seed":
            raise ConfigError(f"seeds={seeds} and {word} cannot both be; allowed is one of them.")
    return [*words, f"seed={','.join(map(str, range(seeds)))}"]
