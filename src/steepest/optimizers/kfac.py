"""K-FAC."""

import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from steepest.errors import ConfigError, shown
from steepest.optimizers.kronecker import Factored, damped_inverses, factored, times
from steepest.optimizers.rule import GlobalRule, Hyperparameters, Shared, State, as_minimised, at_least, fractions


class KFAC(GlobalRule):
    """K-FAC: natural gradient, a layer's Fisher matrix a Kronecker product. Martens and Grosse 2015, arXiv:1503.05671.

        A_k = e_k A_{k-1} + (1 - e_k) E[a a^T],   G_k = e_k G_{k-1} + (1 - e_k) E[g g^T],   e_k = min(1 - 1/k, beta)
        pi  = sqrt((tr A / dim A) / (tr G / dim G))
        d_t = nu (G + sqrt(damping) / pi I)^-1 [g_W g_b] (A + pi sqrt(damping) I)^-1
        v_t = momentum v_{t-1} + d_t
        x_t = x_{t-1} - lr v_t
        nu  = min(1, sqrt(kl_clip / sum lr^2 d.g))     over all layers; Ba et al. 2017; 1 for kl_clip = null

    a are a layer's inputs with a 1 for the bias, g the gradients at its outputs (`kronecker.Factored` says how
    positions count). Factored are nn.Linear, nn.Conv2d without groups and nn.Embedding; all other parameters (norms,
    recurrent and attention weights, shared weights) have d_t = g_t: SGD with momentum. So has a layer that nothing went
    through forwards yet, its weights having been used elsewhere.

    The paper draws targets from the model's predictions for G; this is the empirical Fisher matrix, from the
    training's own backward pass. It has nu and momentum from the quadratic model, and adapts the damping; here they
    are constants, and damping = 0 takes a pseudo-inverse where one is needed. The inverses are renewed in the first 3
    steps, as in its section 8, and then once in `every` steps.

    Hooks on `module` see training passes alone, and must not see a scaled loss (float16). `close` removes them.
    Gradients that were zeroed are not counted. Several ranks add up what they saw: they equal one with all examples.
    """

    reach = "module"
    takes_shards = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        momentum: float = 0.9,
        damping: float = 0.1,
        beta: float = 0.95,
        every: int = 10,
        factors_every: int = 1,
        kl_clip: float | None = 1e-3,
        *,
        module: nn.Module | None = None,
        **shared: Unpack[Shared],
    ) -> None:
        if not isinstance(module, nn.Module):
            raise ConfigError(f"module={shown(module)} is not possible for KFAC; allowed is the nn.Module to train.")
        fractions(momentum=momentum, beta=beta)
        at_least(0.0, damping=damping)
        for key, value in (("every", every), ("factors_every", factors_every)):
            if type(value) is not int or value < 1:
                raise ConfigError(f"optimizer.{key}={shown(value)} is not possible; allowed are 1, 2, 3, ...")
        if kl_clip is not None and not 0.0 < kl_clip < float("inf"):
            raise ConfigError(f"optimizer.kl_clip={kl_clip} is not possible; allowed is null, or a number above 0.")
        own = {"lr": lr, "momentum": momentum, "damping": damping, "beta": beta}
        rhythm = {"every": every, "factors_every": factors_every}
        super().__init__(params, {**own, **rhythm, "kl_clip": kl_clip}, **shared)
        self.module = module
        self._look_in()

    def _check(self, values: Hyperparameters) -> None:
        type(self)([torch.zeros(1)], module=nn.Module(), **values)

    def _look_in(self) -> None:
        """Find the layers of the module, and watch what goes through them."""
        layers = factored(self.module, [p for h in self.param_groups for p in h["params"]])
        self._layers: dict[nn.Module, Factored] = {layer.layer: layer for layer in layers}
        self._factored = {p for layer in self._layers.values() for p in layer.parameters}
        self._pass: object = None
        handles = [self.module.register_forward_pre_hook(Hook(self._begin_pass))]
        handles += [layer.register_forward_hook(Hook(self._watch), with_kwargs=True) for layer in self._layers]
        handles += [self.module.register_forward_hook(Hook(self._end_pass), always_call=True)]
        self._unhook = weakref.finalize(self, _remove, handles)

    def __getstate__(self) -> dict[str, Any]:
        """For a copy, together with its module: it looks into that anew."""
        looks = ("_layers", "_factored", "_pass", "_unhook")
        return {key: value for key, value in super().__getstate__().items() if key not in looks}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """As `torch.optim.Optimizer`, which also loads checkpoints by it; a copy looks into its own module."""
        super().__setstate__(state)
        if "module" in state:
            self._look_in()

    def close(self) -> None:
        """Remove the hooks; nothing is learnt of the curvature from then on."""
        self._unhook()

    def treats_as_matrix(self, p: Tensor, h: Hyperparameters) -> bool:
        """Whether a parameter is preconditioned, and not left to SGD with momentum."""
        return p in self._factored

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As `torch.optim.Optimizer.zero_grad`; what backward passes have shown of the layers is dropped too."""
        super().zero_grad(set_to_none)
        for layer in self._layers.values():
            layer.forget()

    def init(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """v_0 = 0."""
        state["v"] = torch.zeros_like(p)

    def survey(self, seen: Sequence[tuple[Tensor, Tensor, State, Hyperparameters]]) -> None:
        """Put d_t into the states of the parameters of all layers, for `update`."""
        params = [p for h in self.param_groups for p in h["params"] if p.grad is not None]
        given = {p: (as_minimised(x, g, h), h) for p, (x, g, _, h) in zip(params, seen, strict=True)}
        found: list[tuple[Tensor, Tensor]] = []
        for layer in self._layers.values():
            if layer.weight in given:
                state, h = self.state[layer.weight], given[layer.weight][1]
                self._learn(layer, state, h)
                if "A" in state:
                    g = layer.matrix(*(given[p][0] if p in given else torch.zeros_like(p) for p in layer.parameters))
                    d = times(state["G_inv"] @ g, state["A_inv"])
                    found += [(p, d) for p, d in zip(layer.parameters, layer.split(d), strict=True) if p in given]
            layer.forget()
        change = sum((d * given[p][0]).sum() * given[p][1]["lr"] ** 2 for p, d in found)
        for p, d in found:
            kl_clip = given[p][1]["kl_clip"]
            nu = 1.0 if kl_clip is None else (kl_clip / change.clamp(min=0.0)).sqrt().clamp(max=1.0)
            self.state[p]["d"] = d * nu

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """The last two lines of the formula."""
        d = state.pop("d", g)
        v = state["v"].mul_(h["momentum"]).add_(d)
        p.add_(v, alpha=-h["lr"])

    def _learn(self, layer: Factored, state: State, h: Hyperparameters) -> None:
        """Average the factors, and invert them, where the step is one to do so."""
        before = state["step"] - 1
        if before % self._rhythm == 0 and (new := layer.factors()):
            k = state["averaged"] = state.get("averaged", 0) + 1
            e = min(1 - 1 / k, h["beta"])
            for name, factor in zip("AG", new, strict=True):
                state[name] = state[name].lerp_(factor, 1 - e) if name in state else factor
        if "A" in state and (before < 3 or before % h["every"] == 0 or "A_inv" not in state):
            state["A_inv"], state["G_inv"] = damped_inverses(state["A"], state["G"], h["damping"])

    @property
    def _rhythm(self) -> int:
        """Steps between two looks at the factors: one number for all groups, since ranks must agree on it."""
        return self.param_groups[0]["factors_every"]

    def _begin_pass(self, *_: Any) -> None:
        self._pass = object()

    def _end_pass(self, *_: Any) -> None:
        self._pass = None

    def _watch(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        """Wait for the gradient at a layer's output, in training and where the next step averages the factors."""
        layer = self._layers[module]
        due = self.state.get(layer.weight, {}).get("step", 0) % self._rhythm == 0
        if not (due and self.module.training and torch.is_grad_enabled() and layer.weight.requires_grad):
            return
        if output.dtype is torch.float16:
            raise RuntimeError("KFAC cannot take float16, whose scaled loss it would see as curvature; take bfloat16.")
        x = args[0] if args else kwargs["input"]
        output.register_hook(partial(_capture, layer, [x.detach()], self._pass or object()))


class Hook:
    """Calls a method of an object as long as that lives. Its copies, as in a copied model, do nothing."""

    def __init__(self, method: Callable[..., None] | None = None) -> None:
        self.method = weakref.WeakMethod(method) if method else lambda: None

    def __call__(self, *args: Any) -> None:
        """Call the method."""
        if method := self.method():
            method(*args)

    def __reduce__(self) -> tuple[Any, ...]:
        return Hook, ()


def _capture(layer: Factored, held: list[Tensor], forward_pass: object, g: Tensor) -> None:
    """The first gradient at an output; the input, held until then, is let go."""
    if held:
        layer.add(held.pop(), g, forward_pass)


def _remove(handles: Iterable[RemovableHandle]) -> None:
    for handle in handles:
        handle.remove()
