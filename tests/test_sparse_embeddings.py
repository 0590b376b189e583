import itertools
import json
import math
import random
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from killing import content, differences

from steepest.assemble import assemble
from steepest.build import build
from steepest.config import compose
from steepest.datasets.data import MissingDataError
from steepest.datasets.words import NoiseWords, Text, Vocabulary, keep_probability, words_of
from steepest.errors import ConfigError
from steepest.launchers.machine import settle
from steepest.models.factorization_machine import FactorizationMachine
from steepest.models.matrix_factorization import MatrixFactorization
from steepest.models.skip_gram import SkipGram
from steepest.optimizers.adagrad import Adagrad
from steepest.runs.folder import RunFolder
from steepest.tasks.embeddings import ByRarity
from steepest.tasks.skip_gram import pair_losses
from steepest.train import train

QUIET = ["callbacks=none", "logger=none", "threads=1"]


def assembled(*words):
    cfg = compose([*QUIET, *words])
    settle(cfg)
    return assemble(cfg)


@pytest.fixture
def ratings(tmp_path):
    """400 ratings of 58 films by 20 users, with ids that are no rows and a few films that are rated once."""
    draw = random.Random(0)
    pairs = draw.sample(list(itertools.product(range(20), range(18))), 360) + [(0, film) for film in range(18, 58)]
    lines = [f"{7 * u + 3},{11 * f + 100},{draw.randint(1, 10) / 2},{draw.randint(0, 10**6)}" for u, f in pairs]
    file = tmp_path / "ratings.csv"
    file.write_text("\n".join(["userId,movieId,rating,timestamp", *lines]) + "\n")
    return file


def movielens(file, *words):
    cfg = compose(["dataset=movielens", f"dataset.file={file}", *words])
    data = build(cfg.dataset)
    data.setup()
    return data


def rows_of(data, part):
    return torch.cat([torch.column_stack([ids.double(), y]) for ids, y in whole(data, part)])


def whole(data, part):
    examples = data._parts[part]
    return examples.batches(torch.arange(len(examples)), [(0, len(examples))])


class TestModels:
    def test_matrix_factorisation_is_the_formula(self):
        model = MatrixFactorization(field_sizes=[4, 5], base_output=3.5, dim=3, init_std=1.0)
        for bias in (model.user_bias, model.item_bias):
            torch.nn.init.normal_(bias.weight)
        p, q, b_u, b_i = (
            table.weight.detach().numpy() for table in (model.users, model.items, model.user_bias, model.item_bias)
        )
        ids = torch.tensor([[0, 4], [3, 0], [3, 2]])
        expected = [3.5 + b_u[u, 0] + b_i[i, 0] + np.dot(q[i], p[u]) for u, i in ids.tolist()]
        norms = [b_u[u, 0] ** 2 + b_i[i, 0] ** 2 + (q[i] ** 2).sum() + (p[u] ** 2).sum() for u, i in ids.tolist()]
        found, squares = model.with_norms(ids)
        np.testing.assert_allclose(found.detach(), expected, rtol=1e-6)
        np.testing.assert_allclose(squares.detach(), norms, rtol=1e-6)

    @pytest.mark.parametrize("sizes", [[3, 4], [5, 2, 7, 1]])
    def test_factorisation_machine_equals_the_sum_over_all_pairs_of_fields(self, sizes):
        model = FactorizationMachine(field_sizes=sizes, base_output=-0.7, dim=5, init_std=1.0).double()
        torch.nn.init.normal_(model.weights.weight)
        ids = torch.stack([torch.randint(size, (6,)) for size in sizes], dim=1)
        rows = ids + torch.tensor([sum(sizes[:field]) for field in range(len(sizes))])
        for example, found in zip(rows.tolist(), model(ids).tolist(), strict=True):
            pairs = itertools.combinations(example, 2)
            v, w = model.factors.weight, model.weights.weight
            expected = -0.7 + sum(w[i, 0] for i in example) + sum(v[i] @ v[j] for i, j in pairs)
            assert found == pytest.approx(expected.item(), abs=1e-6)

    def test_negative_sampling_is_the_formula(self):
        model = SkipGram(vocab_size=7, dim=4)
        torch.nn.init.normal_(model.contexts.weight)
        centers, contexts = torch.tensor([1, 6]), torch.tensor([[2, 0, 0], [5, 4, 6]])
        v, u = model.centers.weight.detach().double(), model.contexts.weight.detach().double()
        for found, w, (c, *negatives) in zip(
            pair_losses(model(centers, contexts)).tolist(), centers.tolist(), contexts.tolist(), strict=True
        ):
            scores = [u[c] @ v[w], *(-(u[n] @ v[w]) for n in negatives)]
            assert found == pytest.approx(-sum(math.log(1 / (1 + math.exp(-s))) for s in scores), rel=1e-5)

    def test_scores_begin_at_zero_as_in_word2vec(self):
        model = SkipGram(vocab_size=50, dim=10)
        assert model(torch.arange(50), torch.arange(50).unsqueeze(1)).abs().max() == 0
        assert 0.045 < model.centers.weight.abs().max() <= 0.05

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["model.dim=0"], "model.dim=0 must be a whole number of at least 1"),
            (["model.init_std=0"], "model.init_std=0 must be a finite number above 0"),
            (["model=skip_gram"], "model=skip_gram needs vocab_size"),
            (["task.error=absolute"], "task.error=absolute is unknown; allowed are squared and logistic"),
            (["task.penalty=-1"], "task.penalty=-1.* is not possible; allowed is a number of 0 or more"),
            (["task.rare=-1"], "task.rare=-1 is not possible; allowed are whole numbers from 0"),
            (["task=click_prediction"], "task.error=logistic is not possible with targets from 0.5 to 5"),
            (
                ["clip.value=1"],
                "clip.value=1 is not possible with sparse gradients; allowed are clip.norm, and",
            ),
            (["optimizer=lbfgs"], "cannot take the sparse gradients of users; allowed are model.sparse=false"),
            (["optimizer=kfac"], "cannot take the sparse gradients of users"),
            (["model=mlp"], "model=mlp needs input_shape"),
        ],
    )
    def test_what_does_not_fit_is_said(self, ratings, words, message):
        with pytest.raises(ConfigError, match=message):
            assembled("experiment=movielens_mf", f"dataset.file={ratings}", "batch.size=32", *words)

    def test_matrix_factorisation_wants_two_fields_and_a_machine_several(self):
        with pytest.raises(ConfigError, match="needs two fields, users and items, but the dataset has 3"):
            MatrixFactorization(field_sizes=[2, 2, 2], base_output=0.0)
        with pytest.raises(ConfigError, match=r"needs two fields or more, but the dataset's are \[9\]"):
            FactorizationMachine(field_sizes=[9], base_output=0.0)


def step_of(model, optimizer, inputs):
    optimizer.zero_grad()
    model(*inputs).square().mean().backward()
    optimizer.step()


def largest_allocation(sparse, rows):
    """Bytes of the largest piece of memory that a step asks for, after a first one that makes the state."""
    model = MatrixFactorization(field_sizes=[rows, rows], base_output=1.0, dim=8, sparse=sparse)
    optimizer = Adagrad(model.parameters(), weight_decay=0.1)
    inputs = (torch.randint(rows, (32, 2)),)
    step_of(model, optimizer, inputs)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step_of(model, optimizer, inputs)
    return max(event.cpu_memory_usage for event in profile.events())


class TestCost:
    def test_a_step_allocates_what_the_batch_needs_whatever_the_size_of_the_tables(self):
        assert largest_allocation(True, 1000) == largest_allocation(True, 100_000) < 32 * 64 * 8
        assert largest_allocation(False, 100_000) >= 100_000 * 8 * 4

    @pytest.mark.parametrize("decay", ["l2", "times_lr", "decoupled"])
    def test_rows_outside_of_the_batch_and_their_state_stay_bit_for_bit(self, decay):
        model = MatrixFactorization(field_sizes=[50, 60], base_output=1.0, dim=4)
        optimizer = Adagrad(model.parameters(), lr=0.1, weight_decay=0.3, weight_decay_form=decay)
        step_of(model, optimizer, (torch.stack([torch.arange(50), torch.arange(50)], 1),))
        before = [parameter.detach().clone() for parameter in model.parameters()]
        state = [optimizer.state[parameter]["G"].clone() for parameter in model.parameters()]
        step_of(model, optimizer, (torch.tensor([[3, 7], [3, 59]]),))
        for parameter, old, G in zip(model.parameters(), before, state, strict=True):
            touched = [3] if len(parameter) == 50 else [7, 59]
            rest = [row for row in range(len(parameter)) if row not in touched]
            assert torch.equal(parameter[rest], old[rest])
            assert torch.equal(optimizer.state[parameter]["G"][rest], G[rest])
            assert not torch.equal(parameter[touched], old[touched])

    def test_sparse_and_dense_gradients_train_alike_without_decay(self, ratings):
        results = []
        for sparse in ("true", "false"):
            train(
                compose(
                    [
                        *QUIET,
                        "experiment=movielens_mf",
                        f"dataset.file={ratings}",
                        "batch.size=32",
                        f"model.sparse={sparse}",
                        "budget={steps:6,epochs:null}",
                        f"paths.runs_dir=sparse-{sparse}",
                    ]
                )
            )
            [path] = Path(f"sparse-{sparse}").glob("r*")
            results.append(RunFolder(path).summary["metrics"])
        assert results[0]["val/rmse"] == pytest.approx(results[1]["val/rmse"], rel=1e-5)


class TestRatings:
    def test_ids_become_rows_and_every_rating_is_in_one_part(self, ratings):
        data = movielens(ratings)
        table = pyarrow.csv.read_csv(ratings).to_pydict()
        known = [sorted({*table[name]}) for name in ("userId", "movieId")]
        expected = sorted(
            (known[0].index(u), known[1].index(f), r)
            for u, f, r in zip(table["userId"], table["movieId"], table["rating"], strict=True)
        )
        parts = {part: rows_of(data, part) for part in ("train", "val", "test")}
        assert sorted(map(tuple, torch.cat([*parts.values()]).tolist())) == expected
        assert [len(part) for part in parts.values()] == [320, 40, 40] == [data.num_train, data.num_val, data.num_test]
        assert data.field_sizes == [20, 58]
        assert data.base_output == pytest.approx(parts["train"][:, 2].mean().item())
        for field in (0, 1):
            counted = [int((parts["train"][:, field] == row).sum()) for row in range(data.field_sizes[field])]
            assert data.row_counts[field].tolist() == counted

    def test_the_split_depends_on_its_seed_alone(self, ratings):
        same, other = movielens(ratings, "seed=3"), movielens(ratings, "dataset.split_seed=1")
        assert torch.equal(rows_of(same, "test"), rows_of(movielens(ratings), "test"))
        assert not torch.equal(rows_of(same, "test"), rows_of(other, "test"))

    def test_a_split_by_time_tests_the_latest_of_each_user(self, ratings):
        data = movielens(ratings, "dataset.split=time", "dataset.test_fraction=0.2")
        table = pyarrow.csv.read_csv(ratings).to_pandas()
        latest = {(u, m): t for u, m, t in zip(table.userId, table.movieId, table.timestamp, strict=True)}
        users, films = sorted(table.userId.unique()), sorted(table.movieId.unique())
        times = {
            part: [(int(u), latest[users[int(u)], films[int(f)]]) for u, f, _ in rows_of(data, part).tolist()]
            for part in ("train", "val", "test")
        }
        for user in range(20):
            train_times, val_times, test_times = (
                [time for u, time in times[part] if u == user] for part in ("train", "val", "test")
            )
            count = len(train_times) + len(val_times) + len(test_times)
            assert len(test_times) == round(0.2 * count)
            assert max(train_times) <= min(val_times)
            assert max(val_times) <= min(test_times)

    def test_parquet_and_tabs_are_read_too(self, ratings, tmp_path):
        table = pyarrow.csv.read_csv(ratings)
        pyarrow.parquet.write_table(table, tmp_path / "ratings.parquet")
        (tmp_path / "ratings.tsv").write_text(ratings.read_text().replace(",", "\t"))
        expected = rows_of(movielens(ratings), "test")
        for name in ("ratings.parquet", "ratings.tsv"):
            assert torch.equal(rows_of(movielens(tmp_path / name), "test"), expected)

    def test_without_its_file_the_command_that_gets_it_is_said(self):
        with pytest.raises(MissingDataError, match=r"no file .*ratings.csv; run: make data DATASETS=movielens"):
            movielens("nowhere/ratings.csv")

    @pytest.mark.parametrize(
        ("change", "words", "message"),
        [
            (
                lambda t: t.replace("movieId", "film"),
                [],
                "no column movieId; its columns are userId, film, rating",
            ),
            (lambda t: t.replace(",", ";"), [], "has no column"),
            (lambda t: t.partition("\n")[0] + "\n", [], "holds no rating"),
            (lambda t: t.replace(".5,", ".5 stars,"), [], "The column rating of .* holds something else than numbers"),
            (lambda t: "userId,movieId,rating,timestamp\n,3,4.0,1\n" * 1, [], "The column userId of .* has 1 empty"),
            (lambda t: t + "1,2\n", [], "cannot be read"),
            (
                lambda t: t,
                ["dataset.split=latest"],
                "dataset.split=latest is not possible; allowed are random",
            ),
            (lambda t: t, ["dataset.test_fraction=0.95"], "dataset.test_fraction=0.95 is not possible"),
            (lambda t: t, ["dataset.test_fraction=-0.1"], "dataset.test_fraction=-0.1 is not possible"),
            (lambda t: t, ["dataset.validation_fraction=1.0"], "dataset.validation_fraction=1.0 is not possible"),
            (lambda t: t, ["dataset.split_seed=-1"], "dataset.split_seed=-1 is not possible"),
        ],
    )
    def test_bad_tables_and_values_are_said(self, ratings, change, words, message):
        ratings.write_text(change(ratings.read_text()))
        with pytest.raises(ConfigError, match=message):
            movielens(ratings, *words)

    def test_a_file_of_another_kind_is_refused(self, tmp_path):
        (tmp_path / "ratings.json").write_text("{}")
        with pytest.raises(ConfigError, match=r"is no table that can be read; allowed are files that end in .parquet"):
            movielens(tmp_path / "ratings.json")


NUMBERS, CATEGORIES = [f"I{i}" for i in range(1, 14)], [f"C{i}" for i in range(1, 27)]


@pytest.fixture
def criteo():
    """200 lines in Criteo's layout, some values of which are missing."""
    draw = random.Random(1)
    columns = {"label": [draw.randint(0, 1) for _ in range(200)]}
    for name in NUMBERS:
        columns[name] = [draw.choice([None, -1, 0, 1, 2, 3, 50, 10**6]) for _ in range(200)]
    for name in CATEGORIES:
        columns[name] = [draw.choice(["68fd1e64", "05db9164", "x"]) for _ in range(200)]
    return pyarrow.table(columns)


def clicks(path, *words):
    data = build(compose(["dataset=criteo", f"dataset.path={path}", "dataset.buckets=64", *words]).dataset)
    data.setup()
    return data


class TestClicks:
    def test_parquet_and_text_give_the_same_rows(self, criteo, tmp_path):
        pyarrow.parquet.write_table(criteo, tmp_path / "day.parquet")
        pyarrow.csv.write_csv(criteo, tmp_path / "day.csv")
        no_head = pyarrow.csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
        pyarrow.csv.write_csv(criteo, tmp_path / "day.txt", no_head)
        expected = rows_of(clicks(tmp_path / "*.parquet"), "train")
        assert expected.shape == (160, 40)
        for name in ("day.csv", "day.txt"):
            assert torch.equal(rows_of(clicks(tmp_path / name), "train"), expected)

    def test_several_files_are_one_set(self, criteo, tmp_path):
        for part in range(4):
            pyarrow.parquet.write_table(criteo.slice(50 * part, 50), tmp_path / f"{part}.parquet")
        pyarrow.parquet.write_table(criteo, tmp_path / "whole.pq.parquet")
        data = clicks(tmp_path / "?.parquet")
        assert torch.equal(rows_of(data, "val"), rows_of(clicks(tmp_path / "whole*"), "val"))
        assert data.field_sizes == [64] * 39
        assert [int(counts.sum()) for counts in data.row_counts] == [160] * 39

    def test_equal_values_share_a_row_and_fields_do_not_share_rows(self, criteo, tmp_path):
        pyarrow.parquet.write_table(criteo, tmp_path / "a.parquet")
        data = clicks(tmp_path / "a.parquet", "dataset.buckets=100000", "dataset.validation_fraction=0")
        ids = torch.cat([rows_of(data, part) for part in ("train", "test")])[:, :-1]
        assert [len(ids[:, field].unique()) for field in range(39)] == [8] * 13 + [3] * 26
        assert not {*ids[:, 20].tolist()} & {*ids[:, 21].tolist()}  # the same three words, hashed with their field

    def test_numbers_take_steps_that_grow(self, tmp_path):
        from steepest.datasets.clicks import steps

        column = pyarrow.chunked_array([[None, -2, 0, 1, 2, 3, 4, 20, 21, 1000, 1001]])
        found = steps(column, "I1", tmp_path).to_pylist()
        assert found == [None, -2, 0, 1, 2, *(math.floor(math.log(x) ** 2) + 3 for x in (3, 4, 20, 21, 1000, 1001))]
        assert len({*found[:6]}) == 6
        assert found[-1] == found[-2]

    def test_a_machine_learns_what_a_category_says(self, tmp_path):
        draw = random.Random(2)
        words = [draw.choice("abcdef") for _ in range(1000)]
        others = [draw.choice("xy") for _ in words]
        table = pyarrow.table({"y": [int(word in "abc") for word in words], "c": words, "d": others})
        pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
        columns = ["dataset.label_column=y", "dataset.number_columns=[]", "dataset.category_columns=[c,d]"]
        run = ["dataset=criteo", f"dataset.path={tmp_path}/a.parquet", "dataset.buckets=512", *columns]
        run += ["task=click_prediction", "model=factorization_machine", "optimizer=adagrad", "optimizer.lr=0.3"]
        train(compose([*QUIET, *run, "batch.size=100", "schedule=constant", "budget={steps:40,epochs:null}"]))
        [path] = Path("runs").glob("r*")
        summary = RunFolder(path).summary
        assert summary["headline"]["metric"] == "val/loss"
        assert summary["metrics"]["test/loss"] < 0.3
        assert summary["metrics"]["test/auroc"] > 0.999
        assert summary["metrics"]["test/examples_frequent"] == 100

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["dataset.path=nowhere/*.parquet"], "dataset.path=nowhere/.* fits no file; allowed are Parquet, CSV"),
            (
                ["dataset.label_column=I9", "dataset.number_columns=[I1]"],
                "dataset.label_column=I9 of .* has other values; allowed are 0 and 1",
            ),
            (["dataset.label_column=click"], "has no column|cannot be read"),
            (
                ["dataset.number_columns=[C1]"],
                "allowed are columns named once",
            ),
            (
                ["dataset.number_columns=[C1]", "dataset.category_columns=[C2]"],
                "C1 of .* holds something else",
            ),
            (["dataset.buckets=0"], "dataset.buckets=0 is not possible; allowed are whole numbers from 1"),
            (["dataset.number_columns=[]", "dataset.category_columns=[]"], "lists with at least one column"),
        ],
    )
    def test_bad_input_is_said(self, criteo, tmp_path, words, message):
        pyarrow.parquet.write_table(criteo, tmp_path / "a.parquet")
        with pytest.raises(ConfigError, match=message):
            clicks(tmp_path / "a.parquet", *words)


TEXT = "\n".join(["the cat sat on the mat", "a dog and a cat sat", "the dog ran to the mat and the cat ran"] * 60)


@pytest.fixture
def text(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    return file


def of_text(file):
    return [f"dataset.path={file}", "dataset.blank_lines=false", "dataset.subsample=null"]


def pairs_of(file, *words):
    data = build(compose(["dataset=python_words", *of_text(file), *words]).dataset)
    data.setup()
    return data


class TestWords:
    def test_words_are_runs_of_letters_in_lower_case(self):
        assert words_of("It's 3 o'Clock <unk>, été_x") == ["it", "s", "o", "clock", "été", "x"]

    def test_the_vocabulary_goes_from_frequent_to_rare(self):
        vocabulary = Vocabulary.of([["b", "a", "c", "a"], ["b", "d"]], 1)
        assert vocabulary.words == ["a", "b", "c", "d"]
        assert vocabulary.counts.tolist() == [2, 2, 1, 1]
        assert Vocabulary.of([["b", "a", "c", "a"], ["b", "d"]], 2).words == ["a", "b"]

    def test_rare_words_go_before_windows_are_made(self):
        text = Vocabulary.of([["a", "x", "b", "a", "b"]], 2).encode([["a", "x", "b"], ["x"], ["b"]])
        assert text.words.tolist() == [0, 1, 1]
        assert text.paragraphs.tolist() == [0, 0, 2]

    @pytest.mark.parametrize("window", [1, 2, 5])
    def test_pairs_are_those_of_a_loop_over_the_text(self, window):
        generator = np.random.default_rng(5)
        text = Text(generator.integers(0, 9, 40), np.sort(generator.integers(0, 6, 40)))
        reach = np.random.default_rng(7).integers(1, window + 1, 40)
        expected = sorted(
            (text.words[i], text.words[j])
            for i in range(40)
            for j in range(max(0, i - reach[i]), min(40, i + reach[i] + 1))
            if i != j and text.paragraphs[i] == text.paragraphs[j]
        )
        assert sorted(zip(*text.pairs(window, np.random.default_rng(7)), strict=True)) == expected

    def test_words_stay_with_the_probability_of_the_paper(self):
        counts = np.array([900, 90, 10])
        np.testing.assert_allclose(keep_probability(counts, 0.05), [math.sqrt(0.05 / 0.9), math.sqrt(0.05 / 0.09), 1.0])
        np.testing.assert_array_equal(keep_probability(counts, None), 1.0)
        text = Text(np.repeat([0, 1, 2], 20000), np.zeros(60000, dtype=int))
        kept = np.bincount(text.thinned(np.array([0.1, 0.5, 1.0]), np.random.default_rng(0)).words)
        np.testing.assert_allclose(kept / 20000, [0.1, 0.5, 1.0], atol=0.012)

    @pytest.mark.parametrize("power", [0.75, 0.0, 1.0])
    def test_negatives_follow_the_powered_counts(self, power):
        counts = np.array([1000, 300, 300, 20, 5, 1])
        drawn = NoiseWords(counts, power).draw((20000,), np.random.default_rng(3))
        expected = counts**power / (counts**power).sum() * 20000
        assert scipy.stats.chisquare(np.bincount(drawn, minlength=6), expected).pvalue > 0.01
        if power == 0.75:  # the test can fail
            assert scipy.stats.chisquare(np.bincount(drawn, minlength=6), counts / counts.sum() * 20000).pvalue < 1e-9

    def test_an_epoch_is_a_function_of_seed_and_epoch(self, text):
        train_part = pairs_of(text)._parts["train"]
        again = pairs_of(text)._parts["train"]
        assert torch.equal(train_part.order(3, 5), again.order(3, 5))
        assert len(train_part) == len(train_part.order(3, 5)) == len(train_part.order(3, 6))
        for seed, epoch in ((3, 6), (4, 5)):
            assert not torch.equal(train_part.order(3, 5), train_part.order(seed, epoch))
        order = train_part.order(3, 5)
        batches = list(train_part.batches(order, [(0, 50), (50, 100), (100, 110)]))
        [resumed] = train_part.batches(order, [(50, 100)])
        assert all(torch.equal(a, b) for a, b in zip(batches[1], resumed, strict=True))
        assert [tensor.shape for tensor in batches[2]] == [(10,), (10,), (10, 5)]
        assert not torch.equal(batches[0][2], batches[1][2])

    def test_pairs_are_neighbours_in_the_text(self, text):
        data = pairs_of(text, "dataset.window=1", "dataset.min_count=1")
        near = {pair for line in TEXT.split("\n") for pair in itertools.pairwise(line.split())}
        near |= {(b, a) for a, b in near}
        for part in ("val", "test"):
            [(centers, contexts, _)] = whole(data, part)
            assert {(data.words[a], data.words[b]) for a, b in zip(centers, contexts, strict=True)} <= near
        assert data.row_counts[0].tolist() == sorted(data.row_counts[0].tolist(), reverse=True)

    def test_parts_may_have_files_of_their_own(self, text, tmp_path):
        other = tmp_path / "other.txt"
        other.write_text("cat and dog\nunheard words")
        data = pairs_of(text, f"dataset.validation_path={other}", f"dataset.test_path={other}")
        [(centers, contexts, _)] = whole(data, "test")
        assert {data.words[i] for i in [*centers, *contexts]} == {"cat", "and", "dog"}
        assert int(data.row_counts[0].sum()) == len(TEXT.split())

    def test_validation_does_not_depend_on_how_it_is_cut(self, text):
        one, other = (pairs_of(text, f"dataset.eval_batch_size={size}") for size in (10, 1000))
        cut = [torch.cat(columns) for columns in zip(*one.val_dataloader(), strict=True)]
        whole_ = [torch.cat(columns) for columns in zip(*other.val_dataloader(), strict=True)]
        assert all(torch.equal(a, b) for a, b in zip(cut, whole_, strict=True))

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["dataset.window=0"], "dataset.window=0 is not possible; allowed are whole numbers from 1"),
            (["dataset.negatives=0"], "dataset.negatives=0 is not possible"),
            (["dataset.subsample=0"], "dataset.subsample=0.* is not possible; allowed are null and numbers above 0"),
            (["dataset.subsample=1e-12"], "dataset.subsample=1e-12 leaves no pair of the training text"),
            (["dataset.power=-1"], "dataset.power=-1.* is not possible"),
            (["dataset.min_count=0"], "dataset.min_count=0 is not possible"),
            (["dataset.min_count=1000"], "dataset.min_count=1000 leaves 0 words of the training text"),
            (
                ["dataset.validation_fraction=0.6", "dataset.test_fraction=0.4"],
                "dataset.test_fraction=0.4 is not possible",
            ),
            (["dataset.path=nowhere.txt"], "dataset=python_words: no file nowhere.txt"),
            (["dataset.test_path=empty.txt"], "empty.txt holds no word; allowed are texts with some"),
            (["dataset.path=binary.txt"], "binary.txt cannot be read as text"),
        ],
    )
    def test_bad_input_is_said(self, text, words, message):
        Path("empty.txt").write_text(" 1, 2.\n")
        Path("binary.txt").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(ConfigError, match=message):
            pairs_of(text, *words)


class TestTasks:
    def test_rare_examples_are_those_with_a_row_that_training_seldom_has(self):
        counts = [torch.tensor([9, 2, 0]), torch.tensor([1, 3])]
        rarity = ByRarity(counts, 2)
        rows = torch.tensor([[0, 1], [1, 1], [2, 1], [0, 0], [0, 1]])
        assert rarity.is_rare(rows).tolist() == [False, True, True, True, False]
        errors = torch.tensor([1.0, 2.0, 3.0, 10.0, 2.0])
        rarity.update(rows[:2], errors[:2])
        rarity.update(rows[2:], errors[2:])
        found = {name: (float(mean), int(number)) for name, (mean, number) in rarity.take().items()}
        assert found == {"rare": (5.0, 3), "frequent": (1.5, 2)}
        rarity.update(rows[:1], errors[:1])
        assert [*rarity.take()] == ["frequent"]

    def test_published_errors_are_those_of_numpy(self, ratings):
        parts = assembled("experiment=movielens_mf", f"dataset.file={ratings}", "batch.size=32", "model.init_std=3")
        task, found = parts.task, {}
        task.log = lambda name, value, **_: found.update({name: float(value)})
        for batch in parts.data.test_dataloader():
            task.evaluate(batch)
        task.publish("test")
        [(ids, targets)] = whole(parts.data, "test")
        outputs = task.model(ids).detach()
        squares = (outputs.clamp(0.5, 5.0) - targets).square()
        counts = torch.stack([parts.data.row_counts[field][ids[:, field]] for field in (0, 1)]).min(0).values
        rare = counts <= task.by_rarity.rare
        assert 0 < int(rare.sum()) < 40
        assert outputs.max() > 5.0
        expected = {
            "test/loss": F.mse_loss(outputs, targets).item(),
            "test/rmse": squares.mean().sqrt().item(),
            "test/rmse_rare": squares[rare].mean().sqrt().item(),
            "test/rmse_frequent": squares[~rare].mean().sqrt().item(),
            "test/examples_rare": int(rare.sum()),
            "test/examples_frequent": int((~rare).sum()),
        }
        assert found == pytest.approx(expected, rel=1e-5)
        predicted = task.predict_step((ids, targets), 0)
        assert torch.equal(predicted["prediction"], outputs.clamp(0.5, 5.0))

    @pytest.mark.parametrize("penalty", [0.0, 0.3])
    def test_the_penalty_is_in_the_training_loss_alone(self, ratings, penalty):
        words = ["experiment=movielens_mf", f"dataset.file={ratings}", "batch.size=32", f"task.penalty={penalty}"]
        parts = assembled(*words)
        batch = next(iter(parts.data.train_dataloader()))
        outputs, norms = parts.task.model.with_norms(batch[0])
        expected = (outputs - batch[1]).square().mean() + penalty * norms.mean()
        assert parts.task.loss(batch).item() == pytest.approx(expected.item())

    @pytest.mark.parametrize("kind", ["squared", "logistic", "pairs"])
    def test_the_divergence_is_flat_and_curved_as_the_gauss_newton_matrix(self, ratings, text, kind):
        if kind == "pairs":
            parts = assembled(
                "experiment=sparse_embeddings", *of_text(text), "model.dim=2", "model.sparse=false", "batch.size=16"
            )
        else:
            data = [f"dataset.file={ratings}", "model.sparse=false", "model.dim=2", "batch.size=16"]
            parts = assembled("experiment=movielens_mf", *data, "task.penalty=0")
        task = parts.task.double()
        task.error = kind
        batch = next(iter(parts.data.train_dataloader()))
        if kind != "pairs":
            batch = (batch[0], (batch[1] > 3).double())
        params = [p for p in task.model.parameters() if p.numel() > 0]
        for p in params:
            torch.nn.init.normal_(p, std=0.5)
        loss, divergence = task.loss_and_divergence(batch)
        assert loss.item() == pytest.approx(task.loss(batch).item())
        assert divergence.item() == pytest.approx(0.0, abs=1e-12)
        gradient = torch.autograd.grad(divergence, params, create_graph=True)
        assert max(g.abs().max() for g in gradient) < 1e-12
        direction = [torch.randn_like(p) for p in params]
        product = torch.autograd.grad(sum((g * d).sum() for g, d in zip(gradient, direction, strict=True)), params)
        curvature = sum((h * d).sum() for h, d in zip(product, direction, strict=True)).item()

        def outputs(*values):
            named = dict(zip(dict(task.model.named_parameters()), values, strict=True))
            arguments = (batch[0],) if kind != "pairs" else (batch[0], torch.cat([batch[1][:, None], batch[2]], 1))
            return torch.func.functional_call(task.model, named, arguments)

        now, moved = torch.func.jvp(outputs, tuple(params), tuple(direction))
        weight = 2.0 if kind == "squared" else now.sigmoid() * (1 - now.sigmoid())
        assert curvature == pytest.approx((weight * moved.square()).sum().item() / 16, rel=1e-6)

    def test_the_nearest_words_are_those_that_point_the_same_way(self, text):
        task = assembled("experiment=sparse_embeddings", *of_text(text), "batch.size=300").task
        vectors = torch.randn(len(task.words), 64)
        vectors[3] = 2 * vectors[0] + 0.01 * vectors[1]
        task.model.centers.weight.data = vectors
        assert task.nearest(torch.tensor([0, 3]), 1).flatten().tolist() == [3, 0]
        lines = task.pictures()["nearest_words"].splitlines()
        assert lines[0].split()[:2] == [task.words[0], f"{task.words[3]},"]
        assert len(lines) == len(task.words)
        batch = next(iter(assembled("experiment=sparse_embeddings").data.test_dataloader()))
        assert {k: v.shape for k, v in task.predict_step((batch[0] % 5, batch[1] % 5, batch[2]), 0).items()} == {
            name: (len(batch[0]),) for name in ("center", "context", "probability")
        }


def resumed(words):
    """A run, and the same one cut off and gone on with."""
    train(compose(words))
    [path] = Path("runs").glob("r*")
    folder = RunFolder(path)
    expected = content(folder)
    status = json.loads((folder.path / "status.json").read_text())
    (folder.path / "status.json").write_text(json.dumps({**status, "status": "running"}))
    folder.checkpoint("last").unlink()
    train(compose(words))
    return folder, expected


@pytest.mark.parametrize("kind", ["ratings", "pairs"])
def test_a_cut_run_goes_on_as_if_it_had_not_been(ratings, text, kind):
    words = [*QUIET, "budget={steps:25,epochs:null}", "validation.every=7", "log.every=4", "checkpoint.every_steps=6"]
    if kind == "ratings":  # 10 steps an epoch, in micro-batches
        words += ["experiment=movielens_mf", f"dataset.file={ratings}", "batch.size=32", "batch.micro_size=16"]
    else:
        words += ["experiment=sparse_embeddings", *of_text(text), "batch.size=300"]
    folder, expected = resumed(words)
    [entry] = folder.status["resumed"]
    assert 0 < entry["opt_step"] < 25
    assert "\n".join(differences(expected, content(folder))) == ""


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["movielens_mf", "movielens_fm"])
def test_movielens_reaches_an_error_of_0_88(data_dir, experiment):
    train(compose([*QUIET, f"experiment={experiment}", f"paths.data_dir={data_dir}"]))
    [path] = Path("runs").glob("r*")
    metrics = RunFolder(path).summary["metrics"]
    assert metrics["test/rmse"] <= 0.88
    assert metrics["test/rmse_frequent"] < metrics["test/rmse_rare"]


@pytest.mark.slow
def test_words_of_the_documentation_are_told_from_others():
    train(compose([*QUIET, "experiment=sparse_embeddings"]))
    [path] = Path("runs").glob("r*")
    assert RunFolder(path).summary["metrics"]["test/loss"] < 2.5  # 6 log 2 = 4.16 at the start
