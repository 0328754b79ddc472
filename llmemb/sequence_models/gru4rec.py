"""GRU4Rec: a recurrent network over the history. Source: Hidasi et al. 2016, arXiv 1511.06939."""

from torch import Tensor, nn

from llmemb.sequence_models.sequence_model import SequenceModel, SequenceModelSpec, last_present


class GRU4Rec(SequenceModel):
    """Output t is made of items 0..t; trained on whole histories rather than in session-parallel batches."""

    objective = "next_item"

    def __init__(self, spec: SequenceModelSpec) -> None:
        super().__init__(spec)
        self.dropout = nn.Dropout(spec.dropout)
        self.gru = nn.GRU(
            spec.dim,
            spec.dim,
            num_layers=spec.layers,
            batch_first=True,
            dropout=spec.dropout if spec.layers > 1 else 0.0,
        )
        self.output = nn.Linear(spec.dim, spec.dim)

    def forward(self, items: Tensor, present: Tensor) -> Tensor:  # noqa: ARG002 - the padding stands after all it could reach
        hidden, _ = self.gru(self.dropout(items))
        out: Tensor = self.output(hidden)
        return out

    def session_vectors(self, items: Tensor, present: Tensor) -> Tensor:
        return last_present(self(items, present), present)
