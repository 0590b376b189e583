"""Texts for classification: files, labels, batches, word dropout."""

import collections
import csv
from itertools import pairwise

import datasets
import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from hydra.utils import get_class
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from steepest.build import build
from steepest.config import compose, conf_dir
from steepest.datasets import text_tokenizers
from steepest.datasets.data import MissingDataError
from steepest.datasets.text_batches import LabelledTexts
from steepest.datasets.text_dropout import WordDropout, mix
from steepest.datasets.text_labelled_files import LabelledFiles
from steepest.datasets.text_labels import numbered
from steepest.errors import ConfigError

quick = settings(max_examples=60, deadline=None)
TRAIN = {
    "text": ["Good film!", "bad film", "so so good", "", "a bad day"] * 8,
    "label": ["yes", "no", "yes", "no", "no"] * 8,
}
TEST = {"text": ["good day", "unheard of"], "label": ["yes", "no"]}


def labelled(tmp_path, train=TRAIN, test=TEST, kind="csv", **values):
    """Files of one's own as a data set."""
    folder = tmp_path / "files"
    folder.mkdir(exist_ok=True)
    for part, columns in (("train", train), ("test", test)):
        if columns is not None:
            write(pyarrow.table(columns), folder / f"{part}.{kind}")
    node = OmegaConf.to_container(OmegaConf.load(conf_dir() / "dataset" / "text_classification.yaml"))
    node |= {"path": str(folder), "hub_dir": str(tmp_path / "hub"), "cache_dir": str(tmp_path / "cache")}
    return get_class(node.pop("_target_"))(**node | {"vocab_size": None, "min_count": 1} | values)


def write(table, file):
    if file.suffix == ".parquet":
        pyarrow.parquet.write_table(table, file)
    elif file.suffix == ".tsv":
        rows = zip(*table.to_pydict().values(), strict=True)
        file.write_text("\n".join("\t".join(map(str, row)) for row in [table.column_names, *rows]) + "\n")
    else:
        pyarrow.csv.write_csv(table, file)


def ready(data):
    data.setup()
    return data


def real(name, data_dir, *more):
    return ready(build(compose([f"dataset={name}", f"paths.data_dir={data_dir}", *more]).dataset))


def rows(data, part):
    """The tokens of each text, and the labels."""
    found = data._parts[part]
    starts = found.starts.tolist()
    return [found.tokens[a:b].tolist() for a, b in pairwise(starts)], found.labels.tolist()


def words(data, part):
    return [" ".join(data.tokenizer.words[token] for token in text) for text in rows(data, part)[0]]


# ------------------------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_every_kind_of_table_gives_the_same_examples(tmp_path, kind):
    data = ready(labelled(tmp_path, kind=kind))
    assert (data.num_train, data.num_val, data.num_test) == (36, 4, 2)
    assert (data.num_classes, data.class_names) == (2, ["no", "yes"])
    assert data.tokenizer.words[:2] == ["<pad>", "<unk>"]
    assert set(data.tokenizer.words[2:]) == {"good", "film", "!", "bad", "so", "a", "day"}
    assert words(data, "test") == ["good day", "<unk> <unk>"]
    assert rows(data, "test")[1] == [1, 0]
    every = collections.Counter(zip(words(data, "train"), rows(data, "train")[1], strict=True))
    every += collections.Counter(zip(words(data, "val"), rows(data, "val")[1], strict=True))
    assert every == dict.fromkeys(
        [("good film !", 1), ("bad film", 0), ("so so good", 1), ("<unk>", 0), ("a bad day", 0)], 8
    )


def test_quotes_in_tabbed_tables_are_text(tmp_path):
    train = {"text": ['"an open quote', 'and "another" , 5'] * 3, "label": [0, 1] * 3}
    data = ready(labelled(tmp_path, train, train, "tsv", validation_fraction=0.5))
    assert words(data, "test") == ['" an open quote', 'and " another " , 5'] * 3


def test_a_quoted_text_may_have_lines(tmp_path):
    train = {"text": ['two\nlines, "quoted"', "one"] * 3, "label": [0, 1] * 3}
    data = ready(labelled(tmp_path, train, train, lowercase=False, tokenizer="word"))
    assert words(data, "test")[0] == 'two lines, "quoted"'


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_the_names_that_datasets_keeps_are_the_classes(tmp_path, kind):
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["z", "a", "m"])}
    )
    made = datasets.Dataset.from_dict({"text": ["b c", "d"] * 10, "label": [0, 1] * 10}, features)
    folder = tmp_path / "hub" / "owner" / "name"
    if kind == "arrow":
        datasets.DatasetDict({"train": made, "validation": made}).save_to_disk(str(folder))
    else:
        folder.mkdir(parents=True)
        for part in ("train", "validation"):
            made.to_parquet(str(folder / f"{part}-00000-of-00001.parquet"))
    values = {"path": None, "origin": "owner/name", "test_part": "validation"}
    data = ready(labelled(tmp_path, None, None, **values))
    assert data.location == folder
    assert data.class_names == ["z", "a", "m"]
    assert rows(data, "test")[1] == [0, 1] * 10


def test_the_validation_part_may_be_one_of_the_files(tmp_path):
    labelled(tmp_path)
    write(pyarrow.table({"text": ["dev"], "label": ["no"]}), tmp_path / "files" / "dev.csv")
    data = ready(labelled(tmp_path, validation_part="validation"))
    assert (data.num_train, data.num_val, data.num_test) == (40, 1, 2)
    other = ready(labelled(tmp_path, test_part="validation"))
    assert (other.num_train, other.num_val, other.num_test) == (36, 4, 1)


def test_the_vocabulary_is_of_what_is_trained_on(tmp_path):
    train = {"text": [f"word{number}" for number in range(40)], "label": [0, 1] * 20}
    data = ready(labelled(tmp_path, train, train, validation_fraction=0.25))
    assert data.vocab_size == 2 + 30
    assert set(words(data, "val")) == {"<unk>"}
    assert words(data, "test").count("<unk>") == 10
    other = ready(labelled(tmp_path, train, train, validation_fraction=0.25, split_seed=1))
    assert words(other, "train") != words(data, "train")


def test_byte_pairs_of_a_classifier(tmp_path):
    data = ready(labelled(tmp_path, tokenizer="bpe", vocab_size=265))
    texts, _ = rows(data, "test")
    assert [data.tokenizer.decode(text) for text in texts] == ["good day", "unheard of"]
    assert min(min(text) for text in texts) > 1
    assert [1] in rows(data, "train")[0]  # the empty text


def test_a_second_run_reads_no_text(tmp_path, monkeypatch):
    first = rows(ready(labelled(tmp_path)), "train")
    monkeypatch.setattr(text_tokenizers, "train_labelled", None)
    monkeypatch.setattr(LabelledFiles, "rows", None)
    data = labelled(tmp_path, None, None, word_dropout=0.5, context_length=16)
    assert rows(ready(data), "train") == first
    (entry,) = (tmp_path / "cache" / "tokens").iterdir()
    (entry / "train_labels.bin").write_bytes(b"\0" * (entry / "train_labels.bin").stat().st_size)
    monkeypatch.undo()
    assert rows(ready(labelled(tmp_path, None, None)), "train") == first


# ---------------------------------------------------------------------------------------------------------- batches


@quick
@given(
    st.lists(st.lists(st.integers(1, 300), min_size=1, max_size=30), min_size=1, max_size=12),
    st.integers(1, 40),
    st.data(),
)
def test_batches_are_as_wide_as_their_longest_text(texts, context_length, data):
    starts = np.cumsum([0, *map(len, texts)])
    flat = np.array([token for text in texts for token in text], np.uint16)
    labels = np.arange(len(texts))
    made = LabelledTexts(*map(torch.from_numpy, (flat, starts, labels)), context_length)
    order = torch.tensor(data.draw(st.permutations(range(len(texts)))))
    cut = data.draw(st.integers(0, len(texts)))
    bounds = [(0, cut), (cut, len(texts))]
    for (start, stop), (tokens, targets) in zip(bounds, made.batches(order, bounds), strict=True):
        chosen = order[start:stop].tolist()
        assert targets.tolist() == chosen
        longest = max([min(len(texts[row]), context_length) for row in chosen], default=1)
        width = min(-(-longest // 8) * 8, context_length)
        assert tokens.dtype == torch.int64
        assert tokens.shape == (len(chosen), width)
        assert tokens.tolist() == [(texts[row] + [0] * 40)[: min(width, max(len(texts[row]), width))] for row in chosen]


def test_a_resumed_loader_goes_on_with_the_next_texts(tmp_path):
    data = ready(labelled(tmp_path, word_dropout=0.3))
    data.attach(batch_size=4, seed=3)
    whole, other = data.train_dataloader(), data.train_dataloader()
    batches = [batch for _ in range(2) for batch in whole]
    iterator = iter(other)
    next(iterator)
    resumed = data.train_dataloader()
    resumed.load_state_dict(other.state_dict())
    found = [batch for _ in range(2) for batch in resumed]
    for ours, theirs in zip(batches[1:], found, strict=True):
        assert all(map(torch.equal, ours, theirs))
    assert any((tokens == 1).any() for tokens, _ in found)
    assert not torch.equal(batches[0][0], batches[len(whole)][0])
    tokens, labels = data.blank_batch(5)
    assert (tokens.shape, labels.shape) == ((5, data.context_length), (5,))
    assert tokens.is_meta


def test_evaluation_drops_no_word(tmp_path):
    data = ready(labelled(tmp_path, word_dropout=0.9))
    ((tokens, labels),) = data.test_dataloader()
    assert [text[text > 0].tolist() for text in tokens] == rows(data, "test")[0]
    assert labels.tolist() == [1, 0]


# ----------------------------------------------------------------------------------------------------- word dropout


def split_mix(number):
    """SplitMix64's mixing, with Python's whole numbers."""
    mask = 2**64 - 1
    number &= mask
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & mask
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & mask
    return number ^ (number >> 31)


@quick
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20))
def test_mixing_is_split_mix(numbers):
    assert mix(torch.tensor(numbers)).tolist() == [split_mix(number) >> 32 for number in numbers]


def test_split_mix_gives_its_known_numbers():
    """The first outputs of Java's SplittableRandom's generator with the seed 1234567, from Vigna's splitmix64.c."""
    found = [split_mix(1234567 + turn * 0x9E3779B97F4A7C15) for turn in (1, 2, 3)]
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_words_drop_with_their_probability_and_by_themselves(probability):
    dropout = WordDropout(probability)
    tokens = torch.full((2000, 40), 7)
    tokens[:, 30:] = 0
    draws = dropout.draw(np.random.default_rng(0), 2000)
    dropped = dropout(tokens, draws)
    gone = (dropped == 1)[:, :30].double()
    assert (dropped[:, 30:] == 0).all()
    assert set(dropped.unique().tolist()) == {0, 1, 7}
    sigma = (probability * (1 - probability)) ** 0.5
    assert abs(gone.mean() - probability) < 4 * sigma / 60_000**0.5
    assert (gone.mean(0) - probability).abs().max() < 4.5 * sigma / 2000**0.5
    assert (gone[:, 1:] * gone[:, :-1]).mean() == pytest.approx(probability**2, abs=4 * sigma / 58_000**0.5)
    parts = [dropout(tokens[a : a + 500, :33], draws[:, a : a + 500]) for a in range(0, 2000, 500)]
    assert torch.equal(torch.cat(parts), dropped[:, :33])
    assert torch.equal(tokens[:, :30], torch.full((2000, 30), 7))


def test_no_dropout_draws_nothing():
    assert WordDropout(0.0).draw(np.random.default_rng(0), 5) is None
    tokens = torch.ones(2, 3)
    assert WordDropout(0.5)(tokens) is tokens


# -------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tokenizer": "byte"}, "dataset.tokenizer=byte is unknown; allowed are word, wordpunct and bpe"),
        ({"lowercase": "yes"}, "dataset.lowercase=yes"),
        ({"vocab_size": 0}, "dataset.vocab_size=0"),
        ({"vocab_size": 2}, "dataset.vocab_size=2 .*allowed are null and whole numbers from 3"),
        (
            {"tokenizer": "bpe", "vocab_size": 257},
            "dataset.vocab_size=257 .*whole numbers from 258 with dataset.tokeniz",
        ),
        ({"min_count": 0}, "dataset.min_count=0"),
        ({"context_length": 0}, "dataset.context_length=0"),
        ({"word_dropout": 1.0}, "dataset.word_dropout=1.0 .*from 0 to below 1"),
        ({"validation_fraction": 1}, "dataset.validation_fraction=1"),
        ({"split_seed": -1}, "dataset.split_seed=-1"),
        ({"validation_part": "train"}, "dataset.validation_part=train .*allowed are null, validation and test"),
        ({"test_part": None}, "dataset.test_part=null .*allowed are validation and test"),
        (
            {"test_part": "validation"},
            "dataset.test_part=validation is not among the files .*which hold test and train",
        ),
        ({"class_names": ["yes", "yes"]}, "dataset.class_names="),
        (
            {"class_names": ["yes", "perhaps"]},
            "text_classification has the label no in row 1 of its train part; allowed",
        ),
        (
            {"text_column": "sentence"},
            "dataset.text_column=sentence is no column of .*csv; its columns are text, label",
        ),
        ({"label_column": "class"}, "dataset.label_column=class is no column of .*csv; its columns are text, label"),
    ],
)
def test_bad_values_are_told(tmp_path, values, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        ready(labelled(tmp_path, **values))


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (
            {"label": [0, -1]},
            {"label": [0]},
            "text_classification has the label -1 in row 1 of its train part; allowed are",
        ),
        (
            {"label": [0, 1]},
            {"label": [2]},
            "text_classification has the label 2 in row 0 of its test part; .*from 0 to 1",
        ),
        (
            {"label": ["a", "b"]},
            {"label": ["c"]},
            "text_classification has the label c in row 0 .*the 2 classes from a to b",
        ),
        ({"label": [0, 1000]}, {"label": [0]}, "text_classification has the class number 1000 for 2 texts"),
        ({"label": [0.5, 1.0]}, {"label": [0.5]}, "text_classification has the label 0.5 in row 0 of its train part"),
        ({"label": ["a", None]}, {"label": ["a"]}, "text_classification has the label null in row 1 of its train part"),
        ({"text": ["a", None]}, {}, "dataset.text_column=text of .*parquet holds something else than texts in row 1"),
        ({"text": [1, 2]}, {}, "dataset.text_column=text of .*parquet holds something else than texts in row 0"),
        ({"text": ["", " "]}, {}, "dataset=text_classification has only empty texts in its training part"),
        ({"text": [], "label": []}, {}, "dataset=text_classification has no text in its train part"),
    ],
)
def test_tables_that_do_not_fit_are_told(tmp_path, train, test, message):
    whole = {"text": ["a b", "c"], "label": [0, 1]}
    test = {"text": ["a"], "label": [0]} | test
    empty = pyarrow.table({"text": pyarrow.array([], "string"), "label": pyarrow.array([], "int64")})
    train = empty if train.get("label") == [] else whole | train
    with pytest.raises(ConfigError, match=f"^{message}"):
        ready(labelled(tmp_path, train, test, "parquet"))


def test_labels_are_numbers_or_names():
    numbers, names = numbered({"train": ["1", "0", "1"], "test": [0]}, None, "x")
    assert (numbers["train"].tolist(), names) == ([1, 0, 1], ["0", "1"])
    numbers, names = numbered({"train": ["b", "a", "10"], "test": ["10"]}, None, "x")
    assert (numbers["test"].tolist(), names) == ([0], ["10", "a", "b"])
    numbers, names = numbered({"train": [True, False], "test": [1]}, ["no", "yes"], "x")
    assert (numbers["train"].tolist(), names) == ([1, 0], ["no", "yes"])
    numbers, names = numbered({"train": ["yes", "no"], "test": ["no"]}, ["no", "yes", "other"], "x")
    assert (numbers["train"].tolist(), names) == ([1, 0], ["no", "yes", "other"])


def test_files_that_cannot_be_read_are_named(tmp_path):
    data = labelled(tmp_path)
    (tmp_path / "files" / "train.csv").write_bytes(b"text,label\nab\xff\xfec,yes\n")
    with pytest.raises(ConfigError, match=r"train.csv cannot be read .*; allowed are whole files in UTF-8"):
        data.setup()
    (tmp_path / "files" / "train.csv").unlink()
    (tmp_path / "files" / "train.txt").write_text("text")
    (tmp_path / "files" / "test.csv").rename(tmp_path / "files" / "test.txt")
    with pytest.raises(
        ConfigError, match=r"train.txt is no table that can be read; allowed are files that end in .arrow"
    ):
        data.setup()
    with pytest.raises(MissingDataError, match=r"^dataset=sst2: .*SST-2 or .*; run: make data DATASETS=sst2"):
        real("sst2", tmp_path)


# ------------------------------------------------------------------------------------------------------- known texts


def test_python_topics_hold_no_headings():
    data = ready(build(compose(["dataset=python_topics"]).dataset))
    parts, _ = data.rows()
    assert data.num_classes == len(data.class_names) == 10
    assert data.location is None
    texts = [*parts["train"].texts, *parts["test"].texts]
    assert len({" ".join(text.split()) for text in texts}) == len(texts) > 500
    lines = [line.strip() for text in texts for line in text.splitlines()]
    assert not [
        line
        for line in lines
        if len(line) > 2 and len(set(line)) == 1 and not line[0].isalnum() and line not in ("...", ">>>")
    ]
    assert set(rows(data, "train")[1]) == set(range(10))
    assert len(data._parts["val"]) == round(0.1 * len(parts["train"].texts))
    again = ready(build(compose(["dataset=python_topics", "dataset.split_seed=1"]).dataset))
    assert again.rows()[0]["test"].texts == parts["test"].texts  # the same whatever the split
    for topics in (1, 1000):
        with pytest.raises(
            ConfigError, match=rf"^dataset.topics={topics} is not possible; allowed are whole numbers from"
        ):
            build(compose(["dataset=python_topics", f"dataset.topics={topics}"]).dataset)


def test_sst2_is_glues(data_dir):
    data = real("sst2", data_dir)
    assert (data.num_train + data.num_val, data.num_test) == (67_349, 872)
    counts = np.bincount([*rows(data, "train")[1], *rows(data, "val")[1]])
    assert counts.tolist() == [29_780, 37_569]
    assert np.bincount(rows(data, "test")[1]).tolist() == [428, 444]
    assert data.class_names == ["negative", "positive"]
    with (data_dir / "SST-2" / "dev.tsv").open(encoding="utf-8") as file:
        lines = [line.rstrip("\n").split("\t") for line in file][1:]
    known = set(data.tokenizer.words)
    plain = [" ".join(word if word in known else "<unk>" for word in text.split()) for text, _ in lines]
    assert words(data, "test") == plain
    assert rows(data, "test")[1] == [int(label) for _, label in lines]


def test_banking77_has_its_classes(data_dir):
    data = real("banking77", data_dir)
    assert (data.num_train + data.num_val, data.num_test, data.num_classes) == (10_003, 3_080, 77)
    with (data_dir / "banking77" / "test.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [data.class_names[label] for label in rows(data, "test")[1]] == [line["category"] for line in lines]
    assert set(np.bincount(rows(data, "test")[1])) == {40}
