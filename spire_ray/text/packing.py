"""Documents → full rows: best-fit decreasing, no document cut (Ding et al., arXiv 2404.10830)."""

from bisect import bisect_left, insort
from collections.abc import Sequence


def best_fit(lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """Indices of documents for each row; every document goes whole into exactly one row.

    Documents are placed longest first into the row with the least room that still holds them. Raises ValueError for a
    document longer than a row.
    """
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (free tokens, row), sorted
    for document in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        length = lengths[document]
        if length > row_length:
            raise ValueError(f"a document of {length} tokens does not fit into a row of {row_length}")
        place = bisect_left(room, (length, -1))
        if place == len(room):
            row, free = len(rows), row_length
            rows.append([])
        else:
            free, row = room.pop(place)
        rows[row].append(document)
        if free > length:
            insort(room, (free - length, row))
    return rows
