"""The tokens of a batch as a tree: what several prompts begin with stands in it once.

A token of a causal LLM sees only what is before it. So two prompts have the same states as long as they have the same
tokens, and a layer's matrices need each such state once. Prompts of a sorted catalogue share much: the instruction, the
first attribute's name, the beginnings of titles.

`U` nodes of the tree, each one a token after all that is before it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmemb.encoder.engines.engine import TokenIds
from llmemb.encoder.engines.padded import batches_by_tokens

Rows = NDArray[np.int64]
ATTENTION_TOKENS = 4096
"""Tokens, padding included, whose attention is computed at once: what is gathered for it should stay in the cache."""


@dataclass(frozen=True, slots=True)
class AttentionGroup:
    """Prompts of like length, whose attention is computed together, `G` of at most `T` tokens.

    Args:
        nodes: the node of each token, `(G, T)`; node 0 where there is none, which no token before it sees.
        sources: places in `nodes`, flattened, from which results are taken: a node's first.
        targets: the nodes that these are.
    """

    nodes: Rows
    sources: Rows
    targets: Rows


@dataclass(frozen=True, slots=True)
class TokenTree:
    """A batch of prompts, in its own order.

    Args:
        tokens: of each node, `(U,)`.
        positions: of each node in its prompts, `(U,)`.
        prompts: prompt by prompt, the nodes of its tokens, concatenated.
        lengths: the tokens of each prompt.
        groups: all prompts, for the attention.
    """

    tokens: Rows
    positions: Rows
    prompts: Rows
    lengths: Rows
    groups: tuple[AttentionGroup, ...]


def tree_batches(token_ids: Sequence[TokenIds], batch_tokens: int) -> Iterator[list[int]]:
    """Yield indices in the prompts' sorted order, in batches of trees of at most `batch_tokens` nodes."""
    order = sorted(range(len(token_ids)), key=lambda i: (list(token_ids[i]), i))
    batch: list[int] = []
    nodes = 0
    for i in order:
        new = len(token_ids[i])
        if batch:
            shared = shared_length(token_ids[batch[-1]], token_ids[i])
            if nodes + new - shared > batch_tokens:
                yield batch
                batch, nodes = [], 0
            else:
                new -= shared
        batch.append(i)
        nodes += new
    if batch:
        yield batch


def build_tree(token_ids: Sequence[TokenIds], skip: int = 0) -> TokenTree:
    """Make the tree of a batch.

    Args:
        token_ids: of each prompt.
        skip: tokens that are left out of the tree at the beginning of every prompt; each has more than that.
    """
    nodes: list[Rows] = [np.empty(0, np.int64)] * len(token_ids)
    starts = [0] * len(token_ids)
    tokens: list[int] = []
    positions: list[int] = []
    before: TokenIds = ()
    before_nodes: Rows = np.empty(0, np.int64)
    # Sorted, a prompt shares with the one before it whatever it shares with any before.
    for i in sorted(range(len(token_ids)), key=lambda row: list(token_ids[row])):
        ids = token_ids[i]
        start = max(skip, shared_length(before, ids))
        own = np.arange(len(tokens), len(tokens) + len(ids) - start)
        nodes[i] = np.concatenate([before_nodes[: start - skip], own])
        starts[i] = start - skip
        tokens += ids[start:]
        positions += range(start, len(ids))
        before, before_nodes = ids, nodes[i]
    return TokenTree(
        tokens=np.asarray(tokens, np.int64),
        positions=np.asarray(positions, np.int64),
        prompts=np.concatenate(nodes),
        lengths=np.asarray([len(row) for row in nodes]),
        groups=tuple(
            _group([nodes[i] for i in rows], [starts[i] for i in rows])
            for rows in batches_by_tokens([len(row) for row in nodes], ATTENTION_TOKENS)
        ),
    )


def shared_length(first: TokenIds, second: TokenIds) -> int:
    """Return how many tokens two prompts have in common at their beginnings."""
    length = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        length += 1
    return length


def _group(nodes: Sequence[Rows], starts: Sequence[int]) -> AttentionGroup:
    """Group prompts, the longest first; each one's nodes from its start on are its own, those before another's."""
    width = len(nodes[0])
    padded = np.zeros((len(nodes), width), np.int64)
    for row, own in zip(padded, nodes, strict=True):
        row[: len(own)] = own
    return AttentionGroup(
        nodes=padded,
        sources=np.concatenate(
            [np.arange(row * width + start, row * width + len(nodes[row])) for row, start in enumerate(starts)]
        ),
        targets=np.concatenate([own[start:] for own, start in zip(nodes, starts, strict=True)]),
    )
