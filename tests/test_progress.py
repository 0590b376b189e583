"""How far a study has come."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

from steepest.studies.progress import Watch


def test_a_run_that_has_ended_is_counted_once_by_whoever_looks():
    runs = [SimpleNamespace(run_id=f"r{i}", digest="d") for i in range(300)]
    for run in runs:
        Path(run.run_id).mkdir()
        Path(run.run_id, "status.json").write_text(json.dumps({"status": "finished", "source_digest": "d"}))
    watch = Watch(Path(), 0, 1.0, 1)
    watch.begin(runs, 300)
    with ThreadPoolExecutor(8) as pool:
        for looked in [pool.submit(watch._count) for _ in range(8)]:
            looked.result()
    assert watch.done == 300
    watch.begin([], 300)
    assert watch.done == 300
