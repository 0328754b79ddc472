"""`llmemb.scoring.session`: histories of any lengths in one right-padded batch."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmemb.scoring.session import PADDING, pad_rows, pad_vectors

HISTORIES = st.lists(st.lists(st.integers(0, 99), max_size=8), max_size=6)
LENGTHS = st.integers(1, 10)


@given(HISTORIES, LENGTHS)
def test_rows_hold_the_most_recent_items_then_padding(histories: list[list[int]], max_length: int) -> None:
    """Each row is the end of its history, oldest first, padded on the right to the longest."""
    kept = [history[-max_length:] for history in histories]
    width = max([1, *map(len, kept)])

    rows = pad_rows([np.array(history, dtype=np.int64) for history in histories], max_length)

    assert rows.dtype == torch.int64
    assert rows.shape == (len(histories), width)
    assert rows.tolist() == [history + [PADDING] * (width - len(history)) for history in kept]


def test_padding_is_no_row() -> None:
    """Rows count from 0, so the padding stands in for no item."""
    assert PADDING < 0


@given(st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=8), min_size=1, max_size=6), LENGTHS)
def test_vectors_stand_where_rows_stand(histories: list[list[int]], max_length: int) -> None:
    """The vectors of a batch are those of its rows, zero in the padding, present elsewhere."""
    table = np.arange(1, 301, dtype=np.float32).reshape(100, 3)
    rows = pad_rows([np.array(history) for history in histories], max_length)

    vectors, present = pad_vectors([table[history] for history in histories], max_length)

    assert vectors.dtype == torch.float32
    assert present.tolist() == (rows != PADDING).tolist()
    assert torch.equal(vectors[present], torch.from_numpy(table)[rows[present]])
    assert not vectors[~present].any()


def test_views_of_a_table_are_accepted() -> None:
    """A history may be a read-only or reversed view of a table, as a bundle's arrays are."""
    table = np.arange(12, dtype=np.float32).reshape(4, 3)
    table.flags.writeable = False

    vectors, _ = pad_vectors([table[1:3], table[::-1]], 4)

    assert vectors[0, :2].tolist() == table[1:3].tolist()
    assert vectors[1].tolist() == table[::-1].tolist()
