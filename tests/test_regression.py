import json
from pathlib import Path

import numpy as np
import pytest
import torch
from killing import content, differences
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression

from steepest.assemble import assemble
from steepest.config import compose
from steepest.errors import ConfigError
from steepest.launchers.machine import settle
from steepest.models.autoencoder import Autoencoder
from steepest.models.regressor import Regressor
from steepest.runs.folder import RunFolder
from steepest.train import train

QUIET = ["callbacks=none", "logger=none", "threads=1"]


def assembled(*words):
    cfg = compose([*QUIET, *words])
    settle(cfg)
    return assemble(cfg)


def summary(*words):
    train(compose([*QUIET, *words]))
    [path] = Path("runs").glob("r*")
    return RunFolder(path)


def test_the_table_is_standardised_by_its_training_part_and_dealt_out_once():
    data = assembled("experiment=diabetes").data
    parts = {name: [column.double() for column in data._parts[name].columns] for name in ("train", "val", "test")}
    for column in parts["train"]:
        np.testing.assert_allclose(column.mean(0), 0.0, atol=1e-6)
        np.testing.assert_allclose(column.std(0, correction=0), 1.0, rtol=1e-6)
    assert [len(x) for x, _ in parts.values()] == [310, 44, 88]
    found = torch.cat([y for _, y in parts.values()]).flatten()
    target = load_diabetes().target
    assert np.corrcoef(np.sort(found), np.sort(target))[0, 1] == pytest.approx(1.0)


def test_a_network_is_better_than_the_mean_and_near_to_least_squares():
    folder = summary("experiment=diabetes")
    data = assembled("experiment=diabetes").data
    (x, y), (x_test, y_test) = (data._parts[part].columns for part in ("train", "test"))
    least_squares = LinearRegression().fit(x.numpy(), y.numpy())
    expected = ((least_squares.predict(x_test.numpy()) - y_test.numpy()) ** 2).mean()
    assert folder.summary["headline"]["metric"] == "val/loss"
    assert folder.summary["metrics"]["test/loss"] < 1.15 * expected < 0.8


def test_published_losses_are_means_over_all_examples():
    parts = assembled("experiment=diabetes", "dataset.eval_batch_size=30")
    task, found = parts.task, {}
    task.log = lambda name, value, **_: found.update({name: float(value)})
    for batch in parts.data.test_dataloader():
        task.evaluate(batch)
    task.publish("test")
    x, y = parts.data._parts["test"].columns
    assert found["test/loss"] == pytest.approx((task.model(x) - y).square().mean().item(), rel=1e-5)
    predicted = task.predict_step((x, y), 0)
    assert torch.equal(predicted["target"], y.flatten())
    assert predicted["prediction"].shape == (88,)
    loss, divergence = task.loss_and_divergence((x, y))
    assert (loss.item(), divergence.item()) == (pytest.approx(found["test/loss"]), 0.0)


def test_an_autoencoder_beats_what_a_linear_code_of_half_its_length_gives():
    folder = summary("experiment=digits_autoencoder")
    data = assembled("experiment=digits_autoencoder").data
    x_train, x_test = (data.plain(data._parts[part].images).flatten(1).double().numpy() for part in ("train", "test"))
    mean = x_train.mean(0)
    _, _, v = np.linalg.svd(x_train - mean, full_matrices=False)
    rest = (x_test - mean) - (x_test - mean) @ v[:4].T @ v[:4]
    assert folder.summary["metrics"]["test/loss"] < (rest**2).mean()


def test_reconstructions_are_shown():
    from matplotlib.figure import Figure

    parts = assembled("experiment=digits_autoencoder")
    assert parts.task.pictures() == {}
    parts.task.test_step(next(iter(parts.data.test_dataloader())), 0)
    assert isinstance(parts.task.pictures()["reconstructions"], Figure)
    batch = next(iter(parts.data.test_dataloader()))
    assert parts.task.predict_step(batch, 0)["error"].shape == (len(batch[0]),)


def test_networks_have_the_shapes_that_were_asked_for():
    x = torch.randn(3, 2, 5)
    assert Regressor(input_shape=[2, 5], target_shape=[4, 1], hidden=[7])(x).shape == (3, 4, 1)
    model = Autoencoder(input_shape=[2, 5], code=3, hidden=[7, 6])
    assert model(x).shape == x.shape
    assert model.encoder(x).shape == (3, 3)
    widths = [layer.out_features for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    assert widths == [7, 6, 3, 6, 7, 10]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task.target=label"], "task.target=label is unknown; allowed are target and input"),
        (["dataset=digits", "model=cnn"], "task.target=target needs target_shape, which dataset=digits does not give"),
        (["dataset=digits"], "model=regressor needs target_shape"),
        (["model.hidden=[]"], r"model.hidden=\[\] must be a list"),
        (["model.activation=sine"], "model.activation=sine must be one of relu, gelu, tanh"),
        (["model=autoencoder"], "model=autoencoder turns batches of .* into outputs of shape"),
        (["dataset.test_fraction=0.9"], "dataset.test_fraction=0.9 is not possible"),
        (["experiment=digits_autoencoder", "model.code=0"], "model.code=0 must be a whole number of at least 1"),
        (["experiment=digits_autoencoder", "model=cnn"], "model=cnn turns batches of .* into outputs of shape"),
    ],
)
def test_what_does_not_fit_is_said(words, message):
    start = [] if words[0].startswith("experiment") else ["experiment=diabetes"]
    with pytest.raises(ConfigError, match=message):
        assembled(*start, *words)


@pytest.mark.parametrize("experiment", ["diabetes", "digits_autoencoder"])
def test_a_cut_run_goes_on_as_if_it_had_not_been(experiment):
    words = [f"experiment={experiment}", "budget={steps:20,epochs:null}", "checkpoint.every_steps=3", "log.every=4"]
    folder = summary(*words)
    expected = content(folder)
    status = json.loads((folder.path / "status.json").read_text())
    (folder.path / "status.json").write_text(json.dumps({**status, "status": "running"}))
    folder.checkpoint("last").unlink()
    folder = summary(*words)
    assert len(folder.status["resumed"]) == 1
    assert "\n".join(differences(expected, content(folder))) == ""
