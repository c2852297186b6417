"""Documents of instruction tuning, and batches of them: packed rows, or padded to their longest."""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np


def documents(number: int, longest: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Token ids and counted mask: seven in ten are speech (35 units a second, 2 to 20 s) with a transcript or translation."""
    draw = np.random.default_rng(0)
    made = []
    for _ in range(number):
        speech = draw.random() < 0.7
        prompt = int(35 * np.clip(draw.lognormal(1.6, 0.6), 2, 20)) + 20 if speech else int(draw.integers(30, 300))
        answer = max(4, prompt // 10 if speech else int(draw.integers(20, 200)))
        length = min(prompt + answer, longest)
        ids = draw.integers(10, 37_000, length)
        made.append((ids, np.arange(length) >= length - min(answer, length - 1)))
    return made


def packed_batches(options: argparse.Namespace) -> Iterator[tuple[Any, int]]:
    """Batches of full rows, without end, and their tokens."""
    from spire_ray.packs.pack import Row
    from spire_ray.packs.packing import best_fit
    from spire_ray.training.batch import collate

    given = documents(options.documents, options.sequence_length)
    rows = []
    for chosen in best_fit([len(ids) for ids, _ in given], options.sequence_length):
        ids, counted = np.zeros(options.sequence_length, np.int64), np.zeros(options.sequence_length, bool)
        lengths = np.array([len(given[i][0]) for i in chosen])
        ids[: lengths.sum()] = np.concatenate([given[i][0] for i in chosen])
        counted[: lengths.sum()] = np.concatenate([given[i][1] for i in chosen])
        rows.append(Row(ids, counted, lengths))
    np.random.default_rng(1).shuffle(rows)  # type: ignore[arg-type]
    while True:
        for start in range(0, len(rows) - options.rows + 1, options.rows):
            chosen_rows = rows[start : start + options.rows]
            yield collate(chosen_rows), int(sum(row.lengths.sum() for row in chosen_rows))


def padded_batches(options: argparse.Namespace) -> Iterator[tuple[Any, int]]:
    """Batches padded to their longest document, neighbours in length together, without end."""
    import torch

    given = sorted(documents(options.documents, options.sequence_length), key=lambda pair: len(pair[0]))
    size = options.batch_documents
    order = np.random.default_rng(1).permutation(len(given) // size)
    while True:
        for place in order:
            chosen = given[place * size : (place + 1) * size]
            longest = max(len(ids) for ids, _ in chosen)
            ids, mask = np.zeros((size, longest), np.int64), np.zeros((size, longest), np.int64)
            labels = np.full((size, longest), -100)
            for row, (one, counted) in enumerate(chosen):
                ids[row, : len(one)], mask[row, : len(one)] = one, 1
                labels[row, : len(one)] = np.where(counted, one, -100)
            tensors = {"input_ids": ids, "attention_mask": mask, "labels": labels}
            yield {name: torch.from_numpy(array) for name, array in tensors.items()}, int(mask.sum())
