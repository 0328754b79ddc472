"""GRU4Rec: a recurrent network over the history. Source: Hidasi et al. 2016, arXiv 1511.06939."""

from torch import Tensor, nn

from llmemb.sequence_models.sequence_model import SequenceModel, SequenceModelSpec, last_present


class GRU4Rec(SequenceModel):
    """Output t is made of items 0..t; trained on whole histories rather than in session-parallel batches.

    Unlike the paper's, the network reads normalised items, it adds to the item that it reads instead of replacing it,
    and its output is normalised, as in the transformers here. Item vectors start small, so that without the norms the
    GRU gets next to no input and the scores hardly differ: it then learns nothing but popularity for many epochs.
    """

    objective = "next_item"

    def __init__(self, spec: SequenceModelSpec) -> None:
        super().__init__(spec)
        self.input_norm = nn.LayerNorm(spec.dim)
        self.dropout = nn.Dropout(spec.dropout)
        self.gru = nn.GRU(
            spec.dim,
            spec.dim,
            num_layers=spec.layers,
            batch_first=True,
            dropout=spec.dropout if spec.layers > 1 else 0.0,
        )
        self.output = nn.Linear(spec.dim, spec.dim)
        self.output_norm = nn.LayerNorm(spec.dim)

    def forward(self, items: Tensor, present: Tensor) -> Tensor:  # noqa: ARG002 - padding comes last, so it affects no earlier output
        x = self.dropout(self.input_norm(items))
        hidden, _ = self.gru(x)
        out: Tensor = self.output_norm(x + self.output(hidden))
        return out

    def session_vectors(self, items: Tensor, present: Tensor) -> Tensor:
        return last_present(self(items, present), present)
