"""Models for texts: shapes, initial weights, published parameter counts, independent oracles, bad input."""

import copy
import inspect
import math
import pickle

import numpy as np
import pytest
import torch
from hydra.utils import get_class
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from steepest.build import build
from steepest.config import conf_dir
from steepest.errors import ConfigError
from steepest.models import attention as attentions
from steepest.models.attention import Rotary, attention, plain_attention
from steepest.models.text import pooled, reversed_texts
from steepest.routing.kinds import kinds

NEXT_TOKEN, CLASSES = ["gpt", "lstm_lm"], ["text_transformer", "text_lstm"]
NAMES = NEXT_TOKEN + CLASSES
LIVE = {"vocab_size": 11, "context_length": 8, "num_classes": 3}
VARIANTS = {
    "gpt": [{}, {"positions": "rotary"}, {"tied": False}, {"bias": False}],
    "lstm_lm": [{}, {"tied": False, "layers": 1}, {"embedding": 6, "hidden": 10}],
    "text_transformer": [{}, {"pooling": "class_token"}],
    "text_lstm": [{}, {"bidirectional": False, "layers": 2}, {"pooling": "mean", "layers": 2}],
}
SMALL = {
    "gpt": {"dim": 16, "depth": 2, "heads": 2},
    "lstm_lm": {"embedding": 12, "hidden": 12},
    "text_transformer": {"dim": 16, "depth": 2, "heads": 2},
    "text_lstm": {"embedding": 12, "hidden": 12},
}
CASES = [(name, variant) for name in NAMES for variant in VARIANTS[name]]
every_model = pytest.mark.parametrize("name", NAMES)
every_variant = pytest.mark.parametrize(("name", "variant"), CASES, ids=str)


def yaml(name):
    return OmegaConf.to_container(OmegaConf.load(conf_dir() / f"model/{name}.yaml"))


def make(name, *, small=True, seed=0, live=LIVE, **overrides):
    node = yaml(name) | (SMALL[name] if small else {}) | overrides
    torch.manual_seed(seed)
    takes = inspect.signature(get_class(node["_target_"])).parameters
    return build(node, **{key: value for key, value in live.items() if key in takes})


def texts(batch=3, length=8, vocab=11, seed=1):
    return torch.randint(1, vocab, (batch, length), generator=torch.Generator().manual_seed(seed))


def targets_of(name, tokens):
    """What a model can be trained to: the next token, or a class."""
    return (tokens.roll(-1, 1) if name in NEXT_TOKEN else tokens[:, 0] % LIVE["num_classes"]).flatten()


def loss_of(name, model, tokens):
    return F.cross_entropy(model(tokens).flatten(0, -2), targets_of(name, tokens))


def count(model):
    return sum(p.numel() for p in model.parameters())


def randomise(model, by=0.3):
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=by)
    return model


# --- every model ------------------------------------------------------------------------------------------------------


@every_model
def test_yaml_keys_are_the_signature_and_its_defaults_are_the_same(name):
    node = yaml(name)
    signature = inspect.signature(get_class(node.pop("_target_"))).parameters
    assert node.keys() == signature.keys() - LIVE.keys()
    assert node == {key: signature[key].default for key in node}


@every_variant
@pytest.mark.parametrize("length", [1, 8])
def test_there_is_a_finite_number_for_each_token_or_class(name, variant, length):
    model, tokens = make(name, **variant), texts(length=length)
    shape = (3, length, 11) if name in NEXT_TOKEN else (3, 3)
    assert model(tokens).shape == shape
    assert model(tokens).isfinite().all()
    assert copy.deepcopy(model).to("meta").train()(tokens.to("meta")).shape == shape


@every_variant
def test_loss_on_a_fixed_batch_falls_and_every_parameter_has_a_gradient(name, variant):
    model, tokens = make(name, dropout=0.0, **variant), texts(8)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(25):
        loss = loss_of(name, model, tokens)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0], losses
    for key, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.count_nonzero(), key


@every_model
def test_first_loss_is_near_that_of_a_uniform_guess(name):
    tokens = texts(64)
    expected = math.log(11 if name in NEXT_TOKEN else 3)
    assert loss_of(name, make(name, small=False), tokens).item() == pytest.approx(expected, abs=0.25)


@every_variant
def test_the_same_seed_gives_the_same_weights_and_copies_compute_the_same(name, variant):
    first, again, other = make(name, **variant), make(name, **variant), make(name, seed=1, **variant)
    states = [model.state_dict() for model in (first, again, other)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert any(not torch.equal(states[0][key], states[2][key]) for key in states[0])
    first.eval()
    for twin in (copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert torch.equal(twin(texts()), first(texts()))
        assert count(twin) == count(first)  # a table that is tied still is
        assert not {p.data_ptr() for p in twin.parameters()} & {p.data_ptr() for p in first.parameters()}


@every_variant
def test_low_and_double_precision_agree_with_single(name, variant):
    model, tokens = randomise(make(name, **variant), by=0.1).eval(), texts()
    single, double = model(tokens), copy.deepcopy(model).double()(tokens)
    half = copy.deepcopy(model).bfloat16()(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(tokens)
    assert (double.dtype, half.dtype) == (torch.float64, torch.bfloat16)
    scale = double.abs().max().item()
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-5 * scale)
    for low in (half, mixed):
        torch.testing.assert_close(low.double(), double, rtol=0, atol=0.1 * scale)


@every_model
def test_dropout_acts_in_training_only(name):
    for field in [key for key in yaml(name) if key.endswith("dropout")]:
        without = {key: 0.0 for key in yaml(name) if key.endswith("dropout")}
        model = randomise(make(name, **without | {field: 0.5}))
        assert not torch.equal(model(texts()), model(texts())), field
        model.eval()
        assert torch.equal(model(texts()), model(texts()))


@pytest.mark.parametrize("name", ["gpt", "text_transformer"])
def test_the_compiler_captures_the_whole_transformer(name):
    torch.compiler.reset()
    model = make(name).eval()
    torch.testing.assert_close(torch.compile(model, backend="eager", fullgraph=True)(texts()), model(texts()))


# --- language models --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "variant"), [case for case in CASES if case[0] in NEXT_TOKEN], ids=str)
@pytest.mark.parametrize("longest", [8, 300])
def test_later_tokens_change_no_earlier_logit(name, variant, longest):
    model = randomise(make(name, live=LIVE | {"context_length": longest}, **variant)).eval()
    tokens = texts(2, longest)
    logits = model(tokens)
    for place in (1, longest // 2, longest - 1):
        changed = tokens.clone()
        changed[:, place:] = texts(2, longest - place, seed=2)
        after = model(changed)
        assert torch.equal(after[:, :place], logits[:, :place])
        assert not torch.allclose(after[:, place:], logits[:, place:])


def test_a_window_longer_than_the_context_is_refused():
    with pytest.raises(ValueError, match="9 tokens exceed the model's context of 8"):
        make("gpt")(texts(length=9))


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_gpt_knows_the_order_of_tokens(positions):
    model = randomise(make("gpt", positions=positions)).eval()
    tokens = texts(1)
    swapped = tokens[:, [1, 0, *range(2, 8)]]
    assert not torch.allclose(model(swapped)[:, -1], model(tokens)[:, -1], atol=1e-3)


def gpt_parameters(vocab, context, dim, depth, bias=True, positions=True, tied=True):
    block = 12 * dim**2 + 2 * dim + (2 * dim + 9 * dim) * bias
    return vocab * dim * (1 if tied else 2) + context * dim * positions + depth * block + dim * (1 + bias)


def gpt(vocab, context, **values):
    with torch.device("meta"):
        return make("gpt", small=False, live={"vocab_size": vocab, "context_length": context}, **values)


def test_parameter_counts_are_the_published_ones():
    small = {"dim": 768, "depth": 12, "heads": 12}
    assert count(gpt(50257, 1024, **small)) == 124_439_808  # GPT-2 small as published
    assert count(gpt(50304, 1024, **small)) == 124_439_808 + 47 * 768  # padded to a multiple of 64
    nano = gpt(65, 64, dim=128, depth=4, heads=4, bias=False)  # nanoGPT's for a CPU: 0.80M, positions not counted
    assert count(nano) - 64 * 128 == 795_904
    for bias, positions, tied in ((True, "rotary", False), (False, "learned", True), (False, "rotary", True)):
        found = count(gpt(70, 32, dim=24, depth=3, heads=3, bias=bias, positions=positions, tied=tied))
        assert found == gpt_parameters(70, 32, 24, 3, bias, positions == "learned", tied)
    assert count(make("text_transformer", dim=24, heads=3)) == gpt_parameters(11, 8, 24, 2) + 24 * 3 + 3
    lstm = 2 * (4 * 12 * (12 + 12 + 2))
    assert count(make("lstm_lm")) == 11 * 12 + lstm + 11
    assert count(make("lstm_lm", tied=False)) == 2 * 11 * 12 + lstm + 11
    assert count(make("text_lstm")) == 11 * 12 + lstm + 2 * 12 * 3 + 3


@pytest.mark.parametrize("name", NEXT_TOKEN)
def test_a_tied_table_is_one_parameter_and_an_embedding(name):
    model = make(name)
    assert model.head.weight is model.embedding.weight
    assert kinds(model)["embedding.weight"] == "embedding"
    assert "head.weight" not in kinds(model)
    loss_of(name, model, texts()).backward()
    tied = model.embedding.weight.grad
    free = make(name, tied=False)
    free.load_state_dict(model.state_dict())
    loss_of(name, free, texts()).backward()
    torch.testing.assert_close(tied, free.embedding.weight.grad + free.head.weight.grad)


@pytest.mark.parametrize("name", ["gpt", "text_transformer"])
def test_initial_weights_of_transformers_are_gpt2s(name):
    model = make(name, dim=256, depth=8, heads=4, live=LIVE | {"vocab_size": 1000, "context_length": 100})
    for key, parameter in model.named_parameters():
        if "norm" in key or key.endswith("bias"):
            assert torch.equal(parameter, torch.full_like(parameter, float(key.endswith("weight")))), key
            continue
        residual = key.endswith(("attention.out.weight", "last.weight"))
        assert parameter.std().item() == pytest.approx(0.02 / (math.sqrt(16) if residual else 1), rel=0.06), key
        assert abs(parameter.mean().item()) < 2e-3, key


def test_kinds_of_gpts_parameters_and_what_is_not_decayed():
    found = kinds(make("gpt"))
    assert found["positions"] == "embedding"
    assert {found[key] for key in found if key.endswith("bias") and "norm" not in key} == {"bias"}
    assert {found[key] for key in found if "norm" in key} == {"norm"}
    assert sum(kind == "matrix" for kind in found.values()) == 4 * 2
    assert make("gpt").undecayed == ("norm", "bias")


def test_an_lstm_of_several_widths_ends_as_wide_as_a_token_where_tables_are_tied():
    model = make("lstm_lm", embedding=6, hidden=10, layers=3)
    assert [(lstm.input_size, lstm.hidden_size) for lstm in model.layers] == [(6, 10), (10, 10), (10, 6)]
    free = make("lstm_lm", embedding=6, hidden=10, tied=False)
    assert free.head.weight.shape == (11, 10)


def test_lstm_language_model_equals_torchs_stacked_lstm():
    model = randomise(make("lstm_lm")).eval()
    stacked = nn.LSTM(12, 12, 2, batch_first=True)
    for layer, lstm in enumerate(model.layers):
        for key, parameter in lstm.named_parameters():
            getattr(stacked, key.replace("l0", f"l{layer}")).data.copy_(parameter)
    expected = stacked(model.embedding(texts()))[0] @ model.embedding.weight.T + model.head.bias
    torch.testing.assert_close(model(texts()), expected)


# --- attention --------------------------------------------------------------------------------------------------------


def heads(length=5, batch=2, number=3, width=4, seed=0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, number, length, width, generator=draw, dtype=dtype) for _ in range(3)]


def by_loops(q, k, v, causal, seen):
    """The formula, one query after the other, in numpy."""
    q, k, v = (x.numpy() for x in (q, k, v))
    out = np.zeros_like(v)
    for b, h, i in np.ndindex(q.shape[:3]):
        keys = [j for j in range(k.shape[2]) if (j <= i or not causal) and (seen is None or bool(seen[b, j]))]
        scores = np.array([q[b, h, i] @ k[b, h, j] / math.sqrt(q.shape[-1]) for j in keys])
        weights = np.exp(scores - scores.max())
        out[b, h, i] = sum(w * v[b, h, j] for w, j in zip(weights / weights.sum(), keys, strict=True))
    return out


both_ways = pytest.mark.parametrize("compute", [attention, plain_attention])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@both_ways
def test_attention_is_the_formula(causal, masked, compute):
    seen = torch.tensor([[True, True, False, True, True], [True, False, True, False, False]]) if masked else None
    q, k, v = heads()
    np.testing.assert_allclose(compute(q, k, v, causal, seen).numpy(), by_loops(q, k, v, causal, seen), atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_both_ways_of_attention_have_the_same_first_and_second_derivatives(causal, masked):
    seen = torch.tensor([[True, True, False, True], [True, False, True, True]]) if masked else None
    inputs = [x.requires_grad_() for x in heads(length=4)]
    found = []
    for compute in (attention, plain_attention):
        with sdpa_kernel(SDPBackend.MATH):
            out = compute(*inputs, causal, seen).square().sum()
            first = torch.autograd.grad(out, inputs, create_graph=True)
            second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs)
        found.append([*first, *second])
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("length", [5, 64, 600])
def test_bfloat16_is_computed_by_the_formula_where_that_is_faster(length, monkeypatch):
    q, k, v = heads(length, batch=1, dtype=torch.bfloat16)
    used = []
    monkeypatch.setattr(attentions, "plain_attention", lambda *given: used.append(given) or plain_attention(*given))
    found = attention(q, k, v, True)
    assert bool(used) == (length <= attentions.PLAIN_UP_TO)
    torch.testing.assert_close(
        found.double(), attention(q.double(), k.double(), v.double(), True), atol=0.02, rtol=0.02
    )


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_of_attention_are_those_of_finite_differences(causal):
    inputs = [x.requires_grad_() for x in heads(length=3, batch=1, number=2, width=2)]
    assert torch.autograd.gradcheck(lambda q, k, v: plain_attention(q, k, v, causal), inputs)
    assert torch.autograd.gradgradcheck(lambda q, k, v: plain_attention(q, k, v, causal), inputs)


@both_ways
def test_attention_dropout_keeps_the_mean(compute):
    q, k, v = (x.expand(64, 32, 5, 4) for x in heads(batch=1, number=1, dtype=torch.float32))
    torch.manual_seed(0)
    dropped = compute(q, k, v, False, dropout=0.5)
    torch.testing.assert_close(dropped.mean((0, 1)), compute(q, k, v, False)[0, 0], atol=0.08, rtol=0)
    assert not torch.equal(dropped[0], dropped[1])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 11), st.integers(1, 4))
def test_rotary_products_depend_on_distances_alone(first, second, shift, pairs):
    rotary = Rotary(2 * pairs, 32).double()
    both = torch.randn(2, 2 * pairs, generator=torch.Generator().manual_seed(first + 31 * second)).double()
    q, k = rotary(both.expand(1, 32, 2, -1).unsqueeze(3))[0, :, :, 0].unbind(1)  # [32, d] each
    torch.testing.assert_close(q[first + shift] @ k[second + shift], q[first] @ k[second], atol=1e-5, rtol=0)
    torch.testing.assert_close(q.norm(dim=-1), both[0].norm().expand(32), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(q[0], both[0])


def test_rotary_is_the_papers_rotation_of_pairs():
    x = torch.randn(2, 10, 2, 3, 6)
    found = Rotary(6, 10)(x)
    for t, i in np.ndindex(10, 3):
        angle = t * 10_000 ** (-2 * i / 6)
        first, second = x[:, t, ..., 2 * i], x[:, t, ..., 2 * i + 1]
        turned = [
            first * math.cos(angle) - second * math.sin(angle),
            second * math.cos(angle) + first * math.sin(angle),
        ]
        torch.testing.assert_close(found[:, t, ..., 2 * i], turned[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(found[:, t, ..., 2 * i + 1], turned[1], atol=1e-5, rtol=0)


def test_a_block_equals_torchs_encoder_layer():
    model = randomise(make("text_transformer", dropout=0.0, depth=1)).double()
    [block] = model.blocks
    theirs = nn.TransformerEncoderLayer(16, 2, 64, 0.0, F.gelu, batch_first=True, norm_first=True).double()
    names = {
        "self_attn.in_proj_weight": block.attention.queries_keys_values.weight,
        "self_attn.in_proj_bias": block.attention.queries_keys_values.bias,
        "self_attn.out_proj.weight": block.attention.out.weight,
        "self_attn.out_proj.bias": block.attention.out.bias,
        "linear1.weight": block.first.weight,
        "linear1.bias": block.first.bias,
        "linear2.weight": block.last.weight,
        "linear2.bias": block.last.bias,
        **{
            f"{norm}.{key}": getattr(getattr(block, norm), key)
            for norm in ("norm1", "norm2")
            for key in ("weight", "bias")
        },
    }
    theirs.load_state_dict(names)
    x, seen = torch.randn(2, 5, 16).double(), torch.tensor([[True] * 5, [True, True, True, False, False]])
    expected = theirs(x, src_key_padding_mask=~seen)
    torch.testing.assert_close(block(x, seen)[seen], expected[seen])


# --- classifiers of texts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "variant"), [case for case in CASES if case[0] in CLASSES], ids=str)
def test_padding_changes_nothing(name, variant):
    model = randomise(make(name, **variant)).eval().double()
    long, short = texts(1, 8), texts(1, 3, seed=5)
    batch = torch.cat([long, F.pad(short, (0, 5))])
    torch.testing.assert_close(model(batch), torch.cat([model(long), model(short)]))
    torch.testing.assert_close(model(F.pad(short, (0, 1))), model(short))


@pytest.mark.parametrize(("name", "variant"), [case for case in CASES if case[0] in CLASSES], ids=str)
def test_a_text_without_words_is_classified_too(name, variant):
    model = make(name, **variant)
    tokens = torch.zeros(2, 4, dtype=torch.int64)
    loss = F.cross_entropy(model(tokens), torch.tensor([0, 1]))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", CLASSES)
def test_the_row_of_padding_is_zero_and_stays_so(name):
    model = make(name)
    tokens = F.pad(texts(4, 3), (0, 2))
    assert not model.embedding.weight[0].any()
    loss_of(name, model, tokens).backward()
    assert not model.embedding.weight.grad[0].any()
    assert model.embedding.weight.grad[1:].any()


def test_both_ways_of_a_text_lstm_equal_torchs_on_packed_texts():
    model = randomise(make("text_lstm", layers=2)).eval()
    lengths = torch.tensor([8, 3, 5])
    tokens = texts() * (torch.arange(8) < lengths[:, None])
    theirs = nn.LSTM(12, 12, 2, batch_first=True, bidirectional=True)
    for layer, ways in enumerate(model.layers):
        for lstm, suffix in zip(ways, ("", "_reverse"), strict=True):
            for key, parameter in lstm.named_parameters():
                getattr(theirs, key.replace("l0", f"l{layer}") + suffix).data.copy_(parameter)
    packed = nn.utils.rnn.pack_padded_sequence(model.embedding(tokens), lengths, True, enforce_sorted=False)
    outputs, _ = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], True, padding_value=-math.inf)
    torch.testing.assert_close(model(tokens), model.head(outputs.amax(1)))


def test_pooling_counts_real_positions_only():
    x, real = torch.randn(3, 4, 5), torch.tensor([[True] * 4, [True, False, True, False], [False] * 4])
    for how, function in (("mean", lambda t: t.mean(0)), ("max", lambda t: t.amax(0))):
        found = pooled(x, real, how)
        torch.testing.assert_close(found[0], function(x[0]))
        torch.testing.assert_close(found[1], function(x[1, [0, 2]]))
        assert not found[2].any()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=4))
def test_reversing_texts_twice_gives_them_back(lengths):
    x, lengths = torch.randn(len(lengths), 6, 2), torch.tensor(lengths)
    once = reversed_texts(x, lengths)
    assert torch.equal(reversed_texts(once, lengths), x)
    for row, length in enumerate(lengths.tolist()):
        assert torch.equal(once[row, :length], x[row, :length].flip(0))
        assert torch.equal(once[row, length:], x[row, length:])


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("gpt", {"dim": 10, "heads": 3}, "model.heads=3 must divide model.dim=10."),
        ("gpt", {"dim": 0}, "model.dim=0 must be a whole number of at least 1."),
        ("gpt", {"heads": 2.0}, "model.heads=2.0 must be a whole number"),
        ("gpt", {"depth": 0}, "model.depth=0 must be a whole number"),
        ("gpt", {"mlp_ratio": 0}, "model.mlp_ratio=0 must be a finite number above 0."),
        ("gpt", {"positions": "sine"}, "model.positions=sine must be one of learned, rotary."),
        ("gpt", {"tied": "false"}, "model.tied=.* must be true or false."),
        ("gpt", {"bias": 1}, "model.bias=1 must be true or false."),
        ("gpt", {"dropout": 1.0}, r"model.dropout=1.0 must be a number in \[0, 1\)."),
        ("gpt", {"attention_dropout": -0.1}, "model.attention_dropout=-0.1 must be"),
        ("gpt", {"dim": 6, "heads": 2, "positions": "rotary"}, "is 3 wide; allowed is an even width."),
        ("text_transformer", {"dim": 10, "heads": 3}, "model.heads=3 must divide model.dim=10."),
        ("text_transformer", {"pooling": "max"}, "model.pooling=max must be one of mean, class_token."),
        ("text_transformer", {"attention_dropout": 2}, "model.attention_dropout=2 must be"),
        ("text_transformer", {"depth": True}, "model.depth=true must be a whole number"),
        ("text_lstm", {"pooling": "last"}, "model.pooling=last must be one of max, mean."),
        ("text_lstm", {"layers": 0}, "model.layers=0 must be a whole number"),
        ("text_lstm", {"embedding": -1}, "model.embedding=-1 must be a whole number"),
        ("text_lstm", {"bidirectional": 1}, "model.bidirectional=1 must be true or false."),
        ("text_lstm", {"forget_bias": math.inf}, "model.forget_bias=inf must be a finite number."),
        ("lstm_lm", {"hidden": 0}, "model.hidden=0 must be a whole number"),
        ("lstm_lm", {"layers": 1.5}, "model.layers=1.5 must be a whole number"),
        ("lstm_lm", {"dropout": 1}, "model.dropout=1 must be"),
        ("lstm_lm", {"tied": 0}, "model.tied=0 must be true or false."),
    ],
)
def test_wrong_values_are_refused_in_a_sentence(name, overrides, message):
    node = yaml(name) | overrides
    kind = get_class(node.pop("_target_"))
    live = {key: value for key, value in LIVE.items() if key in inspect.signature(kind).parameters}
    with pytest.raises(ConfigError, match=message):
        kind(**live, **node)
