"""`llmemb_training.config.seeds`: one seed, many streams."""

from hypothesis import given
from hypothesis import strategies as st

from llmemb_training.config.seeds import derive_generator, derive_seed

PURPOSES = st.lists(st.text(max_size=3) | st.integers(), max_size=3).map(tuple)


@given(st.integers(0), PURPOSES)
def test_seed_fits_every_generator(seed: int, purpose: tuple[str | int, ...]) -> None:
    """63 bits: NumPy and torch both take it, and it is the same each time."""
    derived = derive_seed(seed, *purpose)

    assert 0 <= derived < 2**63
    assert derive_seed(seed, *purpose) == derived


@given(st.integers(0), PURPOSES, st.integers(0), PURPOSES)
def test_another_seed_or_purpose_gives_another_stream(
    seed: int, purpose: tuple[str | int, ...], other_seed: int, other: tuple[str | int, ...]
) -> None:
    """Streams differ by the seed and by each part of the purpose, its type included."""
    same = (seed, purpose) == (other_seed, other)

    assert (derive_seed(seed, *purpose) == derive_seed(other_seed, *other)) == same


def test_streams_are_frozen() -> None:
    """A change here would change every number of every run."""
    assert derive_seed(42, "prepare", "ties") == 3222860071662839189
    assert derive_generator(42, "scft", "views", 0, 1).integers(1000, size=3).tolist() == [252, 982, 18]
