"""The interface of a sequence model.

`B` histories, `L` positions, `d` width. Histories are padded on the right: position 0 is the oldest item, and the
vectors of the padding are never read, so a batch's width and its other rows change no answer.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

Objective = Literal["next_item", "masked_item"]


class SequenceModelSpec(BaseModel):
    """The shape of a sequence model: all that is needed to build it again."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = "sasrec"
    """`sasrec`, `gru4rec`, `bert4rec`, or the entry-point name of one that an installed package brings."""
    dim: int = Field(default=64, ge=1)
    """Width of item embeddings and session vectors, d."""
    max_length: int = Field(default=50, ge=1)
    """The most recent items of a history that are read, L."""
    layers: int = Field(default=2, ge=1)
    """Transformer blocks, or layers of the GRU."""
    heads: int = Field(default=1, ge=1)
    """Attention heads; GRU4Rec has none."""
    dropout: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Share of activations dropped in training."""

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> "SequenceModelSpec":
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads}")
        return self


class SequenceModel(nn.Module, ABC):
    """A sequence model over item vectors that the caller supplies.

    It holds no item table: the vectors of a history come from the caller, so an item that the training never saw
    takes part by its vector alone.
    """

    objective: ClassVar[Objective]
    """`next_item`: output t predicts item t + 1; `masked_item`: the output at a mask predicts the masked item."""

    def __init__(self, spec: SequenceModelSpec) -> None:
        super().__init__()
        self.spec = spec

    @abstractmethod
    def forward(self, items: Tensor, present: Tensor) -> Tensor:
        """Return an output for each position.

        Args:
            items: `(B, L, d)` float32, L at most `spec.max_length`; one more for `masked_item` models.
            present: `(B, L)` bool, true on a prefix of each row.

        Returns:
            `(B, L, d)`; meaningless where `present` is false.
        """

    @abstractmethod
    def session_vectors(self, items: Tensor, present: Tensor) -> Tensor:
        """Return the vector `(B, d)` whose inner product with an item embedding is that item's score.

        Arguments as in `forward`; each row has at least one present position.
        """

    def hide(self, items: Tensor, hidden: Tensor) -> Tensor:
        """Put the mask's vector into `items` `(B, L, d)` where `hidden` `(B, L)` is true.

        Raises:
            NotImplementedError: the model's objective is not `masked_item`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no mask")


def last_present(outputs: Tensor, present: Tensor) -> Tensor:
    """Return the outputs `(B, L, d)` at the last present position of each row, `(B, d)`."""
    index = (present.sum(dim=1) - 1).view(-1, 1, 1).expand(-1, 1, outputs.shape[2])
    return outputs.gather(1, index).squeeze(1)
