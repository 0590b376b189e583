"""What libraries say goes to the run's log, not over the progress bar."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHATTY = ("pytorch_lightning", "lightning_fabric", "torch", "wandb", "datasets")


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Send log records and warnings of all libraries to a file, and only there, while the body runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    loud = [(logger, logger.handlers[:], logger.propagate) for logger in map(logging.getLogger, CHATTY)]
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for logger, _, _ in loud:
        logger.handlers, logger.propagate = [], True
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        logging.captureWarnings(True)
        try:
            yield
        except Exception:
            root.exception("the run failed")
            raise
        finally:
            logging.captureWarnings(False)
            root.handlers = handlers
            root.setLevel(level)
            for logger, old, propagate in loud:
                logger.handlers, logger.propagate = old, propagate
            handler.close()
