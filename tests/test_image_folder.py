"""Images in folders of classes: what is read, in memory and streamed, and what is refused."""

import inspect
import shutil

import numpy as np
import pytest
import torch
from hydra.utils import get_class
from omegaconf import OmegaConf
from PIL import Image

from steepest.assemble import assemble
from steepest.config import compose, conf_dir
from steepest.datasets import encoded
from steepest.datasets.data import Data
from steepest.datasets.stream import StreamedImages
from steepest.errors import ConfigError
from steepest.launchers.machine import settle

CLASSES = ("bee", "ant", "cat")  # folders are numbered by their names, not by when they were made


@pytest.fixture
def folder(tmp_path):
    """Four training and two test images of each of three classes, of unlike sizes, grey and in colour."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 4), ("val", 2)):
        for label, name in enumerate(CLASSES):
            (tmp_path / "images" / part / name).mkdir(parents=True)
            for number in range(count):
                shape = (12 + number, 16, 3) if label else (16, 12 + number)
                pixels = generator.integers(0, 256, shape, dtype=np.uint8)
                ending = "png" if number % 2 else "jpg"
                Image.fromarray(pixels).save(tmp_path / "images" / part / name / f"{number}.{ending}")
    return tmp_path / "images"


def made(folder, tmp_path, **values) -> Data:
    node = OmegaConf.to_container(OmegaConf.load(conf_dir() / "dataset/image_folder.yaml"))
    settings = {"path": str(folder), "cache_dir": str(tmp_path / "cache"), "image_size": 8, "workers": 0}
    return get_class(node.pop("_target_"))(
        **node | settings | {"validation_fraction": 0.25, "crop_padding": 1} | values
    )


def test_the_yaml_states_every_argument():
    node = OmegaConf.load(conf_dir() / "dataset/image_folder.yaml")
    assert set(node) - {"_target_"} == set(inspect.signature(get_class(node._target_)).parameters)


def test_classes_are_the_folders_in_the_order_of_their_names(folder, tmp_path):
    data = made(folder, tmp_path)
    data.setup()
    assert (data.class_names, data.num_classes, data.input_shape) == (["ant", "bee", "cat"], 3, (3, 8, 8))
    assert (data.num_train, data.num_val, data.num_test) == (9, 3, 6)
    (images, labels), *rest = data.test_dataloader()
    assert rest == []
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    expected = Image.open(folder / "val/ant/1.png").convert("RGB")
    side = min(expected.size)
    left, top = ((length - side) / 2 for length in expected.size)
    expected = expected.resize((8, 8), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    pixels = (images[1] * std + mean) * 255
    np.testing.assert_allclose(pixels.permute(1, 2, 0), np.asarray(expected), atol=0.51)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_gives_the_batches_of_memory_bit_for_bit(folder, tmp_path, workers):
    both = []
    for in_memory in (True, False):
        data = made(folder, tmp_path, in_memory=in_memory, workers=workers)
        data.setup()
        data.attach(batch_size=4, seed=3)
        both.append([*data.train_dataloader(), *data.val_dataloader(), *data.test_dataloader()])
    for (x, y), (u, v) in zip(*both, strict=True):
        assert torch.equal(x, u)
        assert torch.equal(y, v)


def test_what_does_not_fit_in_memory_streams(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(encoded, "MEMORY_LIMIT", 18 * 3 * 64 - 1)
    assert isinstance(made(folder, tmp_path).read_source().train, StreamedImages)
    monkeypatch.setattr(encoded, "MEMORY_LIMIT", 18 * 3 * 64)
    assert not isinstance(made(folder, tmp_path).read_source().train, StreamedImages)


def test_an_image_that_moves_to_another_class_is_not_taken_from_the_cache(folder, tmp_path):
    made(folder, tmp_path).setup()
    shutil.move(folder / "val/ant/1.png", folder / "val/bee/2.png")
    data = made(folder, tmp_path)
    data.setup()
    assert next(iter(data.test_dataloader()))[1].tolist() == [0, 1, 1, 1, 2, 2]


def test_a_folder_named_test_is_preferred_to_val(folder, tmp_path):
    shutil.copytree(folder / "train", folder / "test")
    data = made(folder, tmp_path)
    data.setup()
    assert data.num_test == 12


def test_a_convolutional_network_is_assembled_for_a_folder(folder, tmp_path):
    cfg = compose(
        [
            "dataset=image_folder",
            f"dataset.path={folder}",
            f"paths.cache_dir={tmp_path / 'cache'}",
            "dataset.image_size=16",
            "model=resnet18",
            "batch.size=4",
            "budget.steps=2",
            "budget.epochs=null",
        ]
    )
    settle(cfg)
    parts = assemble(cfg)
    x, y = next(iter(parts.data.train_dataloader()))
    assert x.shape == (4, 3, 16, 16)
    assert parts.task.loss((x, y)).isfinite()


# --- bad input --------------------------------------------------------------------------------------------------------


def refused(folder, tmp_path, match, **values):
    with pytest.raises(ConfigError, match=match) as caught:
        made(folder, tmp_path, **values).setup()
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_named(tmp_path):
    refused(
        tmp_path / "none", tmp_path, r"^dataset\.path=.*none has no folder train; allowed is a folder with train and"
    )


def test_a_missing_test_folder_is_named(folder, tmp_path):
    shutil.rmtree(folder / "val")
    refused(folder, tmp_path, "has no folder test or val or validation; allowed")


def test_classes_that_one_part_lacks_are_named(folder, tmp_path):
    shutil.rmtree(folder / "val/cat")
    refused(folder, tmp_path, "has a folder cat in train or val alone; allowed are the same classes in both")


def test_a_class_without_images_is_named(folder, tmp_path):
    (folder / "train/dog").mkdir()
    refused(folder, tmp_path, r"is not possible \(.*dog.*\); allowed is a folder of images for each class")


def test_a_folder_without_classes_is_named(folder, tmp_path):
    shutil.rmtree(folder / "train")
    (folder / "train").mkdir()
    refused(folder, tmp_path, r"is not possible \(.*\); allowed is a folder of images for each class")


def test_images_of_unlike_sizes_need_a_resize(folder, tmp_path):
    refused(folder, tmp_path, "a resize is needed: set dataset.image_size", image_size=None)


def test_a_damaged_image_is_named(folder, tmp_path):
    (folder / "train/bee/0.jpg").write_bytes(b"no image")
    refused(folder, tmp_path, r"dataset=image_folder, train folder: image 4 \(.*train/bee/0\.jpg\) cannot be decoded")


@pytest.mark.parametrize(("key", "value"), [("in_memory", "maybe"), ("workers", -1), ("image_size", 0)])
def test_a_bad_value_is_refused(folder, tmp_path, key, value):
    refused(folder, tmp_path, rf"^dataset\.{key}=", **{key: value})
