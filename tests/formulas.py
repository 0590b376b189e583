"""The optimizers' formulas a second time, in numpy and float64, written from the papers and not from the rules.

A formula is a function `step(x, g, s, t, h)` that returns the new x of one tensor: s is its state, a dict that holds
x_0 alone before the first step; t counts from 1; h holds the hyperparameters of the parameter's group, by the names of
`conf/optimizer/<name>.yaml`. The gradient g is already that of the function to be minimised, with the L2 penalty in it.
The letters are the papers'.
"""

import math

import numpy as np


def average(s, key, beta, value):
    """The exponential moving average that starts at zero: a_t = beta a_{t-1} + (1 - beta) value."""
    s[key] = beta * s.get(key, 0.0) + (1 - beta) * value
    return s[key]


def norm(x):
    return np.sqrt(np.sum(np.square(x)))


def rms(x):
    return np.sqrt(np.mean(np.square(x)))


# --- gradient descent and momentum


def sgd(x, g, s, t, h):
    """Robbins and Monro 1951; theta(t+1) = theta(t) - alpha grad."""
    return x - h["lr"] * g


def sgd_momentum(x, g, s, t, h):
    """Rumelhart, Hinton, Williams 1986, in the form where the velocity does not hold the learning rate."""
    s["v"] = h["momentum"] * s.get("v", 0.0) + g
    return x - h["lr"] * s["v"]


def heavy_ball(x, g, s, t, h):
    """Polyak 1964; v(t) = gamma v(t-1) + alpha grad, theta(t+1) = theta(t) - v(t)."""
    s["v"] = h["momentum"] * s.get("v", 0.0) + h["lr"] * g
    return x - s["v"]


def nesterov(x, g, s, t, h):
    """Nesterov 1983, as Sutskever et al. 2013 write it.

    lookahead: v(t) = gamma v(t-1) + alpha grad J(theta(t) - gamma v(t-1)), theta(t+1) = theta(t) - v(t). The parameter
    is the point y(t) = theta(t) - gamma v(t-1), since there the gradient is taken; theta = y + gamma v is evaluated.
    torch: the same with the learning rate outside of the velocity, one step on: x - lr (g + gamma v).
    """
    gamma, v = h["momentum"], s.get("v", 0.0)
    if h["form"] == "torch":
        s["v"] = gamma * v + g
        return x - h["lr"] * (g + gamma * s["v"])
    theta = x + gamma * v
    s["v"] = gamma * v + h["lr"] * g
    return (theta - s["v"]) - gamma * s["v"]


def nesterov_evaluated(y, s, h):
    return y if h["form"] == "torch" else y + h["momentum"] * s["v"]


# --- a rate for each entry


def adagrad(x, g, s, t, h):
    """Duchi, Hazan, Singer 2011; G(t) = G(t-1) + g^2, theta - alpha / (sqrt(G) + eps) g."""
    s["G"] = s.get("G", h["initial_accumulator"]) + g**2
    return x - h["lr"] / (np.sqrt(s["G"]) + h["eps"]) * g


def adadelta(x, g, s, t, h):
    """Zeiler 2012, arXiv:1212.5701, Algorithm 1; the paper has lr = 1."""
    before = s.get("E[dx^2]", 0.0)
    dx = -np.sqrt(before + h["eps"]) / np.sqrt(average(s, "E[g^2]", h["rho"], g**2) + h["eps"]) * g
    average(s, "E[dx^2]", h["rho"], dx**2)
    return x + h["lr"] * dx


def rmsprop(x, g, s, t, h):
    """Hinton 2012, lecture 6e; centered: Graves 2013, arXiv:1308.0850, equations 38 to 41 (n - g_bar^2)."""
    n = average(s, "n", h["rho"], g**2)
    if h["centered"]:
        n = n - average(s, "g_bar", h["rho"], g) ** 2
    root = np.sqrt(n + h["eps"]) if h["eps_inside_root"] else np.sqrt(n) + h["eps"]
    s["v"] = h["momentum"] * s.get("v", 0.0) + g / root
    return x - h["lr"] * s["v"]


# --- Adam and its kin


def adam(x, g, s, t, h):
    """Kingma and Ba 2015, arXiv:1412.6980, Algorithm 1."""
    b1, b2 = h["betas"]
    m_hat = average(s, "m", b1, g) / (1 - b1**t)
    v_hat = average(s, "v", b2, g**2) / (1 - b2**t)
    return x - h["lr"] * m_hat / (np.sqrt(v_hat) + h["eps"])


adamw = adam
"""Loshchilov and Hutter 2019, arXiv:1711.05101, Algorithm 2: the decay is apart."""


def amsgrad(x, g, s, t, h):
    """Reddi, Kale, Kumar 2018, arXiv:1904.09237, Algorithm 2, which corrects no bias and has no eps."""
    b1, b2 = h["betas"]
    m, v = average(s, "m", b1, g), average(s, "v", b2, g**2)
    v_hat = s["v_hat"] = np.maximum(s.get("v_hat", 0.0), v)
    if h["bias_correction"]:
        m, v_hat = m / (1 - b1**t), v_hat / (1 - b2**t)
    return x - h["lr"] * m / (np.sqrt(v_hat) + h["eps"])


def adamax(x, g, s, t, h):
    """Kingma and Ba 2015, arXiv:1412.6980, Algorithm 2; eps, that the paper lacks, is beside |g|."""
    b1, b2 = h["betas"]
    m = average(s, "m", b1, g)
    u = s["u"] = np.maximum(b2 * s.get("u", 0.0), np.abs(g) + h["eps"])
    return x - h["lr"] / (1 - b1**t) * m / u


def nadam(x, g, s, t, h):
    """Dozat 2016, Incorporating Nesterov Momentum into Adam, Algorithm 2, with the momentum schedule of its section 3.

    mu_t = b1 (1 - 0.5 0.96^(t psi)); m_bar = (1 - mu_t) g / (1 - prod_1^t mu) + mu_{t+1} m / (1 - prod_1^{t+1} mu).
    """
    b1, b2 = h["betas"]
    mu = [b1 * (1 - 0.5 * 0.96 ** (i * h["momentum_decay"])) for i in range(1, t + 2)]
    m = average(s, "m", b1, g)
    v_hat = average(s, "v", b2, g**2) / (1 - b2**t)
    m_bar = (1 - mu[t - 1]) * g / (1 - math.prod(mu[:t])) + mu[t] * m / (1 - math.prod(mu))
    return x - h["lr"] * m_bar / (np.sqrt(v_hat) + h["eps"])


def radam(x, g, s, t, h):
    """Liu et al. 2020, arXiv:1908.03265, Algorithm 2.

    eps, that the paper lacks, stands beside sqrt(v_t), before the correction of its bias. The paper adapts the rate
    from rho_t > 4 on, torch from 5.
    """
    b1, b2 = h["betas"]
    m_hat = average(s, "m", b1, g) / (1 - b1**t)
    v = average(s, "v", b2, g**2)
    end = 2 / (1 - b2) - 1
    rho = end - 2 * t * b2**t / (1 - b2**t)
    if rho <= 5:
        return x - h["lr"] * m_hat
    r = math.sqrt((rho - 4) * (rho - 2) * end / ((end - 4) * (end - 2) * rho))
    return x - h["lr"] * r * m_hat * math.sqrt(1 - b2**t) / (np.sqrt(v) + h["eps"])


def adabelief(x, g, s, t, h):
    """Zhuang et al. 2020, arXiv:2010.07468, Algorithm 2: eps is added to s at every step, and beside its root."""
    b1, b2 = h["betas"]
    m = average(s, "m", b1, g)
    s["s"] = average(s, "s", b2, (g - m) ** 2) + h["eps"]
    m_hat, s_hat = m / (1 - b1**t), s["s"] / (1 - b2**t)
    return x - h["lr"] * m_hat / (np.sqrt(s_hat) + h["eps"])


def adan(x, g, s, t, h):
    """Xie et al. 2022, arXiv:2208.06677, Algorithm 1, with betas = 1 - the paper's and the biases corrected.

    The decay is inside, as in a proximal step: x_{t+1} = (1 + lr w)^-1 (x_t - lr (m + b2 v) / (sqrt(n) + eps)).
    """
    b1, b2, b3 = h["betas"]
    change = g - s.get("g", g)
    s["g"] = g
    m_hat = average(s, "m", b1, g) / (1 - b1**t)
    v_hat = average(s, "v", b2, change) / (1 - b2**t)
    n_hat = average(s, "n", b3, (g + b2 * change) ** 2) / (1 - b3**t)
    x = x - h["lr"] * (m_hat + b2 * v_hat) / (np.sqrt(n_hat) + h["eps"])
    return x / (1 + h["lr"] * h["weight_decay"]) if h["weight_decay_form"] == "times_lr" else x


def lion(x, g, s, t, h):
    """Chen et al. 2023, arXiv:2302.06675, Algorithm 2."""
    b1, b2 = h["betas"]
    c = b1 * s.get("m", 0.0) + (1 - b1) * g
    average(s, "m", b2, g)
    return x - h["lr"] * np.sign(c)


# --- norms of a tensor


def lamb(x, g, s, t, h):
    """You et al. 2020, arXiv:1904.00962, Algorithm 2: x - lr phi(|x|) / |r + w x| (r + w x).

    phi(z) = z; where a norm is 0 the ratio phi(|x|) / |r + w x| is 1. trust_bounds are those of the ratio; the paper's
    phi may hold |x| alone in bounds.
    """
    b1, b2 = h["betas"]
    m_hat = average(s, "m", b1, g) / (1 - b1**t)
    v_hat = average(s, "v", b2, g**2) / (1 - b2**t)
    r = m_hat / (np.sqrt(v_hat) + h["eps"])
    if h["weight_decay_form"] == "times_lr":
        r = r + h["weight_decay"] * x
    ratio = norm(x) / norm(r) if norm(x) > 0 and norm(r) > 0 else 1.0
    if h["trust_bounds"] is not None:
        low, high = h["trust_bounds"]
        ratio = min(max(ratio, low), high)
    return x - h["lr"] * ratio * r


def lars(x, g, s, t, h):
    """You, Gitman, Ginsburg 2017, arXiv:1708.03888, Algorithm 1.

    local = eta |x| / (|g| + w |x|); v = momentum v + lr local (g + w x); x - v. Where |x| or what
    is below it is 0, local is 1.
    """
    w = h["weight_decay"] if h["weight_decay_form"] == "l2" else 0.0
    below = norm(g) + w * norm(x) + h["eps"]
    local = h["trust_coefficient"] * norm(x) / below if norm(x) > 0 and below > 0 else 1.0
    s["v"] = h["momentum"] * s.get("v", 0.0) + h["lr"] * local * (g + w * x)
    return x - s["v"]


def adafactor(x, g, s, t, h):
    """Shazeer and Stern 2018, arXiv:1804.04235, Algorithms 4 and 5, in the form of torch.optim.Adafactor's page.

    eps1 is a floor, of V's normaliser and of U's root. An update has at most the RMS clip_threshold, before the RMS of
    x scales it, which is that before the decay.
    """
    eps1 = np.finfo(np.float64).eps if h["eps"][0] is None else h["eps"][0]
    beta2 = 1 - t ** h["beta2_decay"]
    rho = min(h["lr"], 1 / math.sqrt(t))
    alpha = max(h["eps"][1], rms(x)) * rho
    if h["weight_decay_form"] == "times_lr":
        x = x - h["lr"] * h["weight_decay"] * x
    if np.ndim(g) > 1:
        R = average(s, "R", beta2, np.mean(g**2, axis=-1, keepdims=True))
        C = average(s, "C", beta2, np.mean(g**2, axis=-2, keepdims=True))
        V = R * C / np.maximum(np.mean(R, axis=-2, keepdims=True), eps1)
    else:
        V = average(s, "V", beta2, g**2)
    U = g / np.maximum(np.sqrt(V), eps1)
    return x - alpha * U / max(1.0, rms(U) / h["clip_threshold"])


# --- rules without a learning rate, or without a schedule


def prodigy(x, g, s, t, h):
    """Mishchenko and Defazio 2023, arXiv:2306.06101, Algorithm 4, on one tensor.

    d^ = r / |s|_1, r and s weighted averages of <g, x_0 - x> and g; the Adam step is of d g, and as long as lr d.
    While s is 0 there is no d^, and d stays.
    The decay is that of AdamW at the rate of the step. What Algorithm 4 lacks is in the authors' code: beta3,
    bias_correction (in gamma_t), safeguard_warmup (no gamma_t in s), growth_rate.
    """
    b1, b2 = h["betas"]
    b3 = math.sqrt(b2) if h["beta3"] is None else h["beta3"]
    x_0, d = s["x_0"], s.setdefault("d", h["d0"])
    gamma = h["lr"] * (math.sqrt(1 - b2**t) / (1 - b1**t) if h["bias_correction"] else 1.0)
    before = x / (1 - h["weight_decay"]) if h["weight_decay_form"] == "decoupled" else x  # where g was taken
    r = average(s, "r", b3, gamma * d**2 * np.sum(g * (x_0 - before)))
    s_t = average(s, "s", b3, (1.0 if h["safeguard_warmup"] else gamma) * d**2 * g)
    m, v = average(s, "m", b1, d * g), average(s, "v", b2, d**2 * g**2)
    d_hat = h["d_coefficient"] * r / np.sum(np.abs(s_t)) if np.any(s_t) else d
    s["d"] = s["d_max"] = max(s.get("d_max", d), d_hat)
    if h["growth_rate"] is not None:
        s["d"] = min(s["d_max"], (max(d, d_hat) if d == h["d0"] else d) * h["growth_rate"])
    if h["weight_decay_form"] == "times_lr":
        x = x - gamma * d * h["weight_decay"] * x
    return x - gamma * d * m / (np.sqrt(v) + s["d"] * h["eps"])


def schedule_free_sgd(y, g, s, t, h):
    """Defazio et al. 2024, arXiv:2405.15682, equations 6 to 8.

    y_t = (1 - beta) z_t + beta x_t is held, since there the gradient is taken; x is evaluated.
    """
    z = s.get("z", y) - h["lr"] * g - decay_of_y(y, h)
    return averaged(y, z, s, t, h, h["momentum"])


def decay_of_y(y, h):
    return {"l2": 0.0, "times_lr": h["lr"], "decoupled": 1.0}[h["weight_decay_form"]] * h["weight_decay"] * y


def averaged(y, z, s, t, h, beta):
    """x_{t+1} = (1 - c) x_t + c z_{t+1}, where c = w_t / sum w_i is 1/t while lr and the w_t stay; returns y.

    w_t = lr_t^2 in Algorithm 1; in the authors' code t^r (max_i lr_i)^power.
    """
    s["lr"] = max(s.get("lr", 0.0), h["lr"])
    weight = t ** h["r"] * s["lr"] ** h["weight_lr_power"]
    s["sum"] = s.get("sum", 0.0) + weight
    c = weight / s["sum"]
    s["x"] = (1 - c) * s.get("x", y) + c * z
    s["z"] = z
    return (1 - beta) * z + beta * s["x"]


def schedule_free_adamw(y, g, s, t, h):
    """Defazio et al. 2024, arXiv:2405.15682, Algorithm 1; the decay acts on z, and is that of y."""
    b1, b2 = h["betas"]
    v_hat = average(s, "v", b2, g**2) / (1 - b2**t)
    z = s.get("z", y) - h["lr"] * g / (np.sqrt(v_hat) + h["eps"]) - decay_of_y(y, h)
    return averaged(y, z, s, t, h, b1)


def x_evaluated(y, s, h):
    return s["x"]


# --- geometry


def mirror_descent(x, g, s, t, h):
    """Nemirovski and Yudin 1983; Beck and Teboulle 2003: grad phi(x_{t+1}) = grad phi(x_t) - lr g.

    entropy: on the simplex, along the last dimension, x exp(-lr g) / sum (Kivinen and Warmuth 1997).
    p_norm: phi = |x|_p^2 / 2, whose conjugate is |.|_q^2 / 2 with 1/p + 1/q = 1.
    """
    if h["mirror"] == "euclidean":
        return x - h["lr"] * g
    if h["mirror"] == "entropy":
        weights = x * np.exp(-h["lr"] * g)
        return weights / np.sum(weights, axis=-1, keepdims=True)
    q = h["p"] / (h["p"] - 1)
    return half_square_gradient(half_square_gradient(x, h["p"]) - h["lr"] * g, q)


def half_square_gradient(x, p):
    """The gradient of |x|_p^2 / 2."""
    size = np.sum(np.abs(x) ** p) ** (1 / p)
    return np.sign(x) * np.abs(x) ** (p - 1) * size ** (2 - p) if size > 0 else 0.0 * x


def coordinate_descent(x, g, s, t, h):
    """Wright 2015, arXiv:1502.04759, Algorithm 1: of x only some entries move, in turn or where |g| is the largest.

    l1: the proximal step of the Lasso, sign(y) max(|y| - lr l1, 0); greedy is then where the subgradient nearest to 0
    is the largest (Nutini et al. 2015, arXiv:1506.00552, the rule GS-s). The decay is that of the chosen entries.
    """
    d, block = np.size(g), h["block"]
    n = block if isinstance(block, int) else max(1, round(block * d))
    keep = 1 - {"l2": 0.0, "times_lr": h["lr"], "decoupled": 1.0}[h["weight_decay_form"]] * h["weight_decay"]
    y = keep * x - h["lr"] * g
    y = np.sign(y) * np.maximum(np.abs(y) - h["lr"] * h["l1"], 0.0)
    if h["order"] == "cyclic":
        chosen = [i % d for i in range((t - 1) * n, t * n)]
    else:
        nearest = np.where(x == 0, np.maximum(np.abs(g) - h["l1"], 0.0), np.abs(g + h["l1"] * np.sign(x)))
        chosen = np.argsort(-np.ravel(nearest))[:n]
    only = np.zeros(d, dtype=bool)
    only[chosen] = True
    return np.where(only.reshape(np.shape(g)), y, x)


# --- matrices


def muon(x, g, s, t, h):
    """Jordan et al. 2024, https://kellerjordan.github.io/posts/muon.

    match_rms_adamw: Liu et al. 2025, arXiv:2502.16982. A kernel of shape (out, in, ...) is the matrix (out, in ...).
    For vectors AdamW.
    """
    if np.ndim(x) < 2 or not h["matrix"]:
        return adam(x, g, s, t, h | {"eps": h["adam_eps"]})
    momentum = h["momentum"]
    b = average(s, "b", momentum, g)
    B = (1 - momentum) * g + momentum * b if h["nesterov"] else b
    orthogonal = newton_schulz(B.reshape(len(B), -1), h)
    rows, columns = np.shape(orthogonal)
    scale = {
        "original": math.sqrt(max(1, rows / columns)),
        "match_rms_adamw": 0.2 * math.sqrt(max(rows, columns)),
    }[h["adjust_lr"]]
    return x - h["lr"] * scale * orthogonal.reshape(np.shape(x))


def newton_schulz(G, h):
    """X <- a X + b (X X^T) X + c (X X^T)^2 X makes the singular values about 1; from the side that is shorter."""
    a, b, c = h["ns_coefficients"]
    X = G.T if G.shape[0] > G.shape[1] else G
    X = X / max(norm(X), h["eps"])
    for _ in range(h["ns_steps"]):
        A = X @ X.T
        X = a * X + (b * A + c * A @ A) @ X
    return X.T if G.shape[0] > G.shape[1] else X


def shampoo(x, g, s, t, h):
    """Gupta, Koren, Singer 2018, arXiv:1802.09568, Algorithms 1 and 2: x - lr L^(-1/4) m R^(-1/4), L_0 = R_0 = eps I.

    A tensor of k dimensions has a matrix for each, with the exponent -1/(2k); a long side keeps the diagonal of its
    matrix, as a vector does: AdaGrad. m is the moving average of the gradients (section 5). A root is kept until t is
    a multiple of `every`, but for the first ones. beta2 < 1, that the paper lacks, makes averages of the sums, their
    bias corrected.
    """
    k, b2 = np.ndim(x), h["beta2"]
    weight, correction = (1.0, 1.0) if b2 == 1 else (1 - b2, 1 - b2**t)
    m = average(s, "m", h["momentum"], g)
    if k < 2 or not h["matrix"]:
        s["G"] = b2 * s.get("G", 0.0) + weight * g**2
        return x - h["lr"] * m / np.sqrt(s["G"] / correction + h["eps"])
    for i in range(k):
        A = s[i] = b2 * s.get(i, 0.0) + weight * unfolded(g, i) @ unfolded(g, i).T
        if t <= h["every"] or t % h["every"] == 0:
            seen = A if len(A) <= h["max_dim"] else np.diag(np.diag(A))
            s["root", i] = symmetric_power(seen / correction + h["eps"] * np.eye(len(A)), -1 / (2 * k))
        m = along(i, s["root", i], m)
    return x - h["lr"] * m


def unfolded(g, i):
    """The tensor as a matrix with dimension i first."""
    return np.moveaxis(g, i, 0).reshape(np.shape(g)[i], -1)


def along(i, A, g):
    """The product of the matrix A with dimension i of the tensor."""
    return np.moveaxis(np.tensordot(A, g, axes=(1, i)), 0, i)


def symmetric_power(A, power):
    values, vectors = np.linalg.eigh(A)
    return (vectors * values**power) @ vectors.T


def soap(x, g, s, t, h):
    """Vyas et al. 2024, arXiv:2409.11321, Algorithms 3 and 4: Adam in the eigenbasis of Shampoo's L and R.

    As in the authors' code: the first gradient gives the first basis and moves nothing; a basis is renewed by one step
    of orthogonal iteration, whose columns are in the order of their eigenvalues, the largest first; a tensor of k
    dimensions has a matrix for each. For vectors AdamW.
    """
    if np.ndim(x) < 2 or not h["matrix"]:
        return adam(x, g, s, t, h)
    b1, b2 = h["betas"]
    beta = b2 if h["shampoo_beta"] is None else h["shampoo_beta"]
    sides = [i for i in range(np.ndim(x)) if np.shape(x)[i] <= h["max_dim"]]
    A = {i: average(s, i, beta, unfolded(g, i) @ unfolded(g, i).T) for i in sides}
    if t == 1:
        s["Q"] = {i: np.linalg.eigh(A[i])[1][:, ::-1] for i in sides}
        return x
    n, N = t - 1, average(s, "M", b1, g)
    for i in sides:
        g, N = along(i, s["Q"][i].T, g), along(i, s["Q"][i].T, N)
    N = N / (np.sqrt(average(s, "V", b2, g**2)) + h["eps"])
    for i in sides:
        N = along(i, s["Q"][i], N)
        if n % h["every"] == 0:
            order = np.argsort(-np.diag(s["Q"][i].T @ A[i] @ s["Q"][i]))
            s["V"] = np.take(s["V"], order, axis=i)
            s["Q"][i] = np.linalg.qr(A[i] @ s["Q"][i][:, order])[0]
    return x - h["lr"] * (math.sqrt(1 - b2**n) / (1 - b1**n) if h["bias_correction"] else 1.0) * N


OWN_DECAY = {
    "adan": ("times_lr",),
    "lamb": ("times_lr",),
    "lars": ("l2",),
    "adafactor": ("times_lr",),
    "coordinate_descent": ("times_lr", "decoupled"),
    "prodigy": ("times_lr",),
    "schedule_free_sgd": ("times_lr", "decoupled"),
    "schedule_free_adamw": ("times_lr", "decoupled"),
}
"""The forms of weight decay that a formula applies itself; the others are applied before it."""

EVALUATED = {
    "nesterov": nesterov_evaluated,
    "schedule_free_sgd": x_evaluated,
    "schedule_free_adamw": x_evaluated,
}
"""The weights to evaluate, where they are not those that are held: a function of (held, state, hyperparameters)."""
