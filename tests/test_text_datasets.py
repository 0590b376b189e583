"""Texts for language modelling: tokenizers, windows, files, the cache."""

import collections
import io
import json
import shutil
import threading
from pathlib import Path

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from hydra.utils import get_class
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from steepest.build import build
from steepest.config import compose, conf_dir
from steepest.datasets import language_data, text_files, text_store, text_tokenizers
from steepest.datasets.data import MissingDataError
from steepest.datasets.language_files import LanguageFiles
from steepest.datasets.loader import Loader
from steepest.datasets.text_bpe import BpeTokenizer
from steepest.datasets.text_python_docs import digest, paragraphs
from steepest.datasets.text_store import Store
from steepest.datasets.text_streams import between, pieces, split
from steepest.datasets.text_tokenizers import restore
from steepest.datasets.text_vocabulary import ByteTokenizer, CharTokenizer, WordTokenizer
from steepest.datasets.text_windows import IGNORED, Windows
from steepest.errors import ConfigError

quick = settings(max_examples=60, deadline=None)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
proses = st.text(" \nab.'\té", max_size=120)
POEM = "the cat sat\non the mat\n\nthe dog sat  on <unk> it\n" * 20


def text(tmp_path, content=POEM, name="poem.txt", **values):
    """Files of one's own as a data set."""
    path = tmp_path / "files"
    path.mkdir(exist_ok=True)
    if content is not None:
        (path / name).write_text(content, encoding="utf-8", newline="")
    node = OmegaConf.to_container(OmegaConf.load(conf_dir() / "dataset" / "text.yaml"))
    node |= {"path": str(path), "hub_dir": str(tmp_path / "hub"), "cache_dir": str(tmp_path / "cache")}
    small = {"tokenizer": "byte", "vocab_size": None, "context_length": 8}
    return get_class(node.pop("_target_"))(**node | small | values)


def ready(data):
    data.setup()
    return data


def tokens(data, part):
    return np.asarray(data._parts[part].tokens)


def real(name, data_dir, *more):
    overrides = [f"dataset={name}", f"paths.data_dir={data_dir}", *more]
    return ready(build(compose(overrides).dataset))


# ------------------------------------------------------------------------------------------------------- tokenizers


@quick
@given(texts)
def test_bytes_and_characters_give_the_text_back(text):
    assert ByteTokenizer().decode(ByteTokenizer().encode(text)) == text
    made = CharTokenizer.train([text])
    assert made.decode(made.encode(text)) == text
    assert made.characters == "".join(sorted(set(text)))


@pytest.fixture(scope="module")
def bpe():
    return BpeTokenizer.train([POEM], ("<|endoftext|>",), 270)


@quick
@given(texts)
def test_byte_pairs_give_the_text_back(bpe, text):
    assert bpe.decode(bpe.encode(text)) == text
    assert (
        BpeTokenizer.restore(**{k: v for k, v in bpe.state().items() if k != "kind"}).decode(bpe.encode(text)) == text
    )


def test_byte_pairs_are_learned_always_alike(bpe):
    assert BpeTokenizer.train([POEM], ("<|endoftext|>",), 270).state() == bpe.state()
    assert bpe.vocab_size == 270
    assert len(bpe.encode(POEM)) < 0.6 * len(POEM)


def test_the_end_of_a_text_is_one_token_unless_it_is_text(bpe):
    assert bpe.encode("<|endoftext|>").tolist() == [0]
    apart = BpeTokenizer.train([POEM], ("<pad>", "<unk>"), 270, apart=True)
    again = restore(json.loads(json.dumps(apart.state())))
    for made in (apart, again):
        assert not set(made.encode("<pad> <unk>").tolist()) & {0, 1}
        assert made.decode(made.encode("<pad> <unk>")) == "<pad> <unk>"


def test_words_are_ranked_by_how_often_they_occur():
    made = WordTokenizer.train(["b a b\n", "c b a <unk>"], ("<unk>", "<eos>"), None, 1)
    assert made.words == ["<unk>", "<eos>", "b", "a", "c"]
    assert made.encode("a d b\n\nc").tolist() == [3, 0, 2, 1, 1, 4]
    assert made.decode(made.encode("a d b\n\nc")) == "a <unk> b\n\nc"
    assert WordTokenizer.train(["b a b\n"], ("<unk>", "<eos>"), 3, 1).words == ["<unk>", "<eos>", "b"]
    assert WordTokenizer.train(["b a b\n"], ("<unk>", "<eos>"), None, 2).words == ["<unk>", "<eos>", "b"]


def test_marks_are_words_of_their_own():
    made = WordTokenizer.train(["Don't, stop!?"], ("<pad>", "<unk>"), None, 1, marks=True, lowercase=True)
    assert made.words[2:] == sorted(["don", "'", "t", ",", "stop", "!?"])
    assert made.encode("STOP <pad>").tolist() == [made.words.index("stop"), 1, 1, 1]  # never the padding
    assert WordTokenizer(["<pad>", "<unk>"]).encode("<pad>").tolist() == [1]


def test_a_stranger_among_the_characters_is_named():
    with pytest.raises(ConfigError, match=r"^The character 'é' is not one of the 2 of dataset.tokenizer=char; allowed"):
        CharTokenizer("ab").encode("abéa")


@pytest.mark.parametrize("size", [256, 257, 65536, 65537])
def test_tokens_are_kept_as_small_as_they_fit(size):
    words = [f"w{number}" for number in range(size - 1)]
    made = WordTokenizer(["<unk>", *words])
    found = made.encode(f"w{size - 2} w0")
    assert found.tolist() == [size - 1, 1]
    assert found.dtype == {256: np.uint8, 257: np.uint16, 65536: np.uint16, 65537: np.int32}[size]


# ---------------------------------------------------------------------------------------------------------- streams


@quick
@given(st.lists(proses, max_size=8), st.integers(1, 30))
def test_pieces_have_the_tokens_of_the_whole(bpe, chunks, size):
    whole = "".join(chunks)
    found = list(pieces(lambda: iter(chunks), size))
    assert "".join(found) == whole
    for made in (bpe, ByteTokenizer(), WordTokenizer(["<unk>", "<eos>", "a", "b", "ab"])):
        alone = [made.encode(piece) for piece in found]
        assert [token for part in alone for token in part] == made.encode(whole).tolist()


@quick
@given(st.lists(st.text("abc", max_size=5), max_size=8), st.integers(0, 30), st.integers(0, 30))
def test_a_part_of_a_stream(chunks, start, stop):
    assert "".join(between(lambda: iter(chunks), start, stop)()) == "".join(chunks)[start:stop]


def test_parts_are_cut_from_the_end():
    whole = "0123456789" * 10

    def parts(given, *fractions):
        return {name: "".join(stream()) for name, stream in split(given, *fractions).items()}

    train = {"train": lambda: iter((whole[:37], whole[37:]))}
    assert parts(train, 0.1, 0.2) == {"train": whole[:70], "test": whole[70:90], "val": whole[90:]}
    assert parts(train, 0.1, 0.0) == {"train": whole[:90], "test": whole[90:], "val": whole[90:]}
    val, test = {"validation": lambda: iter("v")}, {"test": lambda: iter("t")}
    assert parts(train | val | test, 0.1, 0.2) == {"train": whole, "test": "t", "val": "v"}
    assert parts(train | test, 0.1, 0.2) == {"train": whole[:90], "test": "t", "val": whole[90:]}
    assert parts(train | val, 0.1, 0.2) == {"train": whole[:80], "test": whole[80:], "val": "v"}
    assert parts(train | val, 0.1, 0.0) == {"train": whole, "test": "v", "val": "v"}


# ---------------------------------------------------------------------------------------------------------- windows


@quick
@given(st.integers(2, 300), st.integers(1, 40), st.integers(0, 2**32), st.integers(0, 50))
def test_an_epoch_predicts_every_token_once_but_for_the_ends(count, length, seed, epoch):
    windows = Windows(np.arange(count, dtype=np.uint16), length)
    if length >= count:
        assert len(windows) == 0
        return
    order = windows.order(seed, epoch)
    assert len(order) == len(windows) > 0
    ((inputs, targets),) = windows.batches(order, [(0, len(order))])
    assert inputs.dtype == targets.dtype == torch.int64
    assert inputs.shape == targets.shape == (len(windows), length)
    assert torch.equal(inputs + 1, targets)  # each token is its own place here
    predicted = targets.flatten().sort().values
    assert torch.equal(predicted, torch.arange(len(predicted)) + predicted[0])
    assert predicted[0] >= 1
    assert count - 1 - len(predicted) < 2 * length - 1
    assert predicted[0] - 1 < length
    assert torch.equal(order, windows.order(seed, epoch))


def test_epochs_differ_in_their_offset_and_order():
    windows = Windows(np.arange(10_000, dtype=np.uint16), 16)
    orders = [windows.order(seed, epoch) for seed in range(10) for epoch in range(10)]
    assert len({tuple(order.tolist()) for order in orders}) == 100
    offsets = collections.Counter(int(order.min()) for order in orders)
    assert set(offsets) <= set(range(16))
    assert len(offsets) == 16


@quick
@given(st.integers(0, 200), st.integers(1, 40), st.data(), st.integers(1, 7))
def test_evaluation_predicts_every_token_exactly_once(count, length, data, batch):
    stride = data.draw(st.integers(1, length))
    windows = Windows(np.arange(count, dtype=np.int32), length, stride)
    loader = Loader(windows.batches, len(windows), batch, shuffle=False, order=windows.order)
    seen = []
    for inputs, targets in loader:
        counted = targets != IGNORED
        assert torch.equal(inputs[counted] + 1, targets[counted])
        seen += targets[counted].tolist()
        context = inputs - inputs[:, :1] + 1  # tokens that a position sees
        later = counted & (inputs[:, :1] > 0)
        assert (context[later] > length - stride).all()
    assert seen == list(range(1, count))


@pytest.mark.parametrize("stride", [None, 5])
def test_the_batches_of_an_accelerator_are_those_of_the_cpu(stride):
    values = np.random.default_rng(0).integers(300, size=100).astype(np.uint16)
    cpu, other = Windows(values, 7, stride), Windows(values, 7, stride)
    other._there = torch.from_numpy(values.astype(np.int32))
    order = cpu.order(3 if stride is None else None, 0)
    bounds = [(0, 4), (4, 4), (4, len(order))]
    for ours, theirs in zip(cpu.batches(order, bounds), other.batches(order, bounds), strict=True):
        assert all(map(torch.equal, ours, theirs))


def test_a_resumed_loader_goes_on_with_the_next_windows(tmp_path):
    data = ready(text(tmp_path))
    data.attach(batch_size=4, seed=5)
    whole, other = data.train_dataloader(), data.train_dataloader()
    batches = [batch for _ in range(3) for batch in whole]
    each = len(whole)
    iterator = iter(other)
    for _ in range(2):
        next(iterator)
    resumed = data.train_dataloader()
    resumed.load_state_dict(other.state_dict())
    found = [batch for _ in range(3) for batch in resumed]
    assert len(found) == 3 * each - 2
    for ours, theirs in zip(batches[2:], found, strict=True):
        assert all(map(torch.equal, ours, theirs))


# ------------------------------------------------------------------------------------------------------------ files


def test_text_is_counted_by_all_units(tmp_path):
    data = ready(text(tmp_path, "aé b\nc\n" * 100, validation_fraction=0.1, test_fraction=0.0))
    assert data.units["train"] == {"tokens": 720, "bytes": 720, "characters": 630, "words": 450}
    assert data.units["val"] == data.units["test"] == {"tokens": 80, "bytes": 80, "characters": 70, "words": 50}
    assert data._parts["val"].tokens is data._parts["test"].tokens
    words = ready(text(tmp_path, None, tokenizer="word"))
    assert all(count["tokens"] == count["words"] for count in words.units.values())


def test_the_last_line_of_words_has_an_end_too(tmp_path):
    data = ready(text(tmp_path, "a b\n" * 50 + "a b", tokenizer="word", validation_fraction=0.1, test_fraction=0.0))
    assert tokens(data, "val")[-1] == data.tokenizer.words.index("<eos>")
    assert data.units["val"]["tokens"] == data.units["val"]["words"] == len(tokens(data, "val"))
    assert data.decode(tokens(data, "val")).endswith("a b\n")
    assert data.decode(data.encode("a b\n")) == "a b\n"


LINES = {"train": ["the cat", "", "a\nb\n"] * 30, "validation": ["sat on"] * 20, "test": ["the mat "] * 20}


def write_rows(folder, kind):
    table = {part: pyarrow.table({"id": list(range(len(rows))), "text": rows}) for part, rows in LINES.items()}
    if kind == "arrow":
        sets = {part: datasets.Dataset(rows) for part, rows in table.items()}
        datasets.DatasetDict(sets).save_to_disk(str(folder))
        return
    folder.mkdir(parents=True)
    for part, rows in table.items():
        file = folder / f"{part}-00000-of-00001.{kind}"
        if kind == "parquet":
            pyarrow.parquet.write_table(rows, file)
        elif kind == "jsonl":
            file.write_text("\n".join(json.dumps(row) for row in rows.to_pylist()) + "\n")
        else:
            pyarrow.csv.write_csv(rows, file)


@pytest.mark.parametrize("kind", ["arrow", "parquet", "jsonl", "csv", "glob"])
def test_rows_of_every_kind_of_table_make_the_same_text(tmp_path, kind):
    folder = tmp_path / "rows"
    write_rows(folder, "parquet" if kind == "glob" else kind)
    (folder / "README.txt").write_text("not a part of it")
    data = ready(text(tmp_path, None, path=f"{folder}/*.parquet" if kind == "glob" else str(folder)))
    for part, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        lines = [row if row.endswith("\n") else row + "\n" for row in LINES[name]]
        assert data.decode(tokens(data, part)) == "".join(lines)


def test_plain_texts_are_parts_by_their_names_or_all_one(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for name, content in (("wiki.train.tokens", "train " * 20), ("wiki.valid.tokens", "v " * 20), ("c.tokens", "none")):
        (folder / name).write_text(content)
    data = ready(text(tmp_path, None, validation_fraction=0.5, test_fraction=0.5 - 1e-9))
    assert data.decode(tokens(data, "val")) == "v " * 20
    (folder / "wiki.valid.tokens").rename(folder / "z.tokens")  # one name alone may be there by chance
    data = ready(text(tmp_path, None, validation_fraction=0.1, test_fraction=0.0))
    whole = "none" + "train " * 20 + "v " * 20
    assert data.decode(tokens(data, "train")) + data.decode(tokens(data, "val")) == whole
    single = ready(text(tmp_path, None, path=str(folder / "wiki.train.tokens"), test_fraction=0.0))
    assert data.decode([*tokens(single, "train"), *tokens(single, "val")]) == "train " * 20


def test_line_ends_stay_what_they_are(tmp_path):
    data = ready(text(tmp_path, "a\r\nb\r" * 40, test_fraction=0.0, validation_fraction=0.1))
    assert data.decode([*tokens(data, "train"), *tokens(data, "val")]) == "a\r\nb\r" * 40


def test_rows_may_end_in_a_token_of_their_own(tmp_path):
    write_rows(tmp_path / "rows", "parquet")
    values = {"path": str(tmp_path / "rows"), "tokenizer": "bpe", "vocab_size": 257, "row_end": "<|endoftext|>"}
    data = ready(text(tmp_path, None, **values))
    assert (tokens(data, "train") == 0).sum() == 90
    assert data.decode(tokens(data, "val")) == "sat on<|endoftext|>" * 20


def test_a_yaml_reads_a_copy_from_the_hub(tmp_path):
    hub = tmp_path / "data" / "huggingface" / "Salesforce" / "wikitext" / "wikitext-2-v1"
    write_rows(hub, "arrow")
    data = real("wikitext2", tmp_path / "data", "dataset.context_length=8")
    assert data.location == hub
    assert data.units["train"]["tokens"] == sum(len(row.split()) + max(1, row.count("\n")) for row in LINES["train"])
    write_rows(tmp_path / "data" / "wikitext-2", "parquet")
    assert real("wikitext2", tmp_path / "data", "dataset.context_length=8").location == tmp_path / "data" / "wikitext-2"


# -------------------------------------------------------------------------------------------------------- downloads


def test_a_file_is_fetched_by_its_address(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        text_files.urllib.request, "urlopen", lambda address, timeout: asked.append(address) or io.BytesIO(b"abc" * 50)
    )
    place = tmp_path / "shakespeare" / "input.txt"
    data = text(tmp_path, None, path=str(place), origin="https://example.org/x/input.txt", test_fraction=0.0)
    assert data.location == place.parent
    with pytest.raises(MissingDataError, match=f"^dataset=text: no data under {place}; run: make data DATASETS=text$"):
        data.setup()
    data.download()
    assert ready(data).units["train"]["bytes"] == 142
    assert asked == ["https://example.org/x/input.txt"]
    several = text(tmp_path, None, path=str(tmp_path / "two"), origin=["https://a/train.txt", "https://a/test.txt"])
    several.download()
    assert sorted(file.name for file in (tmp_path / "two").iterdir()) == ["test.txt", "train.txt"]


def test_a_data_set_is_fetched_from_the_hub(tmp_path, monkeypatch):
    asked = []
    rows = datasets.DatasetDict({part: datasets.Dataset.from_dict({"text": rows}) for part, rows in LINES.items()})
    monkeypatch.setattr(datasets, "load_dataset", lambda *names: asked.append(names) or rows)
    data = text(tmp_path, None, path=None, origin="owner/name:small")
    with pytest.raises(
        MissingDataError, match=r"hub/owner/name/small; run: make data .* ARGS=dataset.origin=owner/name"
    ):
        data.setup()
    data.download()
    assert asked == [("owner/name", "small")]
    assert ready(data).units["train"]["tokens"] > 0
    assert [file.name for file in data.location.parent.iterdir()] == ["small"]

    def refuse(*names):
        raise datasets.exceptions.DatasetNotFoundError("no such set")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(RuntimeError, match="no such set"):
        data.download()
    assert ready(text(tmp_path, None, path=None, origin="owner/name:small")).num_train  # the old copy is still there
    with pytest.raises(RuntimeError, match="no address"):
        text(tmp_path).download()


# ------------------------------------------------------------------------------------------------------------ cache


def test_a_second_run_reads_no_text(tmp_path, monkeypatch):
    first = ready(text(tmp_path, tokenizer="bpe", vocab_size=260))
    monkeypatch.setattr(text_tokenizers, "train", None)
    monkeypatch.setattr(LanguageFiles, "streams", None)
    second = ready(text(tmp_path, None, tokenizer="bpe", vocab_size=260, context_length=5))
    assert isinstance(second._parts["train"].tokens, np.memmap)
    assert np.array_equal(tokens(first, "train"), tokens(second, "train"))
    assert (second.units, second.vocab_size) == (first.units, first.vocab_size)
    assert second.encode("the cat") == first.encode("the cat")


@pytest.mark.parametrize("values", [{"tokenizer": "char"}, {"validation_fraction": 0.2}, {"row_end": ""}])
def test_other_options_are_another_entry(tmp_path, values):
    ready(text(tmp_path))
    ready(text(tmp_path, None, **values))
    assert len(list((tmp_path / "cache" / "tokens").iterdir())) == 2


def test_a_changed_text_is_read_anew(tmp_path):
    ready(text(tmp_path, "old " * 50))
    assert ready(text(tmp_path, "new text " * 50)).decode([0]) is not None
    assert len(list((tmp_path / "cache" / "tokens").iterdir())) == 2


def damage_bit(entry):
    file = entry / "train.bin"
    content = bytearray(file.read_bytes())
    content[3] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        damage_bit,
        lambda entry: (entry / "train.bin").write_bytes((entry / "train.bin").read_bytes()[:-1]),
        lambda entry: (entry / "val.bin").unlink(),
        lambda entry: (entry / "meta.json").write_text("{"),
        lambda entry: (entry / "meta.json").write_text('{"key": "of another"}'),
        lambda entry: (entry / "meta.json").unlink(),
    ],
)
def test_a_damaged_entry_is_made_again(tmp_path, damage):
    whole = ready(text(tmp_path))
    expected = tokens(whole, "train").copy()
    (entry,) = (tmp_path / "cache" / "tokens").iterdir()
    damage(entry)
    assert np.array_equal(tokens(ready(text(tmp_path, None)), "train"), expected)
    assert [file.name for file in (tmp_path / "cache" / "tokens").iterdir()] == [entry.name]
    assert Store(entry.parent, "text", whole_decides(tmp_path)).load() is not None


def whole_decides(tmp_path):
    data = text(tmp_path, None)
    options = [data.kind, data.given_vocab_size, data.min_count, data.validation_fraction, data.test_fraction]
    return [data.decides(), options, None]


def test_without_room_there_is_a_warning_and_the_same_data(tmp_path, monkeypatch):
    expected = tokens(ready(text(tmp_path)), "train").copy()
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("a file is in the way")
    with pytest.warns(UserWarning, match="the tokens were not kept for the next run"):
        data = ready(text(tmp_path, None))
    assert np.array_equal(tokens(data, "train"), expected)


def test_many_at_once_make_one_entry(tmp_path):
    text(tmp_path)
    found, errors = [], []

    def one():
        try:
            found.append(tokens(ready(text(tmp_path, None)), "train").tolist())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(found) == 6
    assert all(other == found[0] for other in found)
    assert len(list((tmp_path / "cache" / "tokens").iterdir())) == 1


def test_a_large_array_is_held_by_its_size_alone(tmp_path, monkeypatch):
    ready(text(tmp_path))
    (entry,) = (tmp_path / "cache" / "tokens").iterdir()
    monkeypatch.setattr(text_store, "CHECKED", 10)
    damage_bit(entry)
    monkeypatch.setattr(language_data.LanguageData, "_tokenise", None)
    assert ready(text(tmp_path, None)).num_train


# -------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tokenizer": "letters"}, "dataset.tokenizer=letters is unknown; allowed are byte, char, word and bpe"),
        ({"tokenizer": "byte", "vocab_size": 9}, "dataset.vocab_size=9 is not possible with dataset.tokenizer=byte"),
        ({"tokenizer": "char", "vocab_size": 9}, "dataset.vocab_size=9 is not possible with dataset.tokenizer=char"),
        (
            {"tokenizer": "word", "vocab_size": 2},
            "dataset.vocab_size=2 .* null and whole numbers from 3 with dataset.to",
        ),
        ({"tokenizer": "bpe", "vocab_size": 256}, "dataset.vocab_size=256 .* whole numbers from 257 with dataset.tok"),
        ({"tokenizer": "bpe"}, "dataset.vocab_size=null .* whole numbers from 257 with dataset.tokenizer=bpe"),
        ({"vocab_size": 0}, "dataset.vocab_size=0"),
        ({"vocab_size": True}, "dataset.vocab_size=true"),
        ({"min_count": 0}, "dataset.min_count=0"),
        ({"context_length": 0}, "dataset.context_length=0"),
        ({"context_length": 2.5}, "dataset.context_length=2.5"),
        ({"context_length": 882}, "dataset.context_length=882 is too long for the 882 tokens .* allowed are 1 to 881"),
        ({"eval_stride": 0}, "dataset.eval_stride=0 .* null and whole numbers from 1 to 8"),
        ({"eval_stride": 9}, "dataset.eval_stride=9"),
        ({"validation_fraction": 1.0}, "dataset.validation_fraction=1.0"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "dataset.test_fraction=0.5 .* from 0 to below 0.5"),
        ({"eval_batch_size": 0}, "dataset.eval_batch_size=0"),
        ({"path": None}, "dataset.path=null is not possible without dataset.origin"),
        ({"origin": "a b"}, "dataset.origin=a b is not possible; allowed are null, addresses"),
    ],
)
def test_bad_values_are_told(tmp_path, values, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        ready(text(tmp_path, **values))


def test_the_longest_window_still_trains(tmp_path):
    data = ready(text(tmp_path, context_length=881))
    assert data.num_train == 1


def test_a_text_without_letters_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"^dataset=text has an empty training text"):
        ready(text(tmp_path, ""))


def test_no_validation_is_none(tmp_path):
    data = ready(text(tmp_path, validation_fraction=0.0, test_fraction=0.0))
    assert (data.num_val, data.num_test) == (0, 0)


def test_a_file_that_is_no_text_is_named(tmp_path):
    data = text(tmp_path)
    (tmp_path / "files" / "poem.txt").write_bytes(b"abc \xff def")
    with pytest.raises(ConfigError, match=r"^.*poem.txt cannot be read as text .*allowed are files in UTF-8"):
        data.setup()


def test_tables_that_do_not_fit_are_told(tmp_path):
    write_rows(tmp_path / "rows", "parquet")
    values = {"path": str(tmp_path / "rows")}
    missing = "dataset.text_column=words is no column of .*parquet; its columns are id, text"
    with pytest.raises(ConfigError, match=f"^{missing}"):
        ready(text(tmp_path, None, text_column="words", **values))
    with pytest.raises(ConfigError, match=r"^dataset.text_column=id of .* holds int; allowed is text"):
        ready(text(tmp_path, None, text_column="id", **values))
    for file in (tmp_path / "rows").iterdir():
        file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ConfigError, match=r"^.*train-00000-of-00001.parquet cannot be read"):
        ready(text(tmp_path, None, **values))


def test_nothing_is_there(tmp_path):
    with pytest.raises(
        MissingDataError, match=r"^dataset=text: no data under .*files; put files there, or set dataset"
    ):
        ready(text(tmp_path, None))
    with pytest.raises(
        MissingDataError, match=r"^dataset=wikitext2: .*wikitext-2 or .*huggingface/Salesforce/wikitext"
    ):
        real("wikitext2", tmp_path)


# ------------------------------------------------------------------------------------------------------- known texts


def test_python_docs_are_all_topics_once():
    data = ready(build(compose(["dataset=python_docs"]).dataset))
    whole = data.decode([token for part in ("train", "test", "val") for token in tokens(data, part)])
    found = [paragraph for topic in paragraphs().values() for paragraph in topic]
    assert whole == "\n\n".join(found) + "\n"
    assert len({" ".join(paragraph.split()) for paragraph in found}) == len(found)
    assert (data.vocab_size, data.context_length, data.location) == (256, 128, None)
    assert digest() in data.describe()
    inputs, targets = data.blank_batch(3)
    assert inputs.shape == targets.shape == (3, 128)
    assert inputs.is_meta
    for part in ("train", "val", "test"):
        assert data.units[part]["bytes"] == len(tokens(data, part)) > 20_000


@pytest.mark.parametrize("kind", ["char", "word", "bpe"])
def test_python_docs_by_other_tokens(kind):
    size = ["dataset.vocab_size=1000"] if kind == "bpe" else []
    data = ready(build(compose(["dataset=python_docs", f"dataset.tokenizer={kind}", *size]).dataset))
    loaded = Path(compose(["dataset=python_docs"]).paths.cache_dir) / "tokens"
    assert len(list(loaded.iterdir())) == 1
    text = data.decode(tokens(data, "val"))
    assert {"char": text.endswith(".\n"), "bpe": text.endswith(".\n"), "word": "<unk>" in text}[kind]
    assert data.tokenizer.vocab_size == data.vocab_size == {"bpe": 1000}.get(kind, data.vocab_size)
    assert int(tokens(data, "train").max()) < data.vocab_size


def test_tiny_shakespeare_is_nanogpts(data_dir):
    data = real("tiny_shakespeare", data_dir)
    whole = (data_dir / "tinyshakespeare" / "input.txt").read_text()
    characters = sorted(set(whole))
    number = {character: index for index, character in enumerate(characters)}
    assert data.vocab_size == len(characters) == 65
    cut = int(len(whole) * 0.9)
    assert tokens(data, "train").tolist() == [number[character] for character in whole[:cut]]
    assert tokens(data, "val").tolist() == [number[character] for character in whole[cut:]]
    assert (data.units["train"]["tokens"], data.units["val"]["tokens"]) == (1_003_854, 111_540)
    assert sum(int((targets != IGNORED).sum()) for _, targets in data.val_dataloader()) == 111_539


def test_wikitext2_has_its_known_words(data_dir):
    data = real("wikitext2", data_dir)
    assert data.vocab_size == 33_278
    counts = {part: count["tokens"] for part, count in data.units.items()}
    assert counts == {"train": 2_088_628, "val": 217_646, "test": 245_569}
    plain = (data_dir / "wikitext-2" / "valid.txt").read_text().splitlines()
    words = [word for line in plain for word in [*line.split(), "<eos>"]]
    assert [data.tokenizer.words[token] for token in tokens(data, "val")] == words
    assert data.encode("the <unk> and\n")[1] == 0
