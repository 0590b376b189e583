"""Pictures: what is drawn, the files it becomes, and who gets them."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import wandb
from fake_wandb import KEY, records, serving
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from steepest.callbacks import pictures as module
from steepest.cli import main
from steepest.config import compose
from steepest.pictures import confusion_matrix, contour_path, image_grid, layer_map, save, training_curves
from steepest.pictures.files import file_name, frames_writer
from steepest.pictures.grid import as_pixels
from steepest.pictures.look import DPI
from steepest.runs.files import write_atomically
from steepest.runs.folder import RunFolder
from steepest.tasks.classification import Classification
from steepest.train import train

SMALL = ["model=logistic", "threads=1", "budget={steps:8,epochs:null}", "log.every=2"]


def drawn(picture, name="picture"):
    """The pixels of a picture's file, [H, W, 3]."""
    return np.asarray(Image.open(save(Path("out"), name, picture, write_atomically)).convert("RGB")).astype(float)


def blank(pixels):
    return pixels.std() < 1


# --- images ---


def test_every_image_stands_in_the_grid_with_its_own_pixels():
    images = torch.randint(0, 256, (10, 3, 8, 8), dtype=torch.uint8)
    pixels = drawn(image_grid(images, 4, "Ten images"))
    canvas = pixels[34:-12, 12:-12]  # below the heading, within the margins
    assert canvas.shape == (3 * 68 - 4, 4 * 68 - 4, 3)
    for number, image in enumerate(images):
        top, left = number // 4 * 68, number % 4 * 68
        centres = canvas[top + 4 : top + 64 : 8, left + 4 : left + 64 : 8]
        np.testing.assert_allclose(centres, image.permute(1, 2, 0), atol=1)
    assert canvas[2 * 68 :, 2 * 68 :].min() == 255  # where there is none


@pytest.mark.parametrize("kind", ["tensor", "array", "bfloat16"])
def test_floats_are_read_as_from_0_to_1_or_from_minus_1_to_1(kind):
    given_ = torch.tensor([0.0, 0.5, 1.0, 2.0, math.nan]).reshape(1, 1, 1, 5)
    signed = torch.tensor([-1.0, 0.0, 1.0, -3.0]).reshape(1, 1, 1, 4)
    if kind == "array":
        given_, signed = given_.numpy(), signed.numpy()
    if kind == "bfloat16":
        given_, signed = given_.bfloat16(), signed.bfloat16().requires_grad_()
    assert as_pixels(given_)[0, 0, :, 0].tolist() == [0, 128, 255, 255, 0]
    assert as_pixels(signed)[0, 0, :, 2].tolist() == [0, 128, 255, 0]


@pytest.mark.parametrize("shape", [(4, 2, 8, 8), (8, 8), (0, 1, 8, 8), (1, 1, 1, 8, 8)])
def test_images_of_another_shape_are_named(shape):
    with pytest.raises(ValueError, match=re.escape(f"images of shape {list(shape)}")):
        image_grid(torch.zeros(shape), 4, "none")


def test_a_title_longer_than_the_images_fits():
    title = "A very long title over one single small image"
    assert drawn(image_grid(torch.zeros(1, 8, 8), 1, title)).shape[1] > 7 * len(title)


# --- confusion matrix ---


def confused(size, count=20, seed=0):
    generator = np.random.default_rng(seed)
    table = np.eye(size, dtype=int) * count
    np.add.at(table, (generator.integers(0, size, 3 * size), generator.integers(0, size, 3 * size)), 1)
    return table


@pytest.mark.parametrize("size", [2, 10, 77, 100, 300])
def test_a_confusion_matrix_is_blue_where_it_is_right_and_orange_where_not(size):
    table = confused(size)
    figure = confusion_matrix(table, [f"class {k}" for k in range(size)])
    [image] = figure.axes[0].get_images()
    colours = np.asarray(image.get_array())
    assert colours.shape == (size, size, 3)
    red, blue = colours[..., 0], colours[..., 2]
    wrong = ~np.eye(size, dtype=bool) & (table > 0)
    assert (blue > red)[np.eye(size, dtype=bool)].all()
    assert (red > blue)[wrong].all()
    assert (colours[table == 0] == 1).all()
    pixels = drawn(figure)
    assert not blank(pixels)
    assert 300 < pixels.shape[0] < 1500
    assert pixels.shape[1] < 2200


def texts(figure):
    return [text.get_text() for panel in figure.axes for text in panel.texts]


def test_few_classes_have_their_numbers_written():
    figure = confusion_matrix([[5, 1], [0, 7]], ["no", "yes"])
    assert {"5", "1", "7"} <= set(texts(figure))
    assert "0" not in texts(figure)
    assert any("12 of 13 right (92.31%)" in text for text in texts(figure))


def test_of_many_classes_the_worst_mistakes_are_listed():
    table = np.eye(30, dtype=int) * 50
    table[3, 4], table[7, 8] = 40, 30
    said = texts(confusion_matrix(table, [f"n{k}" for k in range(30)]))
    assert said.index("n3 → n4") < said.index("n7 → n8")
    assert "40" in said
    assert "n3 (90)" in said
    assert "56%" in said


def test_classes_without_examples_and_odd_names_are_drawn():
    table = torch.tensor([[0, 0, 0], [2, 3, 0], [0, 0, 1]])
    assert not blank(drawn(confusion_matrix(table, ["", "<$x_1$>", "ein sehr langer Name " * 9])))
    assert not blank(drawn(confusion_matrix(torch.zeros(20, 20), [f"$ {k}" for k in range(20)])))


def test_names_that_do_not_fit_are_an_error():
    with pytest.raises(ValueError, match="3 names"):
        confusion_matrix(np.eye(2), ["a", "b", "c"])


# --- curves ---

numbers = st.one_of(st.none(), st.floats(allow_nan=True, width=32), st.floats(-1e30, 1e30))
rows_of_a_run = st.lists(
    st.fixed_dictionaries(
        {"opt_step": st.integers(1, 10**9)},
        optional=dict.fromkeys(("train/loss", "val/loss", "val/x", "lr", "train/x", "test/x"), numbers),
    ),
    max_size=8,
)


@given(rows_of_a_run, st.sampled_from(["max", "min"]))
@settings(max_examples=10, deadline=None)
def test_any_rows_make_curves(rows, direction):
    figure = training_curves(rows, ("val/x", direction))
    figure.canvas.draw()


def panels(rows, headline=("val/accuracy", "max")):
    figure = training_curves(rows, headline)
    drawn(figure)
    return {panel.get_title(loc="left"): panel for panel in figure.axes}


def test_curves_show_losses_headline_and_learning_rate():
    rows = [{"opt_step": s, "train/loss": 100.0 / s, "lr": 0.1, "train/grad_norm": 9.0} for s in range(1, 50)]
    rows += [{"opt_step": s, "val/loss": 120.0 / s, "val/accuracy": s / 50} for s in range(5, 50, 5)]
    rows += [{"opt_step": 50, "test/accuracy": 0.875}]
    found = panels(rows)
    assert list(found) == ["Loss", "val/accuracy", "Learning rate"]
    train_line, val_line = found["Loss"].get_lines()
    assert train_line.get_ydata().tolist() == [100 / s for s in range(1, 50)]
    assert val_line.get_xdata().tolist() == list(range(5, 50, 5))
    assert found["Loss"].get_yscale() == "log"
    said = [text.get_text() for text in found["val/accuracy"].texts]
    assert "best 0.9 at step 45, last 0.9, test 0.875" in said


def test_a_loss_of_both_signs_has_a_plain_axis_and_gaps_stay_gaps():
    rows = [{"opt_step": s, "train/loss": v} for s, v in enumerate([1.0, None, -1.0, 100.0], 1)]
    [panel] = panels(rows).values()
    assert panel.get_yscale() == "linear"
    assert np.isnan(panel.get_lines()[0].get_ydata()[1])


def test_a_headline_without_loss_is_drawn_beside_its_training_values():
    rows = [{"opt_step": s, "train/episodic_return": 2.0 * s, "train/policy_loss": -1.0} for s in range(1, 9)]
    rows += [{"opt_step": 8, "val/return": 16.0}]
    found = panels(rows, ("val/return", "max"))
    assert list(found) == ["Loss", "val/return"]
    assert len(found["val/return"].get_lines()) == 3  # both curves and the ring around the best


# --- layers, paths ---


def test_layers_are_rows_and_measured_steps_columns():
    rows = [{"opt_step": 1, "train/loss": 1.0}]
    for step, factor in ((1, 1.0), (10, 0.1)):
        values = {"grad_rms": 1e-3, "update_ratio": 1e-2, "cosine": 0.5, "weight_rms": 1.0}
        rows.append(
            {"opt_step": step, **{f"layers/b.{k}/{n}": v * factor for k in range(3) for n, v in values.items()}}
        )
    rows[-1]["layers/b.2/grad_rms"] = None
    figure = layer_map(rows)
    images = [panel.get_images()[0].get_array() for panel in figure.axes if panel.get_images()]
    assert [image.shape for image in images] == [(3, 2)] * 3
    np.testing.assert_allclose(np.ma.filled(images[0], np.nan), [[1e-3, 1e-4], [1e-3, 1e-4], [1e-3, np.nan]])
    np.testing.assert_allclose(images[2], [[0.5, 0.05]] * 3)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["b.0", "b.1", "b.2"]
    assert not blank(drawn(figure))


def test_nothing_measured_is_no_picture():
    assert layer_map([{"opt_step": 1, "train/loss": 1.0}]) is None


@pytest.mark.parametrize("count", [1, 400])
def test_any_number_of_layers_is_readable(count):
    rows = [{"opt_step": 1, **{f"layers/{'long.' * 12}{k}.weight/grad_rms": 0.0 for k in range(count)}}]
    pixels = drawn(layer_map(rows))
    assert pixels.shape[0] <= 16 * DPI


def test_a_path_lies_over_the_function():
    path = np.array([[2.0, 1.0], [1.0, 0.5], [0.1, 0.05]])
    figure = contour_path(lambda x: (x**2).sum(1), path, [[0.0, 0.0]], "Bowl")
    [panel] = figure.axes
    np.testing.assert_array_equal(panel.get_lines()[0].get_xydata(), path)
    assert panel.get_xlim()[0] < 0 < 2 < panel.get_xlim()[1]
    pixels = drawn(figure)
    assert not blank(pixels)
    assert pixels.shape == (round(5.8 * DPI), round(6.4 * DPI), 3)


@pytest.mark.parametrize(
    ("path", "minimizers"),
    [
        ([], []),
        ([[1.0, 1.0]], []),
        ([[1.0, 1.0], [1e9, -1e12], [np.nan, 0.0]], [[0.0, 0.0]]),
        ([[3.0, 3.0]] * 2, [[3.0, 3.0]]),
    ],
)
def test_paths_that_end_badly_are_drawn(path, minimizers):
    assert not blank(drawn(contour_path(lambda x: np.log(x[:, 0]) + x[:, 1] ** 2, path, minimizers)))


# --- files ---


def test_frames_become_an_animation_with_all_of_them():
    frames = [np.full((20, 30, 3), value, np.uint8) for value in (0, 100, 200)]
    frames[1][:, :15] = (255, 0, 0)
    with Image.open(save(Path("out"), "run", frames, write_atomically)) as animation:
        assert (animation.format, animation.n_frames, animation.size, animation.info["loop"]) == ("GIF", 3, (30, 20), 0)
        animation.seek(1)
        assert animation.info["duration"] == 30
        np.testing.assert_allclose(np.asarray(animation.convert("RGB"))[5, 5], [255, 0, 0], atol=8)
        np.testing.assert_allclose(np.asarray(animation.convert("RGB"))[5, 25], [100] * 3, atol=8)


@pytest.mark.parametrize(
    "frames", [[], [np.zeros((2, 2, 3))], [np.zeros((2, 2), np.uint8)], [np.zeros((2, k, 3), np.uint8) for k in (2, 3)]]
)
def test_other_frames_are_an_error(frames):
    with pytest.raises(ValueError, match="all of one size"):
        frames_writer(frames)


def test_a_text_is_written_as_it_is():
    file = save(Path("out"), "sample", "Ünï\n<b>code</b> \ud800", write_atomically)
    assert file.name == "sample.txt"
    assert file.read_text() == "Ünï\n<b>code</b> ?"


@given(st.text(max_size=120))
def test_any_name_is_safe_in_a_folder(name):
    safe = file_name(name)
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,80}", safe)
    assert safe[0] != "."
    assert Path("folder", safe).parent == Path("folder")


# --- in a run ---


def own_pictures(self):
    """Pictures of every kind, one of them broken, and two of one name."""
    return {
        "samples/../grid": image_grid(torch.rand(4, 1, 8, 8), 2, "Samples"),
        "frames": [np.full((8, 8, 3), k, np.uint8) for k in range(0, 200, 50)],
        "words": "to be <or> not",
        "words!": "again",
        "broken": [np.zeros(3)],
    }


def finished(*words):
    train(compose([*SMALL, *words]))
    [path] = Path("runs").glob("r*")
    return RunFolder(path)


@pytest.fixture
def artist(monkeypatch):
    monkeypatch.setattr(Classification, "pictures", own_pictures, raising=False)


def test_a_run_leaves_its_pictures(artist):
    folder = finished("logger=none", "callbacks=default")
    found = {file.name for file in (folder.path / "pictures").iterdir()}
    assert {"curves.png", "layers.png", "samples_grid.png", "frames.gif", "words.txt", "words-2.txt"} <= found
    assert not any("broken" in name for name in found)
    assert "writing the picture broken failed" in folder.log_file.read_text()
    assert folder.status["status"] == "finished"
    for name in ("curves.png", "layers.png"):
        with Image.open(folder.path / "pictures" / name) as image:
            assert not blank(np.asarray(image.convert("RGB")).astype(float))


def test_two_pictures_of_one_name_are_two_files():
    assert module.other_than({"a": 1}, "b") == "b"
    assert module.other_than({"a": 1, "a-2": 1}, "a") == "a-3"


@pytest.mark.parametrize("fault", [ValueError("no data"), MemoryError()])
def test_a_task_whose_pictures_fail_ends_well(monkeypatch, fault):
    def fail(self):
        raise fault

    monkeypatch.setattr(Classification, "pictures", fail, raising=False)
    folder = finished("logger=none", "callbacks=default")
    assert folder.status["status"] == "finished"
    assert "Classification.pictures() failed" in folder.log_file.read_text()
    assert (folder.path / "pictures" / "curves.png").is_file()


def test_a_run_that_diverges_has_its_curves():
    folder = finished("logger=none", "callbacks=default", "model=mlp", "optimizer=sgd", "optimizer.lr=1e30")
    assert folder.status["status"] == "diverged"
    assert (folder.path / "pictures" / "curves.png").is_file()


def test_pictures_move_aside_with_their_attempt():
    folder = finished("logger=none", "callbacks=default")
    before = (folder.path / "pictures" / "curves.png").read_bytes()
    (folder.path / "pictures" / "old.txt").write_text("of the first attempt")
    finished("logger=none", "callbacks=default", "force=true")
    aside = folder.path / "attempts" / "1" / "pictures"
    assert (aside / "curves.png").read_bytes() == before
    assert (aside / "old.txt").is_file()
    assert not (folder.path / "pictures" / "old.txt").exists()
    assert main(["gc", "--yes"]) == 0
    assert not aside.exists()
    assert (folder.path / "pictures" / "curves.png").is_file()


def test_tensorboard_has_images_and_texts(artist):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = finished("logger=tensorboard", "callbacks=default")
    tags = [EventAccumulator(str(file)).Reload().Tags() for file in folder.path.rglob("events.out.tfevents.*")]
    assert {"curves", "layers", "samples_grid"} <= {tag for found in tags for tag in found["images"]}
    assert {"words/text_summary", "words-2/text_summary"} <= {tag for found in tags for tag in found["tensors"]}


# --- W&B ---


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """wandb reads the environment once a process."""
    wandb.teardown()
    for name in ("WANDB_ERROR_REPORTING", "WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    yield
    wandb.teardown()


WANDB = ["logger=wandb", "callbacks=default"]


def pictures_of(rows):
    return {key: value for row in rows for key, value in row.items() if key.startswith("pictures/")}


def test_wandb_online_gets_pictures_animations_and_texts_with_the_last_row(fresh, monkeypatch, artist):
    with serving() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        folder = finished(*WANDB)
        [run] = server.runs.values()
    rows = folder.rows()
    assert len(run.history) == len(rows)
    found = pictures_of(run.history[-1:])
    kinds = {key.removeprefix("pictures/"): value["_type"] for key, value in found.items()}
    assert kinds["curves"] == kinds["layers"] == kinds["samples_grid"] == "image-file"
    assert (kinds["frames"], kinds["words"]) == ("video-file", "html-file")
    assert run.history[-1]["test/accuracy"] == rows[-1]["test/accuracy"]
    assert run.exit_code == 0


def test_wandb_offline_has_them_and_sync_brings_them(fresh, monkeypatch, artist):
    folder = finished(*WANDB)
    wandb.teardown()
    [file] = folder.path.glob("wandb/offline-run-*/run-*.wandb")
    keys = {
        item.key or item.nested_key[0]
        for record in records(file)
        if record.WhichOneof("record_type") == "history"
        for item in record.history.item
    }
    assert {"pictures/curves", "pictures/frames", "pictures/words"} <= keys
    (folder.path / "pictures" / "notes.odt").write_text("of another program")
    with serving() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        assert main(["sync"]) == 0
        [run] = server.runs.values()
        assert {"pictures/curves", "pictures/words"} <= set(pictures_of(run.history))
        assert len(run.history) == len(folder.rows())
        assert main(["sync"]) == 0
        assert len(run.history) == len(folder.rows())


def test_a_broken_picture_for_wandb_does_not_break_the_run(fresh, monkeypatch):
    monkeypatch.setattr(wandb, "Image", raising)
    folder = finished(*WANDB)
    assert folder.status["status"] == folder.summary["status"] == "finished"
    assert "no image" in folder.log_file.read_text()


def raising(*_):
    raise RuntimeError("no image")
