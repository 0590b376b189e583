"""What a run is judged by, as its program returns it."""


class Headline(float):
    """A value of the headline metric (NaN: diverged) that knows which metric, and which direction is better."""

    metric: str | None = None
    direction: str | None = None
    """`min` or `max`."""

    @classmethod
    def of(cls, value: float, metric: str, direction: str) -> "Headline":
        """A value with its metric and direction."""
        found = cls(value)
        found.metric, found.direction = metric, direction
        return found

    def better_than(self, other: float) -> bool:
        """Whether this is better; NaN is not better than anything, and all numbers are better than NaN."""
        if self != self or other != other:
            return self == self
        return self > other if self.direction == "max" else self < other
