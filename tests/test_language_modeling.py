"""The language-modelling task: what it publishes, its losses, its texts, whole runs."""

import math
import random
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from killing import content, differences, run
from torch import nn
from torch.nn import functional as F
from torchmetrics.text import Perplexity

from steepest.batch import BatchPlan
from steepest.config import compose
from steepest.errors import ConfigError
from steepest.optimizers.sgd import SGD
from steepest.runs.folder import RunFolder
from steepest.tasks.generation import draw, generate
from steepest.tasks.language_modeling import LanguageModeling, by_other_units, cross_entropy
from steepest.tasks.rehearsal import WrongOutputs
from steepest.train import train

PLAN = BatchPlan(size=4, micro_size=4, accumulate=1, steps_per_epoch=3, exact=False, lr_factor=1.0)
VOCAB, CONTEXT = 7, 6
# The whole line on the embedded text, with a network and windows that are small.
GPT = ["model.dim=16", "model.depth=1", "model.heads=2"]
SMALL = [
    "experiment=llm",
    "dataset.context_length=16",
    "batch.size=8",
    "batch.micro_size=4",
    "threads=1",
    "logger=none",
]
SMALL += ["dataset.validation_fraction=0.01", "dataset.test_fraction=0.01", "task.sample_tokens=8"]
QUICK = [*SMALL, *GPT]


class Table(nn.Module):
    """Logits of the next token by a table: a bigram model."""

    def __init__(self, vocab=VOCAB, seed=0):
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.randn(vocab, vocab, generator=draw, dtype=torch.float64))

    def forward(self, tokens):
        return self.table[tokens]


class Data:
    """What the task asks of a data set."""

    vocab_size, context_length, units = VOCAB, CONTEXT, {}

    def encode(self, text):
        return [int(character) for character in text]

    def decode(self, tokens):
        return "".join(map(str, tokens))

    def test_dataloader(self):
        yield batches()[0]


def make(model=None, data=None, **values):
    return LanguageModeling(model or Table(), partial(SGD, lr=0.1), None, 10, PLAN, data or Data(), **values)


def batches(sizes=(4, 3, 1), ignored=0.3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    found = []
    for size in sizes:
        tokens, targets = torch.randint(VOCAB, (2, size, CONTEXT), generator=draw)
        targets[torch.rand(targets.shape, generator=draw) < ignored] = -100
        found.append((tokens, targets))
    return found


def published(task, split="val"):
    found = {}
    task.log = lambda name, value, **_: found.update({name: value})
    task.publish(split)
    return found


# --- what is published ------------------------------------------------------------------------------------------------


def test_loss_and_perplexity_are_those_of_all_targets_of_uneven_batches():
    task, oracle = make(), Perplexity(ignore_index=-100)
    nats = []
    for tokens, targets in batches():
        task.evaluate((tokens, targets))
        oracle.update(task.model(tokens).double(), targets)
        log_p = task.model(tokens).log_softmax(-1)
        nats += [-log_p[b, t, y].item() for b, t, y in loop(targets) if y != -100]
    found = published(task)
    assert found["val/perplexity"] == pytest.approx(oracle.compute().item(), rel=1e-5)
    assert found["val/loss"] == pytest.approx(sum(nats) / len(nats), rel=1e-6)
    assert found.keys() == {"val/loss", "val/perplexity"}
    task.evaluate(batches()[0])  # the averages of the next validation begin anew
    assert published(task)["val/loss"] != found["val/loss"]


def loop(targets):
    return [(b, t, int(targets[b, t])) for b in range(len(targets)) for t in range(targets.shape[1])]


def test_a_batch_without_windows_or_without_targets_counts_nothing():
    task = make()
    for batch in batches():
        task.evaluate(batch)
    tokens, targets = batches()[0]
    task.evaluate((tokens[:0], targets[:0]))
    task.evaluate((tokens, torch.full_like(targets, -100)))
    other = make()
    for batch in batches():
        other.evaluate(batch)
    assert published(task) == published(other)


def test_other_units_are_conversions_of_the_loss():
    units = {"val": {"tokens": 300, "bytes": 400, "words": 75, "characters": 390}}
    found = by_other_units(2.0, units, "val")
    # 300 tokens of 2 nats are 600 nats: 600 / ln 2 bits on 400 bytes, and 8 nats a word.
    assert found == pytest.approx({"bits_per_byte": 600 / math.log(2) / 400, "word_perplexity": math.exp(8)})
    assert by_other_units(2.0, units, "test") == by_other_units(2.0, {}, "val") == {}


def test_a_uniform_guess_over_bytes_is_eight_bits_a_byte():
    assert by_other_units(math.log(256), {"val": {"tokens": 9, "bytes": 9}}, "val") == {"bits_per_byte": 8.0}


def test_a_loss_too_large_for_a_perplexity_has_an_infinite_one():
    model = Table()
    model.table.data = torch.eye(VOCAB, dtype=torch.float64) * -1e5
    task = make(model)
    task.evaluate((torch.zeros(1, 2).long(), torch.zeros(1, 2).long()))
    assert published(task) == {"val/loss": pytest.approx(1e5 + math.log(6)), "val/perplexity": math.inf}


def test_predictions_are_the_mean_losses_of_windows():
    task, (tokens, targets) = make(), batches()[0]
    targets[2] = -100
    found = task.predict_step((tokens, targets), 0)
    assert found["targets"].tolist() == (targets != -100).sum(1).tolist()
    for row in (0, 1, 3):
        expected = F.cross_entropy(task.model(tokens[row]), targets[row])
        assert found["loss"][row].item() == pytest.approx(expected.item())
    assert found["loss"][2] == 0


# --- losses -----------------------------------------------------------------------------------------------------------


def test_the_training_loss_is_the_mean_over_targets_and_may_be_smoothed():
    tokens, targets = batches()[0]
    logits, kept = Table()(tokens), targets != -100
    plain = -logits.log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0][kept].mean()
    torch.testing.assert_close(make().loss((tokens, targets)), plain)
    uniform = -logits.log_softmax(-1).mean(-1)[kept].mean()
    torch.testing.assert_close(make(label_smoothing=0.1).loss((tokens, targets)), 0.9 * plain + 0.1 * uniform)


def test_low_precision_logits_have_a_loss_in_float32():
    tokens, targets = batches()[0]
    logits = Table()(tokens).bfloat16()
    found = cross_entropy(logits, targets)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, cross_entropy(logits.float(), targets))


def test_the_divergence_is_zero_and_its_hessian_is_the_fisher_matrix_of_the_tokens():
    task, batch = make(), batches()[0]
    loss, divergence = task.loss_and_divergence(batch)
    torch.testing.assert_close(loss, task.loss(batch))
    [slope] = torch.autograd.grad(divergence, task.model.table, create_graph=True)
    assert divergence.item() == pytest.approx(0.0, abs=1e-12)
    assert slope.abs().max() < 1e-12
    v = torch.randn(VOCAB, VOCAB, dtype=torch.float64)
    [product] = torch.autograd.grad(slope, task.model.table, v)
    expected = torch.zeros_like(v)
    tokens, targets = batch
    real = tokens[targets != -100]
    p = task.model.table.softmax(-1)
    for x in real.tolist():  # diag(p) - p p^T in the logits of each token
        expected[x] += (p[x] * v[x] - p[x] * (p[x] @ v[x])) / len(real)
    torch.testing.assert_close(product, expected.detach())


def test_a_model_of_another_kind_is_refused_by_the_shape_of_its_outputs():
    blank = torch.empty(4, CONTEXT, dtype=torch.int64, device="meta")
    make().rehearse((blank, blank))
    with pytest.raises(WrongOutputs, match=r"outputs of shape \[4, 6, 9\]; allowed is \[4, 6, 7\], a number for each"):
        make(Table(vocab=9)).rehearse((blank, blank))


# --- texts ------------------------------------------------------------------------------------------------------------


def cycle():
    """After a token always the next one."""
    model = Table()
    model.table.data = 50.0 * torch.eye(VOCAB, dtype=torch.float64).roll(1, 1)
    return model


@pytest.mark.parametrize("values", [{"temperature": 0}, {"temperature": 0.5}, {"top_k": 1, "temperature": 100.0}])
def test_a_text_goes_on_as_the_model_says(values):
    generator = torch.Generator().manual_seed(0)
    text = generate(cycle(), torch.tensor([3, 4]), 9, 4, generator, **values)
    assert text.tolist() == [3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6]


def test_texts_are_a_function_of_the_seed_and_leave_no_trace():
    state = torch.get_rng_state()
    task = make(prompt="12", sample_tokens=20, temperature=1.0)
    assert task.pictures() == task.pictures()
    assert task.pictures()["sample"].startswith("12")
    assert len(task.pictures()["sample"]) == 22
    assert make(prompt="12", sample_tokens=20, temperature=1.0, sample_seed=1).pictures() != task.pictures()
    assert torch.equal(torch.get_rng_state(), state)
    assert task.model.training


def test_without_a_prompt_a_text_begins_as_the_test_split_does():
    tokens, _ = batches()[0]
    assert make(sample_tokens=3).pictures()["sample"].startswith("".join(map(str, tokens[0].tolist())))


def test_no_text_is_written_where_it_is_not_asked_for_or_tokens_have_no_words():
    assert make(sample_tokens=0).pictures() == {}
    silent = SimpleNamespace(vocab_size=VOCAB, context_length=CONTEXT, units={})
    assert make(data=silent).pictures() == {}


def test_a_model_sees_no_more_than_its_context():
    seen = []

    class Watched(Table):
        def forward(self, tokens):
            seen.append(tokens.shape[1])
            return super().forward(tokens)

    generate(Watched(), torch.tensor([1]), 6, 4, torch.Generator())
    assert seen == [1, 2, 3, 4, 4, 4]


def test_tokens_are_drawn_by_their_probabilities():
    logits, generator = torch.tensor([0.0, 1.0, 2.0, -1.0]).double(), torch.Generator().manual_seed(0)
    drawn = torch.cat([draw(logits, generator, 2.0, None) for _ in range(4000)]).bincount(minlength=4) / 4000
    torch.testing.assert_close(drawn.double(), (logits / 2).softmax(-1), atol=0.03, rtol=0)
    drawn = torch.cat([draw(logits, generator, 1.0, 2) for _ in range(300)])
    assert set(drawn.tolist()) == {1, 2}


# --- whole runs -------------------------------------------------------------------------------------------------------


def finished(*words, runs_dir="runs"):
    words = [
        "callbacks=none",
        "budget={steps:3,epochs:null}",
        "validation.every=2",
        f"paths.runs_dir={runs_dir}",
        *words,
    ]
    train(compose([*QUICK, *words]))
    [path] = Path(runs_dir).iterdir()
    return RunFolder(path)


def test_a_run_counts_windows_and_publishes_what_its_bytes_say():
    folder = finished()
    summary, metrics = folder.summary, folder.summary["metrics"]
    assert (summary["opt_steps"], summary["examples"], summary["grad_evals"]) == (3, 24, 3)
    assert summary["headline"]["metric"] == "val/loss"
    for split in ("val", "test"):
        assert metrics[f"{split}/bits_per_byte"] == pytest.approx(metrics[f"{split}/loss"] / math.log(2))
        assert metrics[f"{split}/perplexity"] == pytest.approx(math.exp(metrics[f"{split}/loss"]))
        assert metrics[f"{split}/word_perplexity"] > metrics[f"{split}/perplexity"]
    assert 5.0 < metrics["val/loss"] < 6.0  # ln 256 and a little less


def test_a_run_writes_a_text():
    folder = finished("callbacks=default")
    assert (folder.path / "pictures/sample.txt").read_text()


def test_evaluation_does_not_depend_on_how_the_split_is_cut_into_batches():
    words = ["budget={steps:1,epochs:null}"]
    folders = [finished(f"dataset.eval_batch_size={n}", *words, runs_dir=f"by-{n}") for n in (3, 64)]
    losses = [folder.summary["metrics"]["val/loss"] for folder in folders]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_accumulated_gradients_are_those_of_the_whole_batch():
    words = ["budget={steps:2,epochs:null}", "optimizer=sgd", "precision=fp64"]
    folders = [finished(f"batch.micro_size={n}", *words, runs_dir=f"by-{n}") for n in (2, 8)]
    states = [torch.load(folder.checkpoint("last"), weights_only=True)["state_dict"] for folder in folders]
    for key, value in states[0].items():
        torch.testing.assert_close(value, states[1][key], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "words", [[*GPT, "model.dropout=0.1"], ["model=lstm_lm", "model.embedding=8", "model.hidden=8"]]
)
def test_a_killed_run_ends_as_one_that_was_left_alone(words):
    words = [*SMALL, *words, "budget={steps:6,epochs:null}", "validation.every=4", "log.every=2", "log.norms=false"]
    words += ["checkpoint.every_steps=3", "checkpoint.every_seconds=null"]
    alone, moments = run(words, runs_dir="alone")
    expected = content(alone)
    assert expected["status"] == "finished"
    folder, _ = run(words, [random.Random(words[-3]).randint(moments // 3, moments)], runs_dir="killed")
    assert "\n".join(differences(expected, content(folder))) == ""


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"label_smoothing": 1.0}, "task.label_smoothing=1.0 is out of range; allowed is from 0 to below 1."),
        ({"label_smoothing": -0.1}, "task.label_smoothing=-0.1 is out of range"),
        ({"sample_tokens": -1}, "task.sample_tokens=-1 is not possible; allowed is a whole number from 0."),
        ({"sample_tokens": 1.5}, "task.sample_tokens=1.5 is not possible"),
        ({"sample_seed": -1}, "task.sample_seed=-1 is not possible"),
        ({"top_k": 0}, "task.top_k=0 is not possible; allowed is a whole number from 1."),
        ({"temperature": -1.0}, "task.temperature=-1.0 is not possible; allowed is a number of 0 or more."),
        ({"temperature": math.inf}, "task.temperature=inf is not possible"),
        ({"temperature": math.nan}, "task.temperature=nan is not possible"),
    ],
)
def test_wrong_values_are_refused_in_a_sentence(values, message):
    with pytest.raises(ConfigError, match=message):
        make(**values)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["experiment=llm", "dataset=digits"], "needs vocab_size, which dataset=digits does not give"),
        (["experiment=llm", "model=cnn"], "model=cnn needs input_shape, which neither"),
        (["experiment=llm", "dataset=python_topics"], "needs units, which dataset=python_topics does not give"),
        (["experiment=nlp_transformer", "dataset=python_docs"], "needs num_classes"),
        (["experiment=nlp_transformer", "model=mlp"], "model=mlp needs input_shape"),
    ],
)
def test_parts_that_do_not_fit_are_refused_before_training(words, message):
    from steepest.assemble import assemble
    from steepest.launchers.machine import settle

    cfg = compose([*words, "threads=1"])
    settle(cfg)
    with pytest.raises(ConfigError, match=message):
        assemble(cfg)
