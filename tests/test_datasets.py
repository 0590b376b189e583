import gzip
import io
import os
import pickle
import shutil
from hashlib import md5
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet
import pytest
import pytorch_lightning as pl
import torch
import torchvision
from hydra.utils import get_class
from omegaconf import OmegaConf
from PIL import Image
from sklearn.datasets import load_digits

from steepest.build import build
from steepest.config import compose, conf_dir
from steepest.datasets import encoded
from steepest.datasets.cache import DecodedCache
from steepest.datasets.data import MissingDataError
from steepest.datasets.decode import Decoder
from steepest.datasets.stream import StreamedImages
from steepest.errors import ConfigError
from steepest.signature import signature

DATA = Path(os.environ.get("STEEPEST_DATA_DIR", "no data"))
NAMES = sorted(file.stem for file in (conf_dir() / "dataset").glob("*.yaml"))


def yaml_of(name):
    return conf_dir() / "dataset" / f"{name}.yaml"


def needs(path):
    return pytest.mark.skipif(not (DATA / path).exists(), reason=f"no {path} under STEEPEST_DATA_DIR")


def dataset(name, **values):
    node = OmegaConf.to_container(OmegaConf.load(yaml_of(name)))
    places = {key: place for key, place in (("root", str(DATA)), ("cache_dir", "nowhere")) if key in node}
    return get_class(node.pop("_target_"))(**node | places | values)


def drain(loader):
    if not loader:
        return torch.empty(0), torch.empty(0, dtype=torch.int64)
    images, labels = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(labels)


def pixels(data, part):
    """The part's images as they were, uint8."""
    images, labels = drain({"val": data.val_dataloader, "test": data.test_dataloader}[part]())
    mean = -data.plain.shift / data.plain.scale
    return (images / data.plain.scale + mean).round().to(torch.uint8), labels


@pytest.fixture(scope="session")
def digits():
    """300 of scikit-learn's digits as real image files to be: uint8 [300, 8, 8] and labels."""
    found = load_digits()
    return (found.images[:300] * 15).astype(np.uint8), found.target[:300]


def png(array, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return {"bytes": file.getvalue(), "path": None}


def table(images, labels, **columns):
    features = datasets.Features(
        {
            "index": datasets.Value("int64"),
            "picture": datasets.Image(),
            "digit": datasets.ClassLabel(names=[f"digit {n}" for n in range(10)]),
            "number": datasets.Value("int32"),
            "text": datasets.Value("string"),
        }
    )
    content = {
        "index": list(range(len(images))),
        "picture": [image if isinstance(image, dict) else png(image) for image in images],
        "digit": [int(label) for label in labels],
        "number": [int(label) for label in labels],
        "text": ["a"] * len(images),
    }
    return datasets.Dataset.from_dict(content | columns, features=features)


@pytest.fixture(scope="session")
def parquet(digits, tmp_path_factory):
    """Two training shards of 120 digits each and a test file of 60."""
    folder = tmp_path_factory.mktemp("parquet")
    images, labels = digits
    for name, part in (("train-0", slice(120)), ("train-1", slice(120, 240)), ("test-0", slice(240, 300))):
        table(images[part], labels[part]).to_parquet(folder / f"{name}.parquet")
    return folder


def local(path, cache, **values):
    settings = {"path": str(path), "cache_dir": str(cache), "root": "nowhere", "label_column": "digit", "workers": 0}
    return dataset("mnist_hf", **settings | values)


# all of them


@pytest.mark.parametrize("name", NAMES)
def test_the_yaml_states_every_argument_and_the_data_set_is_named_after_it(name):
    node = OmegaConf.load(yaml_of(name))
    target = get_class(node.pop("_target_"))
    assert set(node) == set(signature(target).types)
    assert node.name == name


def test_a_config_node_is_built_with_its_paths_resolved():
    assert build(compose(["dataset=mnist", "paths.data_dir=/somewhere"]).dataset).root == Path("/somewhere")


@pytest.mark.parametrize("name", [name for name in NAMES if "root" in OmegaConf.load(yaml_of(name))])
def test_a_job_without_data_is_told_what_to_run(name, tmp_path):
    with pytest.raises(
        MissingDataError, match=rf"^dataset={name}: no data under {tmp_path}.*; run: make data DATASETS={name}"
    ):
        dataset(name, root=str(tmp_path)).setup()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("validation_fraction", 1.0),
        ("validation_fraction", -0.1),
        ("validation_fraction", 0.9999),
        ("mean", [0.1, 0.2]),
        ("mean", [float("nan")]),
        ("std", [0.0]),
        ("crop_padding", -1),
        ("crop_padding", 1.5),
        ("flip", "yes"),
        ("split_seed", -1),
        ("eval_batch_size", 0),
    ],
)
def test_a_bad_value_is_refused_in_a_sentence_that_names_it(key, value):
    with pytest.raises(ConfigError, match=rf"^dataset\.(std|{key})=.* not possible; allowed are "):
        dataset("digits", **{key: value}).setup()


def test_as_many_means_as_channels_are_asked_for():
    with pytest.raises(ConfigError, match=r"dataset\.mean=.*one number per channel of the images: 1"):
        dataset("digits", mean=[0.1] * 3, std=[0.2] * 3).setup()


@pytest.mark.parametrize(
    ("name", "folder", "tolerance"),
    [
        ("digits", None, 0.001),
        pytest.param("fashion_mnist", None, 0.0001, marks=needs("FashionMNIST")),
        pytest.param("cifar10_hf", "cifar10_part", 0.006, marks=needs("cifar10")),
    ],
)
def test_training_images_have_mean_zero_and_variance_one(name, folder, tolerance, request):
    values = {} if folder is None else request.getfixturevalue(folder)
    data = dataset(name, validation_fraction=0.0, crop_padding=0, flip=False, **values)
    data.setup()
    data.attach(batch_size=data.num_train)
    images, _ = next(iter(data.train_dataloader()))
    scale = torch.tensor(OmegaConf.load(yaml_of(name)).std)
    assert (images.double().mean((0, 2, 3)) * scale).abs().max() < tolerance
    assert (images.double().std((0, 2, 3)) * scale - scale).abs().max() < tolerance


@pytest.fixture(scope="session")
def cifar10_part(tmp_path_factory):
    """5,000 training and 1,000 test images of CIFAR-10, as JPEG files in Parquet."""
    folder = tmp_path_factory.mktemp("cifar10")
    for name, count in (("train-00000-of-00005", 5000), ("test-00000-of-00001", 1000)):
        rows = pyarrow.parquet.read_table(DATA / "cifar10" / f"{name}.parquet").slice(0, count)
        pyarrow.parquet.write_table(rows, folder / f"{name}.parquet")
    return {"path": str(folder), "cache_dir": str(folder / "cache")}


# the embedded one, and what all share


@pytest.fixture
def embedded():
    data = dataset("digits")
    data.setup()
    return data


def test_digits_declare_what_a_model_needs(embedded):
    assert embedded.input_shape == (1, 8, 8)
    assert embedded.num_classes == 10
    assert embedded.class_names == [str(n) for n in range(10)]
    assert (embedded.num_train, embedded.num_val, embedded.num_test) == (1294, 144, 359)


def test_digits_are_scikit_learns_with_grey_levels_from_0_to_255(embedded):
    embedded.attach(batch_size=1294)
    images, labels = drain(embedded.train_dataloader())
    mean = -embedded.plain.shift / embedded.plain.scale
    train = (images / embedded.plain.scale + mean).round()
    parts = [(train, labels), *(pixels(embedded, part) for part in ("val", "test"))]
    found = sorted(
        (y, tuple(x.flatten().int().tolist())) for some, ys in parts for x, y in zip(some, ys.tolist(), strict=True)
    )
    original = load_digits()
    spread = np.floor(original.data * 15.9375 + 0.5).astype(int)
    assert found == sorted((int(y), tuple(x.tolist())) for x, y in zip(spread, original.target, strict=True))
    assert max(max(x) for _, x in found) == 255


def test_the_split_has_a_seed_of_its_own_and_the_test_set_none(embedded):
    other, again = dataset("digits", split_seed=1), dataset("digits")
    for data in (other, again):
        data.setup()
        data.attach(batch_size=10, seed=9)
    assert torch.equal(drain(again.val_dataloader())[0], drain(embedded.val_dataloader())[0])
    assert not torch.equal(drain(other.val_dataloader())[1], drain(embedded.val_dataloader())[1])
    assert torch.equal(drain(other.test_dataloader())[0], drain(embedded.test_dataloader())[0])


def test_setup_reads_once(embedded, monkeypatch):
    monkeypatch.setattr(type(embedded), "read", lambda self: pytest.fail("read again"))
    for stage in ("fit", "test", None):
        embedded.setup(stage)


def test_prediction_is_on_the_test_set(embedded):
    assert torch.equal(drain(embedded.predict_dataloader())[0], drain(embedded.test_dataloader())[0])


def test_the_size_of_evaluation_batches_changes_no_image(embedded):
    small = dataset("digits", eval_batch_size=50)
    small.setup()
    assert torch.equal(drain(small.test_dataloader())[0], drain(embedded.test_dataloader())[0])


@pytest.mark.parametrize("options", [{"batch_size": 1295}, {"batch_size": 648, "accumulate": 2}, {"batch_size": 0}])
def test_a_step_larger_than_the_training_set_is_refused(embedded, options):
    with pytest.raises(ConfigError, match=r"^batch\.size=(1295|1296|0) .*1294 training.*1 to 1294"):
        embedded.attach(**options)


def test_batches_are_asked_for_after_attach(embedded):
    with pytest.raises(RuntimeError, match="attach"):
        embedded.train_dataloader()


class Classifier(pl.LightningModule):
    def __init__(self, data):
        super().__init__()
        self.layer = torch.nn.Linear(int(np.prod(data.input_shape)), data.num_classes)
        self.examples = {"train": 0, "val": 0, "test": 0}

    def count(self, part, batch):
        self.examples[part] += len(batch[1])
        return torch.nn.functional.cross_entropy(self.layer(batch[0].flatten(1)), batch[1])

    def training_step(self, batch, _):
        return self.count("train", batch)

    def validation_step(self, batch, _):
        self.count("val", batch)

    def test_step(self, batch, batch_idx):
        self.count("test", batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("fraction", "validated"), [(0.1, 144), (0.0, 0)])
def test_lightning_trains_validates_and_tests_with_it(fraction, validated):
    data = dataset("digits", validation_fraction=fraction)
    data.setup()
    data.attach(batch_size=64, accumulate=2)
    model = Classifier(data)
    trainer = pl.Trainer(
        max_epochs=1,
        accumulate_grad_batches=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data, verbose=False)
    assert trainer.global_step == data.num_train // 128
    assert model.examples == {"train": data.num_train // 128 * 128, "val": validated, "test": 359}


# torchvision


@pytest.fixture(scope="session")
def idx_folder(digits, tmp_path_factory):
    """Digits in the files of MNIST: 240 for training as gzip, 60 for test unpacked."""
    folder = tmp_path_factory.mktemp("idx") / "MNIST" / "raw"
    folder.mkdir(parents=True)
    images, labels = digits
    for part, rows in (("train", slice(240)), ("t10k", slice(240, 300))):
        for kind, array in (("images-idx3", images[rows]), ("labels-idx1", labels[rows].astype(np.uint8))):
            header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
            content = header + array.tobytes()
            if part == "train":
                (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))
            else:
                (folder / f"{part}-{kind}-ubyte").write_bytes(content)
    return folder.parents[1]


def test_mnist_files_are_read_packed_or_not(idx_folder, digits):
    data = dataset("mnist", root=str(idx_folder))
    data.setup()
    assert (data.num_train, data.num_val, data.num_test, data.input_shape) == (216, 24, 60, (1, 8, 8))
    images, labels = pixels(data, "test")
    assert np.array_equal(images[:, 0], digits[0][240:])
    assert np.array_equal(labels, digits[1][240:])


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "short", "other"])
def test_a_damaged_mnist_file_is_named(idx_folder, tmp_path, damage):
    shutil.copytree(idx_folder, tmp_path, dirs_exist_ok=True)
    packed = tmp_path / "MNIST/raw/train-images-idx3-ubyte.gz"
    unpacked = tmp_path / "MNIST/raw/t10k-images-idx3-ubyte"
    content = packed.read_bytes()
    if damage == "truncated":
        packed.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        packed.write_bytes(content[:2000] + bytes([content[2000] ^ 1]) + content[2001:])
    elif damage == "empty":
        packed.write_bytes(b"")
    elif damage == "short":
        unpacked.write_bytes(unpacked.read_bytes()[:-1])
    else:
        unpacked.write_bytes(b"<html>not found</html>")
    file = unpacked if damage in ("short", "other") else packed
    with pytest.raises(ConfigError, match=f"^{file} cannot be read .*delete it"):
        dataset("mnist", root=str(tmp_path)).setup()


def test_images_and_labels_of_unlike_numbers_are_refused(idx_folder, tmp_path):
    shutil.copytree(idx_folder, tmp_path, dirs_exist_ok=True)
    raw = tmp_path / "MNIST/raw"
    shutil.copy(raw / "t10k-labels-idx1-ubyte", raw / "train-labels-idx1-ubyte")
    with pytest.raises(ConfigError, match=r"train-images.*\[240, 8, 8\].*train-labels.*\[60\]"):
        dataset("mnist", root=str(tmp_path)).setup()


@needs("FashionMNIST")
def test_fashion_mnist_is_read_from_a_folder_that_must_not_be_written():
    before = sorted((DATA / "FashionMNIST").rglob("*"))
    data = dataset("fashion_mnist", root=str(DATA))
    data.setup()
    assert (data.num_train, data.num_val, data.num_test) == (54_000, 6_000, 10_000)
    assert data.class_names[9] == "Ankle boot"
    images, labels = pixels(data, "test")
    raw = gzip.decompress((DATA / "FashionMNIST/raw/t10k-images-idx3-ubyte.gz").read_bytes())
    assert images.numpy().tobytes() == raw[16:]
    assert labels.bincount().tolist() == [1000] * 10
    assert sorted((DATA / "FashionMNIST").rglob("*")) == before


@pytest.fixture
def cifar_folder(tmp_path, monkeypatch):
    """CIFAR's files with 20 random images each, and torchvision told their md5."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    source = torchvision.datasets.CIFAR10
    generator, parts = np.random.default_rng(0), {}

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return md5((folder / name).read_bytes()).hexdigest()

    for key, count in (("train_list", 5), ("test_list", 1)):
        images = generator.integers(0, 256, (count, 20, 3072), dtype=np.uint8)
        labels = generator.integers(0, 10, (count, 20)).tolist()
        names = [name for name, _ in getattr(source, key)]
        hashes = [
            [name, write(name, {"data": some, "labels": y})]
            for name, some, y in zip(names, images, labels, strict=True)
        ]
        monkeypatch.setattr(source, key, hashes)
        parts[key] = images.reshape(-1, 3, 32, 32)
    names = {"label_names": ["airplane", *"bcdefghij"]}
    monkeypatch.setattr(source, "meta", source.meta | {"md5": write("batches.meta", names)})
    return tmp_path, parts


def test_cifar_pickles_become_planes_of_colour(cifar_folder):
    root, parts = cifar_folder
    data = dataset("cifar10", root=str(root))
    data.setup()
    assert (data.input_shape, data.num_train, data.num_val, data.num_test) == ((3, 32, 32), 90, 10, 20)
    assert data.class_names[0] == "airplane"
    assert np.array_equal(pixels(data, "test")[0], parts["test_list"])


def test_a_damaged_cifar_file_is_named(cifar_folder):
    root, _ = cifar_folder
    file = root / "cifar-10-batches-py/data_batch_3"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ConfigError, match=f"^{file} is damaged .*delete it"):
        dataset("cifar10", root=str(root)).setup()


def test_a_cifar_file_that_is_missing_is_missing_data(cifar_folder):
    root, _ = cifar_folder
    (root / "cifar-10-batches-py/data_batch_3").unlink()
    with pytest.raises(MissingDataError, match="make data"):
        dataset("cifar10", root=str(root)).setup()


def test_an_unknown_class_of_torchvision_is_refused():
    with pytest.raises(ConfigError, match=r"dataset\.source=EMNIST .*MNIST, FashionMNIST"):
        dataset("mnist", source="EMNIST")


# Hugging Face datasets


@pytest.mark.parametrize("form", ["folder", "glob", "saved", "hub"])
def test_parquet_files_and_saved_data_sets_give_the_same_images(parquet, digits, tmp_path, form):
    images, labels = digits
    path, root = str(parquet), tmp_path / "root"
    if form == "glob":
        path = f"{parquet}/*.parquet"
    elif form in ("saved", "hub"):
        folder = root / "huggingface" / "someone" / "digits"
        parts = {"train": table(images[:240], labels[:240]), "validation": table(images[240:], labels[240:])}
        datasets.DatasetDict(parts).save_to_disk(folder)
        path = str(folder) if form == "saved" else "someone/digits"
    data = local(path, tmp_path / "cache", root=str(root))
    data.setup()
    assert (data.num_train, data.num_val, data.num_test) == (216, 24, 60)
    assert data.class_names[3] == "digit 3"
    found, classes = pixels(data, "test")
    assert np.array_equal(found[:, 0], images[240:])
    assert np.array_equal(classes, labels[240:])


def test_columns_are_found_by_their_type_or_taken_as_told(parquet, tmp_path):
    found, told = local(parquet, tmp_path, label_column=None), local(parquet, tmp_path, label_column="number")
    for data in (found, told):
        data.setup()
    assert torch.equal(drain(found.test_dataloader())[1], drain(told.test_dataloader())[1])
    assert told.class_names == [str(n) for n in range(10)]


@pytest.mark.parametrize(
    ("key", "value"), [("image_column", "img"), ("image_column", "digit"), ("label_column", "text")]
)
def test_a_wrong_column_is_refused_with_the_list_of_columns(parquet, tmp_path, key, value):
    allowed = r"index \(int64\), picture \(Image\), digit \(ClassLabel\), number \(int32\), text \(string\)"
    with pytest.raises(ConfigError, match=rf"^dataset\.{key}={value} .*{allowed}\.$"):
        local(parquet, tmp_path, **{key: value}).setup()


def test_several_columns_of_one_type_need_a_choice(parquet, tmp_path):
    for name in ("train", "test"):
        some = datasets.Dataset.from_parquet(str(parquet / f"{name}-0.parquet"), cache_dir=str(tmp_path / "read"))
        some.add_column("coarse", some["digit"], feature=datasets.ClassLabel(num_classes=10)).to_parquet(
            tmp_path / f"{name}.parquet"
        )
    with pytest.raises(ConfigError, match=r"dataset\.label_column=null .*coarse \(ClassLabel\)"):
        local(tmp_path, tmp_path / "cache", label_column=None).setup()


def write_pair(folder, train, test):
    train.to_parquet(folder / "train.parquet")
    test.to_parquet(folder / "test.parquet")


def test_hidden_labels_are_refused(digits, tmp_path):
    images, labels = digits
    write_pair(tmp_path, table(images[:20], labels[:20]), table(images[:5], labels[:5], number=[-1] * 5))
    with pytest.raises(ConfigError, match=r"test split: column number .*missing or negative"):
        local(tmp_path, tmp_path / "cache", label_column="number").setup()


@pytest.mark.parametrize(("in_memory", "workers"), [(True, 0), (False, 0), (False, 2)])
def test_images_of_unlike_sizes_are_named_and_can_be_resized(digits, tmp_path, in_memory, workers):
    images, labels = [*digits[0][:20]], digits[1][:20]
    images[7] = np.zeros((10, 12), np.uint8)
    write_pair(tmp_path, table(images, labels), table(digits[0][:5], labels[:5]))
    settings = {"in_memory": in_memory, "workers": workers, "validation_fraction": 0.0}
    with pytest.raises(ConfigError, match=r"train split: image 7 has 10 x 12 .*8 x 8; .*set dataset\.image_size\.$"):
        everything(local(tmp_path, tmp_path / "cache", **settings))
    resized = local(tmp_path, tmp_path / "cache", image_size=6, **settings)
    assert everything(resized)[0].shape == (20, 1, 6, 6)


def everything(data, batch_size=10):
    data.setup()
    data.attach(batch_size=batch_size)
    return drain(data.train_dataloader())


def test_a_resize_keeps_the_centre_of_the_longer_side(tmp_path):
    wide = np.zeros((4, 8), np.uint8)
    wide[:, 2:6] = 200
    decoded = Decoder("test", 1, 4).decode(png(wide), 0)
    assert decoded.shape == (1, 4, 4)
    assert (decoded == 200).all()


@pytest.mark.parametrize(
    ("mode", "channels", "message"), [("RGB", 1, "in colour"), ("I;16", 1, "I;16"), ("F", 3, "mode F")]
)
def test_images_that_would_lose_something_are_refused(mode, channels, message):
    file = io.BytesIO()
    Image.new(mode, (4, 4)).save(file, "TIFF")
    with pytest.raises(ConfigError, match=f"^here: image 5 .*{message}"):
        Decoder("here", channels, None).decode({"bytes": file.getvalue(), "path": None}, 5)


def test_grey_images_among_coloured_ones_are_repeated():
    grey = np.arange(16, dtype=np.uint8).reshape(4, 4)
    assert np.array_equal(Decoder("here", 3, None).decode(png(grey), 0), np.stack([grey] * 3))


def test_an_image_that_cannot_be_decoded_is_named(digits, tmp_path):
    images, labels = [*digits[0][:20]], digits[1][:20]
    images[3] = {"bytes": png(images[3])["bytes"][:60], "path": None}
    write_pair(tmp_path, table(images, labels), table(digits[0][:5], labels[:5]))
    with pytest.raises(ConfigError, match=r"^dataset=mnist_hf, train split: image 3 cannot be decoded"):
        local(tmp_path, tmp_path / "cache").setup()


@pytest.mark.parametrize("damage", ["truncated", "middle"])
def test_a_damaged_parquet_file_is_named(parquet, tmp_path, damage):
    shutil.copytree(parquet, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "train-1.parquet"
    content = file.read_bytes()
    file.write_bytes(content[:-100] if damage == "truncated" else content[:50] + b"\xff" * 500 + content[550:])
    with pytest.raises(ConfigError, match=f"^{file} cannot be read .*delete it"):
        local(tmp_path, tmp_path / "cache").setup()


def test_a_damaged_arrow_file_is_named(digits, tmp_path):
    parts = {"train": table(*digits), "test": table(*digits)}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    (file,) = (tmp_path / "saved/train").glob("*.arrow")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ConfigError, match=f"^{file} cannot be read .*delete it"):
        local(tmp_path / "saved", tmp_path / "cache").setup()


@pytest.mark.parametrize(
    ("path", "message"), [("empty", "holds no split"), ("*.parquet", "holds no split"), ("a/b/c", "no split")]
)
def test_a_path_without_data_is_refused(tmp_path, path, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=rf"^dataset\.path=.*{message}.*save_to_disk"):
        local(tmp_path / path, tmp_path / "cache").setup()


def test_a_data_set_without_test_images_is_refused(parquet, tmp_path):
    shutil.copy(parquet / "train-0.parquet", tmp_path)
    with pytest.raises(ConfigError, match="holds train; allowed"):
        local(tmp_path, tmp_path / "cache").setup()


@pytest.mark.parametrize(
    ("key", "value"), [("in_memory", "maybe"), ("workers", -1), ("image_size", 0), ("mean", [0.1, 0.2])]
)
def test_a_bad_value_of_a_hugging_face_data_set_is_refused(key, value):
    values = {key: value} | ({"std": [0.1, 0.2]} if key == "mean" else {})
    with pytest.raises(ConfigError, match=rf"^dataset\.{key}="):
        dataset("mnist_hf", **values)


@pytest.mark.parametrize("workers", [0, 2])
def test_streaming_gives_the_batches_of_memory_bit_for_bit(parquet, tmp_path, workers):
    both = []
    for in_memory in (True, False):
        data = local(parquet, tmp_path, in_memory=in_memory, workers=workers, crop_padding=2, flip=True)
        data.setup()
        data.attach(batch_size=7, seed=3)
        loader = data.train_dataloader()
        state = torch.get_rng_state()
        batches = [*loader, *loader]
        assert torch.equal(torch.get_rng_state(), state)
        loader.load_state_dict({"epoch": 1, "batch": 20})
        both.append([*batches, *loader, *data.val_dataloader(), *data.test_dataloader()])
    assert len(both[0]) == len(both[1]) == 2 * 30 + 10 + 1 + 1
    for (x, y), (u, v) in zip(*both, strict=True):
        assert torch.equal(x, u)
        assert torch.equal(y, v)


def test_what_does_not_fit_in_memory_streams(parquet, tmp_path, monkeypatch):
    monkeypatch.setattr(encoded, "MEMORY_LIMIT", 300 * 64 - 1)
    streamed = local(parquet, tmp_path)
    assert isinstance(streamed.read_source().train, StreamedImages)
    monkeypatch.setattr(encoded, "MEMORY_LIMIT", 300 * 64)
    assert not isinstance(local(parquet, tmp_path).read_source().train, StreamedImages)


@needs("cifar10")
def test_cifar10_parquet_files_are_decoded_as_pillow_decodes_them(cifar10_part):
    data = dataset("cifar10_hf", **cifar10_part)
    data.setup()
    assert (data.input_shape, data.num_train, data.num_val, data.num_test) == ((3, 32, 32), 4_500, 500, 1_000)
    assert data.class_names[9] == "truck"
    images, labels = pixels(data, "test")
    rows = pyarrow.parquet.read_table(DATA / "cifar10/test-00000-of-00001.parquet").slice(0, 200).to_pylist()
    expected = np.stack([np.asarray(Image.open(io.BytesIO(row["img"]["bytes"]))) for row in rows])
    assert np.array_equal(images[:200].permute(0, 2, 3, 1), expected)
    assert labels[:200].tolist() == [row["label"] for row in rows]


# the cache of decoded images


@pytest.fixture
def counted(monkeypatch):
    """How often images were decoded."""
    calls, decode_all = [], StreamedImages.decode_all
    monkeypatch.setattr(StreamedImages, "decode_all", lambda self: calls.append(len(self)) or decode_all(self))
    return calls


def test_images_are_decoded_once_for_the_same_files_and_options(parquet, tmp_path, counted):
    first, second = local(parquet, tmp_path), local(parquet, tmp_path, split_seed=3)
    first.setup()
    second.setup()
    assert counted == [240, 60]
    assert torch.equal(drain(first.test_dataloader())[0], drain(second.test_dataloader())[0])
    local(parquet, tmp_path, image_size=5).setup()
    assert counted == [240, 60] * 2


def test_changed_files_are_decoded_again(parquet, digits, tmp_path, counted):
    shutil.copytree(parquet, tmp_path / "data")
    local(tmp_path / "data", tmp_path / "cache").setup()
    table(255 - digits[0][240:], digits[1][240:]).to_parquet(tmp_path / "data/test-0.parquet")
    data = local(tmp_path / "data", tmp_path / "cache")
    data.setup()
    assert counted == [240, 60] * 2
    assert np.array_equal(pixels(data, "test")[0][:, 0], 255 - digits[0][240:])


@pytest.mark.parametrize("damage", ["torn", "empty", "text", "flipped", "foreign", "list"])
def test_a_torn_or_foreign_cache_file_is_ignored_and_written_again(parquet, tmp_path, counted, damage):
    local(parquet, tmp_path).setup()
    (file,) = (tmp_path / "images").iterdir()
    content = file.read_bytes()
    if damage == "torn":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif damage in ("foreign", "list"):
        torch.save({"key": "another", "train_images": torch.zeros(3)} if damage == "foreign" else [1], file)
    else:
        file.write_bytes(b"" if damage == "empty" else b"hello")
    local(parquet, tmp_path).setup()
    assert counted == [240, 60] * 2
    local(parquet, tmp_path).setup()
    assert counted == [240, 60] * 2


def test_a_pickle_that_would_run_code_is_not_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    source = tmp_path / "source"
    source.write_bytes(b"x")
    entry = DecodedCache(tmp_path, "trap", [source], [])
    torch.save({"key": entry.key, "content": Trap()}, entry.path)
    assert entry.load() is None
    assert not (tmp_path / "sprung").exists()


def test_a_cache_that_cannot_be_written_costs_only_a_warning(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"x")
    entry = DecodedCache(source / "below a file", "name", [source], [])
    with pytest.warns(UserWarning, match="not kept"):
        entry.save({"values": torch.arange(3)})
    assert entry.load() is None


def test_a_failed_write_leaves_neither_the_entry_nor_a_part_of_it(tmp_path, monkeypatch):
    def full(content, path):
        Path(path).write_bytes(b"part")
        raise RuntimeError("no space left")

    source = tmp_path / "source"
    source.write_bytes(b"x")
    monkeypatch.setattr(torch, "save", full)
    with pytest.warns(UserWarning, match="no space left"):
        DecodedCache(tmp_path / "cache", "name", [source], []).save({})
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_copy_as_arrow_that_cannot_be_written_names_the_cache_folder(parquet, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ConfigError, match=rf"^paths\.cache_dir={tmp_path}/file cannot take a copy"):
        local(parquet, tmp_path / "file").setup()
