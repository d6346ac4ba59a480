"""Recurrent networks that read an image as a sequence of its rows."""

from typing import Literal

from torch import Tensor, nn

from .architecture import Architecture

Cell = Literal["lstm", "gru"]
CELLS: dict[Cell, type[nn.LSTM] | type[nn.GRU]] = {
    "lstm": nn.LSTM,  # Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000
    "gru": nn.GRU,  # Cho et al. 2014, arXiv 1406.1078
}
HIDDEN = 128


class RowReader(nn.Module):
    """h_t = f(x_t, h_{t-1}; theta) over the rows x_1 ... x_H from top to bottom; the last state is classified.

    A row is one vector of all its pixels and channels. Every image starts from a state of zeros, which the cell makes itself:
    a state given from here would have to know the batch size, and the exported file would be bound to it.
    """

    def __init__(self, architecture: Architecture, cell: Cell) -> None:
        super().__init__()
        hidden = architecture.widen(HIDDEN)
        self.cell = CELLS[cell](architecture.channels * architecture.size, hidden, batch_first=True)
        self.linear = nn.Linear(hidden, architecture.classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes) of images (N, C, H, W)."""
        rows = images.transpose(1, 2).flatten(2)  # (N, H, C*W)
        states, _ = self.cell(rows)  # (N, H, hidden): h_1 ... h_H
        return self.linear(states[:, -1])


def rnn(architecture: Architecture) -> RowReader:
    """Build the LSTM reader."""
    return RowReader(architecture, "lstm")


def rnn_gru(architecture: Architecture) -> RowReader:
    """Build the GRU reader: three gates' worth of weights instead of four."""
    return RowReader(architecture, "gru")
