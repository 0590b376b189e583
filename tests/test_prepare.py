import hashlib
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.error import URLError

import datasets
import pytest
import torchvision.datasets
from PIL import Image

from steepest.cli import main

DATA = Path(os.environ.get("STEEPEST_DATA_DIR", "no data"))
SCRIPT = Path(__file__).parents[1] / "scripts" / "prepare.py"
needs_fashion_mnist = pytest.mark.skipif(
    not (DATA / "FashionMNIST").exists(), reason="no FashionMNIST under STEEPEST_DATA_DIR"
)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Whatever opens an address is refused, as without a network."""

    def refuse(*_, **__):
        raise URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(datasets, "load_dataset", lambda path: (_ for _ in ()).throw(ConnectionError(f"no {path}")))


@pytest.fixture
def run(capsys, tmp_path):
    """Runs the command with data and caches below tmp_path; gives exit code, output and errors."""

    def command(*arguments):
        code = main(["prepare", *arguments, f"paths.data_dir={tmp_path}/data", f"paths.cache_dir={tmp_path}/cache"])
        return code, *capsys.readouterr()

    return command


def test_digits_need_nothing(run):
    code, output, errors = run("digits")
    assert (code, errors) == (0, "")
    assert "digits: nothing to prepare" in output
    assert "1294 training, 144 validation and 359 test examples" in output


@needs_fashion_mnist
@pytest.mark.parametrize("kept", [4, 3])
def test_fashion_mnist_needs_no_network_where_the_files_are(run, tmp_path, kept):
    raw = tmp_path / "data/FashionMNIST/raw"
    raw.mkdir(parents=True)
    for file in sorted((DATA / "FashionMNIST/raw").glob("*.gz"))[-kept:]:
        shutil.copy(file, raw)
    before = sorted(raw.iterdir())
    code, output, errors = run("fashion_mnist")
    if kept == 4:
        assert (code, errors) == (0, "")
        assert f"fashion_mnist: already there, {raw}" in output
        assert "54000 training, 6000 validation and 10000 test examples" in output
        assert "sha256" not in output
        assert sorted(raw.iterdir()) == before
    else:
        assert code == 2
        assert re.fullmatch(rf"steepest: dataset=fashion_mnist could not be downloaded .*no route.*{raw}.*\n", errors)


@needs_fashion_mnist
def test_what_is_downloaded_is_listed_with_its_sha256(run, tmp_path, monkeypatch):
    raw = tmp_path / "data/FashionMNIST/raw"

    def fetch(url, filename):
        shutil.copy(DATA / "FashionMNIST/raw" / Path(url).name, filename)

    monkeypatch.setattr(torchvision.datasets.utils, "_get_redirect_url", lambda url, max_hops: url)
    monkeypatch.setattr(torchvision.datasets.utils, "_urlretrieve", fetch)
    code, output, errors = run("fashion_mnist", "digits")
    assert (code, errors) == (0, "")
    assert f"fashion_mnist: downloaded, {raw}" in output
    listed = dict(reversed(line.split()) for line in re.findall(r"sha256 (.*)", output))
    files = sorted(raw.iterdir())
    assert len(files) == 8  # torchvision unpacks beside the archives
    assert listed == {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    code, output, _ = run("fashion_mnist")
    assert code == 0
    assert "already there" in output


@needs_fashion_mnist
def test_a_download_with_the_wrong_checksum_is_an_error(run, tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.utils, "_get_redirect_url", lambda url, max_hops: url)
    monkeypatch.setattr(torchvision.datasets.utils, "_urlretrieve", lambda url, to: Path(to).write_bytes(b"<html>"))
    code, _, errors = run("fashion_mnist")
    assert code == 2
    assert "corrupted" in errors


def saved_digits(path):
    """What the hub would answer."""
    assert path == "ylecun/mnist"
    images = [Image.new("L", (4, 4), level) for level in range(40)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)})
    rows = datasets.Dataset.from_dict({"image": images, "label": [n % 10 for n in range(40)]}, features=features)
    return datasets.DatasetDict(train=rows, test=rows.select(range(8)))


def test_a_data_set_of_the_hub_is_saved_where_jobs_find_it(run, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", saved_digits)
    code, output, _ = run("mnist_hf")
    folder = tmp_path / "data/huggingface/ylecun/mnist"
    assert code == 0
    assert f"mnist_hf: downloaded, {folder}" in output
    assert "36 training, 4 validation and 8 test examples, 10 classes, images of shape (1, 4, 4)" in output
    assert f"{folder}/train/data-00000-of-00001.arrow" in output
    assert [path.name for path in folder.parent.iterdir()] == ["mnist"]
    monkeypatch.setattr(datasets, "load_dataset", lambda path: pytest.fail("downloaded again"))
    code, output, _ = run("mnist_hf")
    assert (code, "already there" in output) == (0, True)


def test_an_interrupted_download_leaves_nothing_that_looks_whole(run, tmp_path, monkeypatch):
    def torn(self, path):
        (Path(path) / "train").mkdir(parents=True)
        raise OSError("No space left on device")

    monkeypatch.setattr(datasets, "load_dataset", saved_digits)
    with monkeypatch.context() as context:
        context.setattr(datasets.DatasetDict, "save_to_disk", torn)
        code, _, errors = run("mnist_hf")
    assert code == 2
    assert "No space left on device" in errors
    assert not (tmp_path / "data/huggingface/ylecun/mnist").exists()
    assert run("mnist_hf")[0] == 0


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100_hf"])
def test_without_a_network_one_sentence_says_where_files_can_be_put(run, tmp_path, name):
    code, _, errors = run(name)
    assert code == 2
    assert errors.count("\n") == 1
    assert re.match(
        rf"steepest: dataset={name} could not be downloaded .*check the network, or put .*{tmp_path}/data", errors
    )


def test_an_unknown_name_is_answered_with_the_nearest_ones_before_anything_is_done(run):
    code, output, errors = run("digits", "fashionmnist")
    assert (code, output) == (2, "")
    assert re.fullmatch(r"steepest: dataset=fashionmnist is unknown; .* fashion_mnist, .*\n", errors)


def test_a_name_like_no_other_is_answered_with_all(run):
    assert re.search(r"are ackley, .*cifar100_hf, cifar10_hf, .*worst_case\.", run("qqqq")[2])


@pytest.mark.parametrize("override", ["dataset.pth=x", "dataset.flip=[", "path.data_dir=x"])
def test_a_wrong_override_is_an_error_without_a_traceback(run, override):
    code, _, errors = run("digits", override)
    assert code == 2
    assert errors.startswith("steepest: ")
    assert errors.count("\n") == 1


def test_without_a_name_the_usage_is_shown(capsys):
    assert main(["prepare"]) == 2
    assert main(["prepare", "--help"]) == 0
    assert "fashion_mnist" in capsys.readouterr().out


def test_a_damaged_file_is_named(run, tmp_path):
    raw = tmp_path / "data/MNIST/raw"
    raw.mkdir(parents=True)
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{part}-ubyte.gz").write_bytes(b"<html>")
    code, _, errors = run("mnist")
    assert code == 2
    assert f"{raw}/train-images-idx3-ubyte.gz cannot be read" in errors


def test_the_script_gives_the_exit_code():
    done = subprocess.run([sys.executable, SCRIPT, "cifar1O"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "cifar10" in done.stderr
