import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from killing import content, differences

from steepest.assemble import assemble
from steepest.build import build
from steepest.config import compose, conf_dir
from steepest.errors import ConfigError
from steepest.launchers.machine import settle
from steepest.runs.folder import RunFolder
from steepest.tasks.objective import PATH_POINTS
from steepest.tasks.objective import Path as Way
from steepest.train import train

QUIET = ["callbacks=none", "logger=none", "threads=1"]
NAMES = sorted(path.stem for path in (conf_dir() / "dataset").glob("*.yaml") if "objectives." in path.read_text())
SMALL = {"worst_case": ["dataset.dimension=8"]}
CONVEX = ["quadratic", "worst_case", "logistic_regression"]


def objective(name, *words):
    return build(compose([f"dataset={name}", *SMALL.get(name, []), *words]).dataset)


def gradient(function, x):
    return torch.func.grad(function.value)(x)


def hessian(function, x):
    return torch.func.hessian(function.value)(x)


def points(function, count=40, spread=2.0):
    """Random points around a minimizer and the start."""
    draw = torch.Generator().manual_seed(1)
    centers = torch.stack([function.minimizers[0], function.start])
    offsets = spread * torch.randn(count, function.dimension, generator=draw, dtype=torch.float64)
    return centers[torch.arange(count) % 2] + offsets


def test_all_functions_are_found():
    assert len(NAMES) >= 11
    assert {"quadratic", "rosenbrock", "logistic_regression"} <= {*NAMES}


@pytest.mark.parametrize("name", NAMES)
class TestEvery:
    def test_the_minimum_is_taken_at_the_minimizers(self, name):
        function = objective(name)
        assert function.minimizers.dtype == function.start.dtype == torch.float64
        values = function.value(function.minimizers)
        np.testing.assert_allclose(values, function.minimum, atol=1e-12, rtol=1e-12)

    def test_no_point_around_is_lower(self, name):
        function = objective(name)
        near = function.minimizers[0] + 0.01 * (points(function) - function.minimizers[0])
        assert (function.value(torch.cat([points(function), near])) >= function.minimum).all()

    def test_the_gradient_is_zero_at_the_minimizers_and_the_curvature_is_not_negative(self, name):
        function = objective(name)
        for minimizer in function.minimizers:
            assert gradient(function, minimizer).abs().max() < 1e-10
            if name != "ackley":  # a cusp
                assert torch.linalg.eigvalsh(hessian(function, minimizer)).min() > 0

    def test_derivatives_are_right(self, name):
        function = objective(name)
        x = points(function, 3).requires_grad_()
        assert torch.autograd.gradcheck(function.value, x)
        if function.dimension <= 10:
            assert torch.autograd.gradgradcheck(function.value, x)

    def test_points_are_looked_at_one_by_one_or_together(self, name):
        function = objective(name)
        x = points(function, 6)
        expected = torch.stack([function.value(point) for point in x])
        torch.testing.assert_close(function.value(x.reshape(2, 3, -1)), expected.reshape(2, 3))
        assert function.value(x.float()).dtype == torch.float32

    def test_the_constants_bound_the_curvature(self, name):
        function = objective(name)
        spectra = torch.stack([torch.linalg.eigvalsh(hessian(function, x)) for x in points(function)])
        if function.L is not None:
            assert spectra.max() <= function.L * (1 + 1e-9)
        if function.mu is not None:
            assert spectra.min() >= function.mu * (1 - 1e-9)
            assert name in CONVEX

    def test_the_start_lies_away_from_the_minimum_and_has_a_gradient(self, name):
        function = objective(name)
        assert function.value(function.start) > function.minimum + 1e-3
        assert gradient(function, function.start).norm() > 1e-3

    def test_shared_values_are_checked(self, name):
        with pytest.raises(ConfigError, match=r"dataset.noise=-1.* is not possible; allowed are numbers from 0"):
            objective(name, "dataset.noise=-1")
        with pytest.raises(ConfigError, match=r"dataset.epoch_examples=0 is not possible"):
            objective(name, "dataset.epoch_examples=0")


class TestConstants:
    @pytest.mark.parametrize("seed", ["null", "0", "3"])
    def test_the_quadratic_has_the_curvatures_that_were_asked_for(self, seed):
        words = ["dataset.dimension=5", "dataset.condition=81", "dataset.lipschitz=3", f"dataset.rotation_seed={seed}"]
        function = objective("quadratic", *words)
        spectrum = torch.linalg.eigvalsh(hessian(function, function.start))
        torch.testing.assert_close(spectrum, torch.tensor([3 / 81, 3 / 27, 3 / 9, 1, 3], dtype=torch.float64))
        assert (function.mu, function.L) == pytest.approx((3 / 81, 3))
        off_diagonal = function.matrix - function.matrix.diag().diag()
        assert (off_diagonal.abs().max() > 0.01) == (seed != "null")
        assert function.value(function.start) == pytest.approx(spectrum.sum().item() / 2)

    def test_the_hardest_function_is_as_curved_as_its_formula_says(self):
        function = objective("worst_case", "dataset.lipschitz=5")
        spectrum = torch.linalg.eigvalsh(hessian(function, function.start))
        assert (spectrum[0].item(), spectrum[-1].item()) == pytest.approx((function.mu, function.L))
        assert function.L < 5

    def test_the_curvature_of_the_logistic_regression_comes_near_its_bound_at_the_start(self):
        function = objective("logistic_regression")
        assert torch.linalg.eigvalsh(hessian(function, function.start))[-1].item() == pytest.approx(function.L)

    def test_the_least_curvature_of_the_well_and_the_greatest_of_the_bowl(self):
        ring = torch.tensor([math.sqrt(3), 0.0], dtype=torch.float64)
        well = objective("plateau")
        assert torch.linalg.eigvalsh(hessian(well, ring))[0].item() == pytest.approx(-2 * math.exp(-1.5))
        assert torch.linalg.eigvalsh(hessian(well, well.minimizers[0]))[-1].item() == pytest.approx(well.L)
        bowl = objective("rastrigin")
        assert torch.linalg.eigvalsh(hessian(bowl, bowl.minimizers[0]))[-1].item() == pytest.approx(bowl.L)

    def test_published_values(self):
        curvature = torch.linalg.eigvalsh(hessian(objective("rosenbrock"), torch.ones(2, dtype=torch.float64)))
        assert curvature.tolist() == pytest.approx([0.39936, 1001.6006], rel=1e-5)
        assert objective("rosenbrock").value(objective("rosenbrock").start).item() == pytest.approx(24.2)
        assert objective("styblinski_tang").minimum == pytest.approx(-39.16616570377 * 2)
        known = [[-3.779310, -3.283186], [-2.805118, 3.131312], [3.0, 2.0], [3.584428, -1.848126]]
        np.testing.assert_allclose(objective("himmelblau").minimizers, known, atol=1e-6)

    @pytest.mark.parametrize(
        ("name", "words", "message"),
        [
            (
                "rosenbrock",
                ["dataset.dimension=1"],
                "dataset.dimension=1 is not possible; allowed are whole numbers",
            ),
            ("ackley", ["dataset.dimension=0"], "dataset.dimension=0 is not possible"),
            (
                "quadratic",
                ["dataset.condition=0.5"],
                "dataset.condition=0.5 is not possible; allowed are numbers",
            ),
            ("quadratic", ["dataset.lipschitz=0"], "dataset.lipschitz=0 is not possible"),
            ("quadratic", ["dataset.rotation_seed=-1"], "dataset.rotation_seed=-1 is not possible; allowed are null"),
            ("worst_case", ["dataset.lipschitz=-1"], "dataset.lipschitz=-1.* is not possible"),
            ("logistic_regression", ["dataset.l2=0"], "dataset.l2=0 is not possible; allowed are numbers above 0"),
            ("plateau", ["dataset.distance=0"], "dataset.distance=0 is not possible"),
        ],
    )
    def test_bad_values_are_said(self, name, words, message):
        with pytest.raises(ConfigError, match=message):
            objective(name, *words)


class TestTheory:
    @pytest.mark.parametrize("name", CONVEX)
    def test_gradient_descent_with_a_step_of_one_over_l_goes_down_as_the_theory_says(self, name):
        """Nesterov 2018, theorem 2.1.14 with the sharper rate of a step 1/L: gap_k <= (1 - mu/L)^k gap_0."""
        function = objective(name)
        x, gaps = function.start, []
        for _ in range(60):
            gaps.append(function.value(x).item() - function.minimum)
            x = x - gradient(function, x) / function.L
        assert all(later <= earlier + 1e-15 for earlier, later in itertools.pairwise(gaps))
        rate = 1 - function.mu / function.L
        assert all(gap <= rate**k * gaps[0] + 1e-15 for k, gap in enumerate(gaps))

    def test_the_quadratic_shrinks_along_each_eigenvector_by_its_own_factor(self):
        function = objective("quadratic", "dataset.condition=10")
        x = function.start
        for _ in range(20):
            x = x - gradient(function, x) / function.L
        eigenvalues, q = torch.linalg.eigh(function.matrix)
        expected = (1 - eigenvalues / function.L) ** 20
        torch.testing.assert_close((q.T @ (x - function.minimizers[0])).abs(), expected, atol=1e-12, rtol=1e-6)

    @pytest.mark.parametrize("steps", [1, 3, 7, 15])
    def test_no_gradient_method_beats_the_lower_bound_of_the_hardest_function(self, steps):
        """Nesterov 2018, theorem 2.1.7; conjugate gradients are the best method of that kind."""
        function = objective("worst_case", "dataset.dimension=31", "dataset.lipschitz=4")
        A = hessian(function, function.start)
        b, x = -gradient(function, function.start), function.start
        space, _ = torch.linalg.qr(torch.stack([torch.linalg.matrix_power(A, k) @ b for k in range(steps)], 1))
        x = space @ torch.linalg.lstsq(space.T @ A @ space, space.T @ b).solution
        assert function.value(x).item() == pytest.approx(4 / 8 * (1 / (steps + 1) - 1))
        if 2 * steps + 1 == 31:
            bound = 3 * 4 * function.minimizers[0].square().sum() / (32 * (steps + 1) ** 2)
            assert function.value(x) - function.minimum >= bound

    def test_a_run_of_sgd_is_gradient_descent_in_double_precision(self):
        words = ["experiment=objective", "dataset=quadratic", "optimizer=sgd", "optimizer.lr=1.0", "log.every=1"]
        train(compose([*QUIET, *words, "budget.steps=30"]))
        [path] = Path("runs").glob("r*")
        folder = RunFolder(path)
        function = objective("quadratic")
        x, losses = function.start.float().double(), []  # as weights begin
        for _ in range(30):
            losses.append(function.value(x).item())
            x = x - gradient(function, x)
        found = [row["train/loss"] for row in folder.rows() if "train/loss" in row]
        np.testing.assert_allclose(found, losses, rtol=1e-12)
        metrics = folder.summary["metrics"]
        assert metrics["val/gap"] == metrics["test/gap"] == pytest.approx(function.value(x).item(), rel=1e-6)
        assert metrics["test/distance"] == pytest.approx((x - 1).norm().item(), rel=1e-6)
        assert metrics["test/grad_norm"] == pytest.approx(gradient(function, x).norm().item(), rel=1e-6)
        assert folder.summary["headline"] == {"metric": "val/gap", "value": metrics["val/gap"], "direction": "min"}


def assembled(*words):
    cfg = compose([*QUIET, "experiment=objective", *words])
    settle(cfg)
    return assemble(cfg)


class TestNoise:
    def test_the_gradient_has_the_noise_of_a_batch(self):
        parts = assembled("dataset=quadratic", "dataset.noise=3", "batch.size=16", "dataset.epoch_examples=16000")
        task = parts.task.double()
        exact = gradient(parts.data, task.model.x.detach())
        found = []
        for batch in parts.data.train_dataloader():
            assert batch[0].shape == (16, 10)
            [g] = torch.autograd.grad(task.loss(batch), task.model.parameters())
            found.append(g - exact)
        noise = torch.stack(found)
        assert noise.std().item() == pytest.approx(3 / 4, rel=0.03)
        assert noise.mean().abs().item() < 4 * 3 / math.sqrt(16 * 10_000)

    def test_draws_are_a_function_of_seed_and_epoch(self):
        examples = objective("quadratic", "dataset.noise=1").read()["train"]

        def drawn(seed, epoch, bounds):
            return torch.cat([z for (z,) in examples.batches(examples.order(seed, epoch), bounds)])

        assert torch.equal(drawn(1, 2, [(10, 20)]), drawn(1, 2, [(0, 10), (10, 20)])[10:])
        for seed, epoch in ((1, 3), (2, 2)):
            assert not torch.equal(drawn(1, 2, [(0, 10)]), drawn(seed, epoch, [(0, 10)]))

    def test_without_noise_the_batch_size_does_not_matter(self):
        gaps = []
        for size in (1, 64):
            train(compose([*QUIET, "experiment=objective", f"batch.size={size}", "budget.steps=5", "paths.runs_dir=b"]))
        for path in Path("b").glob("r*"):
            gaps.append(RunFolder(path).summary["metrics"]["test/gap"])
        assert len(gaps) == 2
        assert gaps[0] == gaps[1]

    def test_a_random_start_depends_on_the_seed(self):
        starts = [assembled("model.spread=1", f"seed={seed}").task.model.x for seed in (0, 0, 1)]
        assert torch.equal(starts[0], starts[1])
        assert not torch.equal(starts[0], starts[2])
        with pytest.raises(ConfigError, match=r"model.spread=-1 must be a finite number above 0"):
            assembled("model.spread=-1")


class TestPath:
    def test_a_long_way_is_thinned_and_keeps_its_start(self):
        way = Way()
        for step in range(5000):
            way.add(torch.tensor([float(step), 0.0]), step)
        assert len(way.points) <= PATH_POINTS
        kept = [int(x) for x, _ in way.points]
        assert kept == list(range(0, 5000, way.every))
        other = Way()
        other.load_state_dict(way.state_dict())
        assert other.points == way.points

    def test_only_the_way_of_a_point_in_the_plane_is_kept(self):
        way = Way()
        way.add(torch.zeros(3), 0)
        assert way.points == []

    def test_the_picture_shows_a_function_of_two_variables(self):
        from matplotlib.figure import Figure

        task = assembled().task
        assert task.pictures() == {}
        task.path.add(task.model.x, 0)
        pictures = task.pictures()
        assert [*pictures] == ["path"]
        assert isinstance(pictures["path"], Figure)


def test_a_task_and_a_data_set_that_do_not_fit_say_so():
    with pytest.raises(ConfigError, match="task=objective needs minimum, which dataset=digits does not give"):
        assembled("dataset=digits")
    with pytest.raises(ConfigError, match="model=mlp needs input_shape"):
        assembled("model=mlp")
    with pytest.raises(ConfigError, match="natural_gradient needs a model that gives probabilities"):
        assembled("optimizer=natural_gradient")


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs", "schedule_free_sgd"])
def test_a_cut_run_goes_on_as_if_it_had_not_been(optimizer):
    words = [*QUIET, "experiment=objective", f"optimizer={optimizer}", "optimizer.lr=1e-3", "dataset.noise=0.1"]
    words += ["dataset.epoch_examples=64", "batch.size=8", "batch.micro_size=4"] if optimizer != "lbfgs" else []
    words += ["budget.steps=30", "validation.every=9", "log.every=4", "checkpoint.every_steps=5"]
    train(compose(words))
    [path] = Path("runs").glob("r*")
    folder = RunFolder(path)
    expected = content(folder)
    status = json.loads((folder.path / "status.json").read_text())
    (folder.path / "status.json").write_text(json.dumps({**status, "status": "running"}))
    folder.checkpoint("last").unlink()
    train(compose(words))
    [entry] = folder.status["resumed"]
    assert 0 < entry["opt_step"] < 30
    assert len(expected["checkpoint"]["path"]["points"]) == 30
    assert "\n".join(differences(expected, content(folder))) == ""
