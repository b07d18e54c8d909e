"""Slots of a message buffer, reused by lifetime.

A message is written once, read at known later steps, and its slot is free after the last read:
the buffer stays at the size of the widest moment instead of the sum of all fronts, as the stack
of a sequential multifrontal method does (Duff & Reid 1983).
"""

from __future__ import annotations

import heapq

import numpy as np


def allocate(size: np.ndarray, last_read: np.ndarray, start: int) -> tuple[np.ndarray, int]:
    """First-fit addresses for messages written at steps 0, 1, 2, ... in order.

    size (T,): elements written at step t (0: nothing). last_read (T,): the step after which the
    slot is free; never below t. `start`: first usable address. Returns addresses (T,) and the end.
    """
    address = np.full(size.size, start, np.int64)
    free: list[tuple[int, int]] = []  # (address, length), ascending, never adjacent
    end = start
    due: list[tuple[int, int, int]] = []  # (last read, address, length)
    for t, (length, last) in enumerate(zip(size.tolist(), last_read.tolist(), strict=True)):
        while due and due[0][0] < t:
            _, freed, amount = heapq.heappop(due)
            _give_back(free, freed, amount)
        if length == 0:
            continue
        at = _take(free, length)
        if at < 0:
            at = free.pop()[0] if free and sum(free[-1]) == end else end
            end = at + length
        address[t] = at
        heapq.heappush(due, (last, at, length))
    return address, end


def _take(free: list[tuple[int, int]], length: int) -> int:
    for k, (at, amount) in enumerate(free):
        if amount >= length:
            if amount == length:
                free.pop(k)
            else:
                free[k] = (at + length, amount - length)
            return at
    return -1


def _give_back(free: list[tuple[int, int]], at: int, amount: int) -> None:
    low, high = 0, len(free)
    while low < high:
        middle = (low + high) // 2
        if free[middle][0] < at:
            low = middle + 1
        else:
            high = middle
    if low < len(free) and at + amount == free[low][0]:
        amount += free.pop(low)[1]
    if low > 0 and sum(free[low - 1]) == at:
        before, length = free[low - 1]
        free[low - 1] = (before, length + amount)
    else:
        free.insert(low, (at, amount))
