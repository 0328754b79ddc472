"""Our split as files for peers: the same training targets, and the same validation and test targets.

<name>.train.inter, .valid.inter, .test.inter   user, target, and the items before it, one line a target
<name>.item                                     every warm item, so that both rank the same
windows.npz                                     for RecTools: the training windows that ours reads
valid.npz, test.npz                             histories and targets, for the ranking that ours goes through

RecBole makes one sample of each item but the first of a training history, with all (at most L) items before it: what
its own augmentation of a sequence does. Ours predicts the same targets, many in one pass over a window. RecBole's
BERT4Rec masks items of the sample's history and never reads its target, so there the history ends with the target.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from llmemb.files import new_folder
from llmemb.sequence_models.sequence_model import Objective
from llmemb_training.data.dataset import Dataset, Rows, Targets
from llmemb_training.rat.batches import cut_windows


def write_peer_files(dataset: Dataset, folder: Path, max_length: int, objective: Objective = "next_item") -> None:
    """Write the files into `folder`, in place of what is there.

    Args:
        dataset: as prepared.
        folder: the files have its name, as RecBole requires.
        max_length: the most recent items that are read, L.
        objective: of the model to train.
    """
    with new_folder(folder) as temporary:
        own = 1 if objective == "masked_item" else 0
        _write(temporary, folder.name, "train", _prefixes(dataset.train, own), max_length)
        # Users by their place in the dataset: an id may hold what RecBole splits at.
        users = {user: place for place, user in enumerate(dataset.sequences["user_id"].to_list())}
        for part, targets in (("valid", dataset.validation), ("test", dataset.test)):
            _write(temporary, folder.name, part, _lines(targets, users), max_length)
        items = "".join(f"{row}\n" for row in range(dataset.num_warm))
        (temporary / f"{folder.name}.item").write_text("item_id:token\n" + items, encoding="utf-8")
        write_windows(cut_windows(dataset.train, max_length, objective), temporary / "windows.npz")
        for part, targets in (("valid", dataset.validation), ("test", dataset.test)):
            np.savez(temporary / f"{part}.npz", histories=padded(targets, max_length), targets=targets.rows)


def write_windows(windows: Sequence[Rows], path: Path) -> None:
    """Write training windows as one file: `rows`, one window after the other, and their `lengths`."""
    np.savez(path, rows=np.concatenate(windows), lengths=[len(window) for window in windows])


def padded(targets: Targets, max_length: int) -> Rows:
    """Return the most recent items of each history `(n, L)`, the oldest first, -1 behind the last."""
    out = np.full((len(targets.rows), max_length), -1, dtype=np.int64)
    for line, history in zip(out, targets.histories, strict=True):
        recent = history[-max_length:]
        line[: len(recent)] = recent
    return out


def _prefixes(histories: list[Rows], own: int) -> Iterator[tuple[int, int, Rows]]:
    for user, history in enumerate(histories):
        for position in range(1, len(history)):
            yield user, int(history[position]), history[: position + own]


def _lines(targets: Targets, users: Mapping[str, int]) -> Iterator[tuple[int, int, Rows]]:
    for user, row, history in zip(targets.user_ids, targets.rows, targets.histories, strict=True):
        yield users[user], int(row), history


def _write(folder: Path, name: str, part: str, lines: Iterator[tuple[int, int, Rows]], max_length: int) -> None:
    with (folder / f"{name}.{part}.inter").open("w", encoding="utf-8") as file:
        file.write("user_id:token\titem_id:token\titem_id_list:token_seq\n")
        for user, target, history in lines:
            file.write(f"{user}\t{target}\t{' '.join(map(str, history[-max_length:]))}\n")
