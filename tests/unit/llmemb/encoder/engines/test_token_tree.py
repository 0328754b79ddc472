"""The token tree: every token of every prompt stands in it, each beginning once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmemb.encoder.engines import token_tree
from llmemb.encoder.engines.token_tree import build_tree, shared_length, tree_batches

PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8).map(lambda ids: [*ids, 3]), max_size=20)
"""Of few different tokens, so that many begin alike; closed, as prompts are."""


def test_a_small_tree_by_hand() -> None:
    """Two prompts that share two tokens, and one that is the beginning of another."""
    tree = build_tree([[5, 6, 8], [5, 6, 7], [5, 6]])

    assert tree.tokens.tolist() == [5, 6, 7, 8]
    assert tree.positions.tolist() == [0, 1, 2, 2]
    assert tree.lengths.tolist() == [3, 3, 2]
    assert tree.prompts.tolist() == [0, 1, 3, 0, 1, 2, 0, 1]


def test_what_is_skipped_stands_in_no_tree() -> None:
    """Positions go on counting from the prompt's first token."""
    tree = build_tree([[1, 2, 3, 4], [1, 2, 3, 5]], skip=2)

    assert tree.tokens.tolist() == [3, 4, 5]
    assert tree.positions.tolist() == [2, 3, 3]
    assert tree.prompts.tolist() == [0, 1, 0, 2]


@given(PROMPTS.filter(bool), st.integers(1, 40))
def test_every_prompt_can_be_read_from_the_tree(prompts: list[list[int]], attention_tokens: int) -> None:
    """A node is a token after all before it; the groups give each node's result once and hold each prompt once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_tree, "ATTENTION_TOKENS", attention_tokens)
        tree = build_tree(prompts)

    read, at = [], 0
    for length in tree.lengths:
        nodes = tree.prompts[at : at + length]
        at += length
        read.append(tree.tokens[nodes].tolist())
        assert tree.positions[nodes].tolist() == list(range(length))
    assert read == prompts
    assert len(tree.tokens) == len({tuple(prompt[: i + 1]) for prompt in prompts for i in range(len(prompt))})
    assert sum(len(group.nodes) for group in tree.groups) == len(prompts)
    assert sorted(node for group in tree.groups for node in group.targets) == list(range(len(tree.tokens)))
    for group in tree.groups:
        assert group.nodes.flatten()[group.sources].tolist() == group.targets.tolist()


@given(PROMPTS, st.integers(1, 60))
def test_batches_of_trees_keep_to_their_bound(prompts: list[list[int]], batch_tokens: int) -> None:
    """Each index comes once; a batch over the bound is one prompt alone."""
    batches = list(tree_batches(prompts, batch_tokens))

    assert sorted(i for batch in batches for i in batch) == list(range(len(prompts)))
    for batch in batches:
        assert len(batch) == 1 or len(build_tree([prompts[i] for i in batch]).tokens) <= batch_tokens


def test_shared_length_counts_from_the_beginning() -> None:
    """It ends at the first difference or at the shorter one's end."""
    assert shared_length([1, 2, 3], [1, 2, 4, 3]) == 2
    assert shared_length([1, 2], [1, 2, 3]) == 2
    assert shared_length([], [1]) == 0
