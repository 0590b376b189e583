"""The one exception for what the user can mend."""


class ConfigError(ValueError):
    """Bad input: one sentence that names the key, the value and what is allowed. The command exits with code 2."""
