"""A family of a user's own, whose cell has no fused kernel: a layer-normalised LSTM, from plain torch operations.

A flat file that imports rnnzoo by name, so that checkpoints of the family carry it; `rnnzoo.register(FAMILY)` makes
the Auto classes know it.
"""

import torch
from torch import nn
from transformers import AutoModel, AutoModelForSequenceClassification, AutoModelForTokenClassification
from transformers import initialization as init

from rnnzoo import Family
from rnnzoo.configuration_rnnzoo import RecurrentConfig
from rnnzoo.modeling_rnnzoo import RecurrentForSequenceClassification, RecurrentForTokenClassification, RecurrentModel
from rnnzoo.recurrence_rnnzoo import Cell, RecurrentDirection


class LayerNormalizedLSTM(RecurrentDirection):
    """Ba et al. 2016: (i, f, g, o) = LN(W x) + LN(U h);  c' = σ(f) c + σ(i) tanh(g);  h' = σ(o) tanh(LN(c'))."""

    def __init__(self, cell, input_size, hidden_size, dropout):
        super().__init__(cell, input_size, hidden_size, dropout)
        self.input_projection = nn.Linear(input_size, 4 * hidden_size, bias=False)
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.norm_input, self.norm_hidden = nn.LayerNorm(4 * hidden_size), nn.LayerNorm(4 * hidden_size, bias=False)
        self.norm_memory = nn.LayerNorm(hidden_size)

    def reset_parameters(self):
        init.orthogonal_(self.weight_hh)

    def forward(self, x, rows, state):
        words, weight = self.norm_input(self.input_projection(x)), self.drop_recurrent(self.weight_hh)
        outputs = []
        for step, word in enumerate(words.unbind(1)):
            h, c = state
            i, f, g, o = (word + self.norm_hidden(h @ weight.T)).chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * self.norm_memory(c).tanh()
            state = rows.carry(step, state, (h, c))
            outputs.append(h)
        return torch.stack(outputs, dim=1), state


CELL = Cell(LayerNormalizedLSTM, num_states=2)


class LayerNormalizedLSTMConfig(RecurrentConfig):
    model_type = "layer-normalized-lstm"


class LayerNormalizedLSTMModel(RecurrentModel):
    config: LayerNormalizedLSTMConfig
    cell = CELL


class LayerNormalizedLSTMForSequenceClassification(RecurrentForSequenceClassification):
    config: LayerNormalizedLSTMConfig
    backbone_class = LayerNormalizedLSTMModel


class LayerNormalizedLSTMForTokenClassification(RecurrentForTokenClassification):
    config: LayerNormalizedLSTMConfig
    backbone_class = LayerNormalizedLSTMModel


FAMILY = Family(
    LayerNormalizedLSTMConfig,
    {
        AutoModel: LayerNormalizedLSTMModel,
        AutoModelForSequenceClassification: LayerNormalizedLSTMForSequenceClassification,
        AutoModelForTokenClassification: LayerNormalizedLSTMForTokenClassification,
    },
)
