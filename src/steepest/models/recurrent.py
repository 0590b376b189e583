"""Initial weights of the recurrent networks."""

from torch import nn


def initialise_lstm_(lstm: nn.LSTM, forget_bias: float) -> None:
    """Draw the weights of an LSTM, in place.

    Glorot uniform from the input, a matrix a gate (Glorot & Bengio 2010); one orthogonal matrix a gate from state to
    state (Saxe et al. 2014, arXiv:1312.6120); biases 0, but `forget_bias` for the forget gates (Jozefowicz et al.
    2015).
    """
    for name, parameter in lstm.named_parameters():
        if name.startswith("bias"):
            nn.init.zeros_(parameter)
            continue
        draw = nn.init.orthogonal_ if name.startswith("weight_hh") else nn.init.xavier_uniform_
        for gate in parameter.chunk(4):  # torch's order: input, forget, cell, output
            draw(gate)
    for layer in range(lstm.num_layers):
        forget = getattr(lstm, f"bias_ih_l{layer}").chunk(4)[1]
        nn.init.constant_(forget, forget_bias)
