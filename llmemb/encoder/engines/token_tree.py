"""The tokens of a batch as a prefix tree: a prefix that several prompts share is stored once.

In a causal LLM a token depends only on the tokens before it. So prompts with a common prefix have the same states for
it, and each layer computes them once. Prompts of a sorted catalogue share long prefixes: the instruction, the first
attribute's name, the beginnings of titles.

`U` nodes of the tree, each a token with its prefix.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmemb.encoder.engines.engine import TokenIds
from llmemb.encoder.engines.padded import batches_by_tokens

Rows = NDArray[np.int64]
ATTENTION_TOKENS = 4096
"""Tokens, padding included, whose attention is computed together; small enough for the processor's cache."""


@dataclass(frozen=True, slots=True)
class AttentionGroup:
    """`G` prompts of similar length, of at most `T` tokens, whose attention is computed together.

    Args:
        nodes: the node of each token, `(G, T)`; node 0 for padding, which the causal mask hides.
        sources: indices into `nodes`, flattened, of each node's first occurrence, where its result is read.
        targets: the nodes at `sources`.
    """

    nodes: Rows
    sources: Rows
    targets: Rows


@dataclass(frozen=True, slots=True)
class TokenTree:
    """The tree of a batch of prompts, in the order of the batch.

    Args:
        tokens: of each node, `(U,)`.
        positions: of each node in its prompts, `(U,)`.
        prompts: the nodes of all prompts, concatenated.
        lengths: number of tokens of each prompt.
        groups: all prompts, grouped for the attention.
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
    """Build the tree of a batch.

    Args:
        token_ids: of each prompt.
        skip: number of tokens at the beginning of every prompt that are not in the tree; each prompt is longer.
    """
    nodes: list[Rows] = [np.empty(0, np.int64)] * len(token_ids)
    starts = [0] * len(token_ids)
    tokens: list[int] = []
    positions: list[int] = []
    before: TokenIds = ()
    before_nodes: Rows = np.empty(0, np.int64)
    # In sorted order, the longest prefix that a prompt shares with any earlier prompt is shared with the previous one.
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
    """Return the length of the common prefix of two prompts."""
    length = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        length += 1
    return length


def _group(nodes: Sequence[Rows], starts: Sequence[int]) -> AttentionGroup:
    """Group prompts, longest first; nodes before a prompt's start belong to an earlier prompt."""
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
