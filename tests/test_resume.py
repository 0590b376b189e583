"""A run that is killed goes on as if it had not been."""

import random

import pytest
from killing import content, differences, run

LONG = ["budget={steps:34,epochs:null}", "log.every=4", "validation.every=7", "logger=none"]
SCENARIOS = {
    "cnn": ["checkpoint.every_steps=5"],
    "momentum": ["model=mlp", "schedule=one_cycle", "optimizer=adamw", "model.dropout=0.2"],
    "accumulation": ["model=mlp", "model.batch_norm=true", "model.dropout=0.5", "batch=large", "batch.size=128"]
    + ["batch.micro_size=32", "checkpoint.every_steps=3"],
    "augmentation": ["dataset.crop_padding=1", "dataset.flip=true", "model=vit", "model.dropout=0.1", "optimizer=adam"],
    "epochs": ["validation.every='1 epochs'", "model=lstm", "clip.norm=0.1", "checkpoint.every_steps=10"],
    "full": ["batch=full", "batch.micro_size=431", "model=mlp", "model.dropout=0.5", "checkpoint.every_steps=1"],
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_killed_run_ends_as_one_that_was_left_alone(scenario):
    words = [*LONG, *SCENARIOS[scenario]]
    alone, moments = run(words, runs_dir="alone")
    expected = content(alone)
    assert expected["status"] == "finished"
    draw = random.Random(scenario)
    for kills in (1, 2, 5):
        when = [draw.randint(1, moments // kills) for _ in range(kills)]
        folder, _ = run(words, when, runs_dir=f"killed-{kills}")
        assert "\n".join(differences(expected, content(folder))) == "", when
        assert folder.status["attempt"] == 1
