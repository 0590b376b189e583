"""What libraries say goes to the run's log, not over the progress bar."""

import logging
import logging.handlers
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CHATTY = ("pytorch_lightning", "lightning_fabric", "torch", "wandb", "datasets")


@contextmanager
def logging_aside() -> Iterator[Callable[[Path], None]]:
    """Keep log records and warnings of all libraries from the terminal while the body runs.

    Yields a function that names the file they go to; until it is called they wait in memory.
    """
    root = logging.getLogger()
    waiting = logging.handlers.MemoryHandler(capacity=100_000, flushLevel=logging.CRITICAL + 1)
    before = [(logger, logger.handlers[:], logger.propagate) for logger in map(logging.getLogger, CHATTY)]
    level, handlers = root.level, root.handlers[:]
    root.setLevel(logging.INFO)
    root.handlers = [waiting]
    for name, logger in root.manager.loggerDict.items():
        if name.partition(".")[0] in ("steepest", *CHATTY) and isinstance(logger, logging.Logger):
            logger.disabled = False  # Hydra disables those that there are when it begins
    for logger, _, _ in before:
        logger.handlers, logger.propagate = [], True

    def write_to(path: Path) -> None:
        file = logging.FileHandler(path)
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        waiting.setTarget(file)
        waiting.flush()
        root.handlers = [file]

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        logging.captureWarnings(True)
        try:
            yield write_to
        except Exception:
            root.exception("the run failed")
            raise
        finally:
            logging.captureWarnings(False)
            for handler in root.handlers:
                handler.close()
            root.setLevel(level)
            root.handlers = handlers
            for logger, old, propagate in before:
                logger.handlers, logger.propagate = old, propagate
