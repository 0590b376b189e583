import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_lightning.callbacks import Callback

from steepest.datasets.augment import Augment
from steepest.datasets.loader import Loader
from steepest.datasets.memory import MemoryImages
from steepest.datasets.order import augmentation_generator, epoch_order, holdout
from steepest.errors import ConfigError

PLAIN = Augment([0.0], [1.0])


def examples(n, shape=(1, 4, 5)):
    """Random images whose label is their index."""
    images = torch.from_numpy(np.random.default_rng(n).integers(0, 256, (n, *shape), dtype=np.uint8))
    return MemoryImages(images, torch.arange(n))


def loader(n, batch_size, augment=None, **options):
    data = examples(n)
    augment = Augment([0.5], [0.25], crop_padding=1, flip=True) if augment is None else augment
    return Loader(data.batches, n, batch_size, augment=augment, **options)


def epoch_of(some):
    """As Lightning does it: as many batches as the length says, never asking for one more."""
    iterator = iter(some)
    return [next(iterator) for _ in range(len(some))]


def labels_of(batches):
    return [y.tolist() for _, y in batches]


def flat(batches):
    return [label for _, y in batches for label in y.tolist()]


def same(some, others):
    return len(some) == len(others) and all(
        torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in zip(some, others, strict=True)
    )


sizes = st.fixed_dictionaries(
    {"n": st.integers(1, 60), "batch": st.integers(1, 9), "accumulate": st.integers(1, 4), "world": st.integers(1, 3)}
)


@given(sizes, st.booleans(), st.data())
@settings(max_examples=150, deadline=None)
def test_a_run_resumed_at_any_position_goes_on_with_the_batches_of_the_uninterrupted_one(size, exact, data):
    n, accumulate, world = size["n"], size["accumulate"], size["world"]
    if (accumulate if exact else accumulate * size["batch"]) * world > n:
        return
    options = {"accumulate": accumulate, "exact": exact, "rank": data.draw(st.integers(0, world - 1)), "world": world}
    whole = loader(n, size["batch"], seed=3, **options)
    reference = [batch for _ in range(3) for batch in epoch_of(whole)]
    position = data.draw(st.integers(0, 3 * len(whole) - 1))

    first = loader(n, size["batch"], seed=3, **options)
    states = [first.state_dict()]
    for _ in range(3):
        iterator = iter(first)
        for _ in range(len(first)):
            next(iterator)
            states.append(first.state_dict())
    resumed = loader(n, size["batch"], seed=3, **options)
    resumed.load_state_dict(states[position])
    rest = []
    while len(rest) < len(reference) - position:
        in_epoch = (position + len(rest)) % len(whole)
        iterator = iter(resumed)
        rest += [next(iterator) for _ in range(len(whole) - in_epoch)]
    assert same(rest, reference[position:])


@given(sizes, st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_an_epoch_visits_each_example_at_most_once_in_full_batches_and_whole_steps(size, epoch):
    n, batch, accumulate, world = size.values()
    step = batch * accumulate * world
    ranks = [loader(n, batch, PLAIN, accumulate=accumulate, rank=r, world=world) for r in range(world)]
    if step > n:
        with pytest.raises(ConfigError, match=rf"batch\.size={step} .*1 to {n} "):
            len(ranks[0])
        return
    for one in ranks:
        one.load_state_dict({"epoch": epoch, "batch": 0})
    seen = [labels_of(epoch_of(one)) for one in ranks]
    assert {len(batches) for batches in seen} == {n // step * accumulate}
    assert all(len(labels) == batch for batches in seen for labels in batches)
    visited = [label for batches in seen for labels in batches for label in labels]
    assert len(visited) == len(set(visited)) == n // step * step


@given(sizes)
@settings(max_examples=100, deadline=None)
def test_ranks_together_see_the_batches_of_one_rank_with_a_larger_batch_augmentation_included(size):
    n, batch, accumulate, world = size.values()
    if batch * accumulate * world > n:
        return
    alone = loader(n, batch * world, accumulate=accumulate, rank=0, world=1)
    shared = [epoch_of(loader(n, batch, accumulate=accumulate, rank=r, world=world)) for r in range(world)]
    joined = [
        (torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])) for parts in zip(*shared, strict=True)
    ]
    assert same(joined, epoch_of(alone))


@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 5))
@settings(max_examples=150, deadline=None)
def test_evaluation_sees_every_example_once_over_the_ranks_which_all_do_the_same_number_of_batches(n, batch, world):
    ranks = [epoch_of(loader(n, batch, PLAIN, shuffle=False, rank=r, world=world)) if n else [] for r in range(world)]
    counts = [sum(len(y) for _, y in one) for one in ranks]
    assert sorted(label for one in ranks for _, y in one for label in y.tolist()) == list(range(n))
    assert all(len(y) <= batch for one in ranks for _, y in one)
    assert len({len(one) for one in ranks}) == 1
    assert max(counts) - min(counts) <= 1


def test_fewer_test_images_than_ranks_are_shared_without_duplicates_and_with_an_empty_batch():
    ranks = [epoch_of(loader(2, 8, shuffle=False, rank=r, world=3)) for r in range(3)]
    assert [labels_of(one) for one in ranks] == [[[0]], [[1]], [[]]]
    assert ranks[2][0][0].shape == (0, 1, 4, 5)


@given(st.integers(1, 80), st.integers(1, 6), st.integers(1, 3), st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_an_exact_step_takes_every_example_once_in_micro_batches_that_differ_by_one_at_most(
    n, accumulate, world, epoch
):
    ranks = [loader(n, 0, PLAIN, accumulate=accumulate, exact=True, rank=r, world=world) for r in range(world)]
    if accumulate * world > n:
        with pytest.raises(ConfigError, match=r"batch\.micro_size"):
            len(ranks[0])
        return
    for one in ranks:
        one.load_state_dict({"epoch": epoch, "batch": 0})
    batches = [labels for one in ranks for labels in labels_of(epoch_of(one))]
    assert [len(one) for one in ranks] == [accumulate] * world
    assert sorted(label for labels in batches for label in labels) == list(range(n))
    assert max(map(len, batches)) - min(map(len, batches)) <= 1


def test_another_remainder_is_left_out_in_each_epoch():
    some = loader(10, 7, PLAIN)
    left = [frozenset(range(10)) - set(flat(epoch_of(some))) for _ in range(20)]
    assert {len(rest) for rest in left} == {3}
    assert len(set(left)) > 10


def test_every_example_is_visited_equally_often_in_the_long_run():
    some = loader(10, 7, PLAIN)
    visits = np.bincount([label for _ in range(2000) for label in flat(epoch_of(some))], minlength=10)
    assert np.all(abs(visits - 1400) < 5 * np.sqrt(2000 * 0.7 * 0.3))


def test_order_and_augmentation_depend_on_the_seed_and_the_epoch_alone():
    torch.manual_seed(1)
    first = epoch_of(loader(50, 8, seed=5))
    torch.manual_seed(2)
    torch.rand(3)
    again = loader(50, 8, seed=5)
    assert same(epoch_of(again), first)
    assert labels_of(epoch_of(again)) != labels_of(first)
    assert labels_of(epoch_of(loader(50, 8, seed=6))) != labels_of(first)


def test_the_loader_leaves_the_global_generators_alone():
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    epoch_of(loader(50, 8))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_an_abandoned_epoch_starts_again_and_a_complete_one_is_followed_by_the_next():
    some = loader(20, 5)
    reference = [epoch_of(loader_at) for loader_at in [some] * 2]
    other = loader(20, 5)
    iterator = iter(other)
    next(iterator), next(iterator)
    assert same(epoch_of(other), reference[0])
    assert same(epoch_of(other), reference[1])
    assert same(list(loader(20, 5)), reference[0])


def test_an_epoch_that_was_resumed_and_then_abandoned_starts_again_from_its_first_batch():
    some = loader(20, 5)
    some.load_state_dict({"epoch": 0, "batch": 2})
    next(iter(some))
    assert same(epoch_of(some), epoch_of(loader(20, 5)))


def test_iterators_that_nobody_uses_do_not_move_a_loaded_position():
    some = loader(20, 5)
    reference = [epoch_of(some) for _ in range(2)][1]
    other = loader(20, 5)
    other.load_state_dict({"epoch": 1, "batch": 2})
    iter(other)
    iterator = iter(other)
    assert other.state_dict() == {"epoch": 1, "batch": 2}
    assert same([next(iterator), next(iterator)], reference[2:])


def test_an_iterator_that_was_replaced_does_not_move_the_position():
    some = loader(20, 5)
    old = iter(some)
    next(old)
    new = iter(some)
    next(new)
    next(old), next(old)
    assert some.state_dict() == {"epoch": 0, "batch": 1}


def test_the_state_at_the_end_of_an_epoch_is_the_start_of_the_next():
    some = loader(20, 5)
    epoch_of(some)
    assert some.state_dict() == {"epoch": 1, "batch": 0}


def test_a_position_of_another_batch_size_is_refused():
    some = loader(20, 5)
    some.load_state_dict({"epoch": 0, "batch": 7})
    with pytest.raises(ConfigError, match=r"batch 7 .*4 batches"):
        next(iter(some))


def test_the_ranks_of_torch_distributed_are_used_when_none_are_given(monkeypatch):
    some = loader(20, 5, PLAIN)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    assert labels_of(epoch_of(some)) == labels_of(epoch_of(loader(20, 5, PLAIN, rank=1, world=2)))


@given(st.integers(0, 500), st.floats(0, 0.99), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_a_split_is_disjoint_complete_and_seeded(n, fraction, seed):
    kept, held = holdout(n, fraction, seed)
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(n))
    assert abs(len(held) - fraction * n) <= 0.5
    assert torch.equal(holdout(n, fraction, seed)[1], held)


def test_splits_of_other_seeds_differ():
    assert not torch.equal(holdout(1000, 0.1, 0)[1], holdout(1000, 0.1, 1)[1])


# augmentation


def oracle(images, draws, padding, mean, std):
    """One image after the other, in float64."""
    made = []
    for image, row, column, mirrored in zip(images.numpy(), *draws.tolist(), strict=True):
        turned = image[..., ::-1] if mirrored else image
        padded = np.pad(turned, ((0, 0), (padding, padding), (padding, padding)))
        height, width = image.shape[1:]
        window = padded[:, row : row + height, column : column + width]
        made.append([(channel / 255 - m) / s for channel, m, s in zip(window, mean, std, strict=True)])
    return torch.tensor(np.array(made).reshape(images.shape))


@given(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7), st.integers(0, 4), st.booleans(), st.integers(1, 9))
@settings(max_examples=80, deadline=None)
def test_whole_batch_augmentation_equals_a_slow_loop_over_images(channels, height, width, padding, flip, batch):
    mean, std = [0.1, 0.5, 0.7][:channels], [0.2, 0.3, 1.5][:channels]
    augment = Augment(mean, std, padding, flip)
    for seed, size in enumerate((batch, batch + 2, 1)):  # the canvas is kept from call to call
        images = examples(size, (channels, height, width)).images
        draws = augment.draw(augmentation_generator(seed, 0), size)
        if draws is None:
            draws, drawn = torch.zeros(3, size, dtype=torch.int64), None
        else:
            drawn = draws
        made = augment(images, drawn)
        assert made.dtype == torch.float32
        torch.testing.assert_close(made.double(), oracle(images, draws, padding, mean, std), rtol=0, atol=2e-6)


def test_a_loader_augments_each_example_with_the_draw_of_its_place_in_the_epoch():
    data, augment = examples(30, (2, 6, 5)), Augment([0.1, 0.2], [0.3, 0.4], 2, True)
    some = Loader(data.batches, 30, 7, augment=augment, seed=4)
    epoch_of(some)
    order, draws = epoch_order(4, 1, 30), augment.draw(augmentation_generator(4, 1), 30)
    images = torch.cat([x for x, _ in epoch_of(some)])
    expected = oracle(data.images[order[:28]], draws[:, :28], 2, [0.1, 0.2], [0.3, 0.4])
    torch.testing.assert_close(images.double(), expected, rtol=0, atol=2e-6)


def test_offsets_and_flips_are_uniform_and_drawn_for_each_image():
    draws = Augment([0.5], [0.5], 2, True).draw(augmentation_generator(0, 0), 50_000)
    for values, count in zip(draws, (5, 5, 2), strict=True):
        share = torch.bincount(values, minlength=count) / 50_000
        assert len(share) == count
        assert (share - 1 / count).abs().max() < 0.01
    assert len(draws[:, :128].unique(dim=1).T) > 40


def test_augmentation_and_order_have_random_numbers_of_their_own():
    assert augmentation_generator(0, 0).permutation(100).tolist() != epoch_order(0, 0, 100).tolist()


def test_augmentation_is_another_one_in_each_epoch():
    augment = Augment([0.5], [0.5], 4, True)
    first, second = (augment.draw(augmentation_generator(0, epoch), 100) for epoch in (0, 1))
    assert not torch.equal(first, second)


def test_evaluation_neither_crops_nor_flips_nor_shuffles():
    data = examples(9)
    some = Loader(data.batches, 9, 4, augment=Augment([0.0], [1 / 255], 2, True), shuffle=False)
    assert torch.equal(torch.cat([x for x, _ in epoch_of(some)]), data.images.float())
    assert torch.equal(torch.cat([y for _, y in epoch_of(some)]), torch.arange(9))


def test_batches_stay_as_they_are_while_the_next_ones_are_made():
    some = loader(40, 10)
    kept = epoch_of(some)
    copies = [(x.clone(), y.clone()) for x, y in kept]
    epoch_of(some)
    assert same(kept, copies)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_batches_bit_for_bit():
    data, device = examples(500, (3, 9, 8)), torch.device("cuda")
    make = [
        Loader(place.batches, 500, 64, augment=Augment([0.1] * 3, [0.3] * 3, 3, True))
        for place in (data, data.to(device))
    ]
    batches = [[(x.cpu(), y.cpu()) for x, y in epoch_of(some)] for some in make]
    assert same(*batches)


# in Lightning


class Watcher(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(20, 1)
        self.seen = []

    def training_step(self, batch, _):
        self.seen.append((batch[0].sum().item(), batch[1].tolist()))
        return self.layer(batch[0].flatten(1)).square().mean()

    def validation_step(self, batch, _):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Saver(Callback):
    """Saves in the hooks where all of Lightning's counters agree; at the start and end of an epoch they do not."""

    def __init__(self, folder):
        self.folder, self.saved = folder, []

    def save(self, trainer, module, *_):
        path = self.folder / f"{len(self.saved)}.ckpt"
        self.saved.append((path, len(module.seen)))
        trainer.save_checkpoint(path)

    on_train_batch_end = on_validation_end = on_train_end = save


def fit(callbacks, steps, resume=None):
    module = Watcher()
    trainer = pl.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        val_check_interval=3,
        check_val_every_n_epoch=None,
        callbacks=callbacks,
    )
    three_batches_an_epoch = loader(16, 5)
    trainer.fit(module, three_batches_an_epoch, loader(4, 4, shuffle=False), ckpt_path=resume)
    return module.seen


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("steps", [6, 7])
def test_lightning_resumes_with_the_next_batch_also_at_the_end_of_an_epoch(tmp_path, steps):
    saver = Saver(tmp_path)
    fit([saver], steps)
    assert len(saver.saved) == steps + 2 + 1
    reference = fit([], 9)
    for path, done in saver.saved:
        assert fit([], 9, resume=path) == reference[done:], path
