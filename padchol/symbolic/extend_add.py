"""Tables of the extend-add: where the update of each tiled front goes in the panels above it.

Entry (i, j) of an update belongs to column j of the panel of its *owner*, the supernode that row j
is a pivot of. For one front and one owner, the columns that go there are cut into *strips*, at most
QUAD neighbours in one quad of columns of the owner, and the rows from the first of these columns on
into *pieces*, at most QUAD neighbours in the panel of the owner. Every strip meets every piece: the
tables grow with rows, while what they stand for, QUAD x QUAD squares, grows with entries.

Owners of which each has all rows of the one before, the next one's pivots and its rows below, form
a *chain*, such as that of a wide supernode that was cut. A row lies in their panels at places that
differ by a constant, so that one list of pieces serves the whole chain: a dense tail of n columns
takes O(n^2) integers where squares are O(n^3).

An update is made and handed up in bands of BAND rows. A *move* is one chain in one band: a range of
strips, and a range of pieces. Squares may reach above the diagonal of the update; they then lie
above the diagonal of the owner's panel, which is overwritten before anything reads it.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.sparse as sp

from padchol.symbolic.layout import BAND, QUAD, fits_int32, fits_memory
from padchol.symbolic.supernodes import Supernodes, begins, ramp

if TYPE_CHECKING:
    from padchol.symbolic.tiles import Placement

AT_ONCE = 1 << 19  # rows of pairs of front and chain cut at a time: arrays of 4 megabytes


class Moves(NamedTuple):
    """ptr (S + 1,): the first move of each front; moves of a front come band by band.

    moves (., 4)    first strip and one behind the last, first piece and one behind the last
    strips (., 4)   first column in the update, counted from a margin of QUAD on its left and from
                    the first lane of its quad; which of the QUAD lanes count, as bits; where that
                    quad of columns would start in the panel storage if the owner had all rows of
                    the chain's first owner; the piece that its first row is in
    pieces (., 2)   QUAD * (first row in the update) + (rows - 1); where that row starts in a quad
                    of columns of the chain's first owner
    """

    ptr: np.ndarray
    moves: np.ndarray
    strips: np.ndarray
    pieces: np.ndarray


class _Strips(NamedTuple):
    """One a row, by front, then owner, then column."""

    column: np.ndarray  # the first, in the update
    lane: np.ndarray  # of that column, in its quad of the owner
    lanes: np.ndarray  # which count, as bits
    quad: np.ndarray  # as in `Moves`
    piece: np.ndarray  # the one that its first row is in


class _Pairs(NamedTuple):
    """Pairs of a front and a chain of owners of its rows, by front, then owner."""

    front: np.ndarray
    owner: np.ndarray  # the first of the chain that has rows of this front as pivots
    column: np.ndarray  # the first of the owner's, in the update
    height: np.ndarray  # rows from there on
    begin: np.ndarray  # its first strip, and one behind its last
    end: np.ndarray


def moves(nodes: Supernodes, where: Placement) -> Moves:
    """The tables. Cost: in proportion to the rows of all pairs of front and chain."""
    chain = _chains(nodes)
    strips, pairs = _strips(nodes, where, chain)
    rows = int(pairs.height.sum())
    fits_int32(2 * (rows // QUAD), "the table of the extend-add")  # it has so many at least
    fits_memory(8 * rows, "the table of the extend-add")
    bounds = np.searchsorted(np.cumsum(pairs.height), np.arange(AT_ONCE, rows, AT_ONCE))
    bounds = np.unique([0, *bounds, pairs.front.size]).tolist()
    pieces, found, done = [np.zeros((0, 2), np.int32)], [np.zeros((0, 6), np.int64)], 0
    for a, b in itertools.pairwise(bounds):
        part = _Pairs(*(x[a:b] for x in pairs))
        cut, pair, band = _pieces(nodes, where, chain, part)
        pieces.append(cut)
        mine = slice(part.begin[0], part.end[-1])
        wanted = _key(np.repeat(np.arange(b - a), part.end - part.begin), strips.column[mine])
        first = np.searchsorted(_key(pair, cut[:, 0] // QUAD), wanted, side="right") - 1
        strips.piece[mine] = done + first
        head = np.flatnonzero(begins(pair, band))
        tail = np.append(head, pair.size)[1:]
        last = part.begin[0] + np.searchsorted(first, tail)  # strips that begin in later bands not
        p = pair[head]
        record = (part.front[p], band[head], part.begin[p], last, done + head, done + tail)
        found.append(np.column_stack(record))
        done += pair.size
        fits_int32(2 * done, "the table of the extend-add")
    ptr, records = _by_bands(nodes, np.concatenate(found))
    fields = (QUAD + strips.column - strips.lane, strips.lanes, strips.quad, strips.piece)
    table = np.column_stack(fields).astype(np.int32)
    return Moves(ptr, records.astype(np.int32), table, np.concatenate(pieces))


def _chains(nodes: Supernodes) -> np.ndarray:
    """(S,): the chain of each supernode. It goes on where no padding of pivots shifts its rows."""
    goes_on = nodes.parent[:-1] == np.arange(1, nodes.parent.size)
    goes_on &= nodes.below[:-1] == nodes.width[1:] + nodes.below[1:]
    goes_on &= nodes.width[1:] % QUAD == 0
    return np.cumsum(np.append(True, ~goes_on)[: nodes.parent.size])


def _strips(nodes: Supernodes, where: Placement, chain: np.ndarray) -> tuple[_Strips, _Pairs]:
    """All strips, whose pieces are not known yet, and the pairs that they belong to."""
    front = np.repeat(np.arange(nodes.parent.size), nodes.below)
    owner = nodes.of_column[nodes.rows]
    offset = nodes.rows - nodes.first[owner]
    head = np.flatnonzero(begins(front, owner, nodes.rows - np.arange(front.size), offset // QUAD))
    count = np.diff(np.append(head, front.size))
    front, owner, offset = front[head], owner[head], offset[head]
    lane, column = offset % QUAD, head - nodes.row_ptr[front]
    new = np.flatnonzero(begins(front, chain[owner]))
    end = np.append(new, head.size)[1:]
    pivots = np.cumsum(QUAD * where.quads) - QUAD * where.quads
    above = pivots[owner] - np.repeat(pivots[owner[new]], end - new)  # rows of earlier owners
    quad = where.panel[owner] + offset // QUAD * (QUAD * where.D[owner]) - QUAD * above
    strips = _Strips(column, lane, ((1 << count) - 1) << lane, quad, np.zeros(head.size, np.int64))
    front, column = front[new], column[new]
    return strips, _Pairs(front, owner[new], column, nodes.below[front] - column, new, end)


def _pieces(
    nodes: Supernodes, where: Placement, chain: np.ndarray, pairs: _Pairs
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pieces of these pairs, as in `Moves`; of each its pair, counted here, and its band.

    The pivots of one owner of the chain are no neighbours of the next one's: a strip of that must
    not meet them.
    """
    pair, row = np.repeat(np.arange(pairs.front.size), pairs.height), ramp(pairs.height)
    row += np.repeat(pairs.column, pairs.height)
    i = nodes.rows[np.repeat(nodes.row_ptr[pairs.front], pairs.height) + row]
    target = QUAD * where.row(nodes, pairs.owner[pair], i)
    owner = nodes.of_column[i]
    owner[chain[owner] != chain[pairs.owner][pair]] = -1
    run = np.flatnonzero(begins(pair, target - QUAD * row, row // BAND, owner))
    size = np.diff(np.append(run, row.size))
    count = -(-size // QUAD)
    done = QUAD * ramp(count)
    at = np.repeat(run, count) + done
    size = np.minimum(np.repeat(size, count) - done, QUAD)
    row = row[at]
    cut = np.column_stack([QUAD * row + size - 1, target[at]]).astype(np.int32)
    return cut, pair[at], row // BAND


def _key(pair: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Ascends with the pair, then with the row."""
    return pair * np.int64(2**32) + row


def _by_bands(nodes: Supernodes, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ptr and moves of `Moves`; columns of `found`: front, band, and a move; by front and owner."""
    front, band = found[:, 0], found[:, 1]
    bands = -(-nodes.below // BAND)
    order = stable_order((np.cumsum(bands) - bands)[front] + band, int(bands.sum()))
    count = np.bincount(front, minlength=nodes.parent.size)
    return np.append(0, np.cumsum(count)), found[order, 2:]


def stable_order(key: np.ndarray, keys: int) -> np.ndarray:
    """The stable argsort of integers in [0, keys), in linear time: a transposition counts them."""
    every = np.arange(key.size + 1, dtype=np.int32)
    one_each = (np.ones(key.size, np.int8), key, every)
    return sp.csc_array(one_each, shape=(max(keys, 1), key.size)).tocsr().indices
