"""Documents → full rows: best-fit decreasing, no document cut (Ding et al., arXiv 2404.10830), or joined as Megatron does."""

from bisect import bisect_left, insort
from collections.abc import Sequence


def best_fit(lengths: Sequence[int], sequence_length: int) -> list[list[int]]:
    """Indices of documents for each row; every document goes whole into exactly one row.

    Documents are placed longest first into the row with the least room that still holds them. Raises ValueError for a
    document longer than a row.
    """
    rows: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(sequence_length + 1)]
    rooms: list[int] = []  # sizes of room that some row has, sorted
    for document in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        length = lengths[document]
        if length > sequence_length:
            raise ValueError(f"a document of {length} tokens does not fit into a row of {sequence_length}")
        place = bisect_left(rooms, length)
        if place == len(rooms):
            row, free = len(rows), sequence_length
            rows.append([])
        else:
            free = rooms[place]
            row = with_room[free].pop()
            if not with_room[free]:
                del rooms[place]
        rows[row].append(document)
        if free > length:
            if not with_room[free - length]:
                insort(rooms, free - length)
            with_room[free - length].append(row)
    return rows


def joined(lengths: Sequence[int], sequence_length: int) -> list[list[tuple[int, int, int]]]:
    """Pieces (document, start, stop) for each row: documents one after another, cut at the edge of a row."""
    rows: list[list[tuple[int, int, int]]] = []
    free = 0
    for document, length in enumerate(lengths):
        start = 0
        while start < length:
            if not free:
                rows.append([])
                free = sequence_length
            stop = min(length, start + free)
            rows[-1].append((document, start, stop))
            free -= stop - start
            start = stop
    return rows
