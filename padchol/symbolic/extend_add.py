"""Tables of the extend-add: where the update of each tiled front goes in the panels above it.

Entry (i, j) of an update belongs to column j of the panel of its *owner*, the supernode that row j
is a pivot of. For one front and one owner, the columns that go there are cut into *strips*, at most
QUAD neighbours in one quad of columns of the owner, and the rows from the first of these columns on
into *pieces*, at most QUAD neighbours in the panel of the owner. Every piece meets every strip that
begins in it or above it, in a *square*. Squares may reach above the diagonal of the update; they
then lie above the diagonal of the owner's panel, which is overwritten before anything reads it.

An update is made and handed up in bands of BAND rows. Where pieces meet few strips, in the whole
matrix or in one front, squares are listed: they are run through in one loop. Of other fronts there
is one *move* for each owner and band, a first strip and a range of pieces: two loops, but integers
in proportion to rows. Meshes have no such fronts up to some 40^3, so that programs for them lack
these loops.

Owners of which each has all rows of the one before, the next one's pivots and its rows below, form
a *chain*, such as that of a wide supernode that was cut. A row lies in their panels at places that
differ by a constant, so that one list of pieces serves the whole chain: a dense tail of n columns
takes O(n^2) integers where squares are O(n^3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.sparse as sp

from padchol.symbolic.layout import BAND, QUAD, fits_int32, fits_memory
from padchol.symbolic.pieces import ranges
from padchol.symbolic.supernodes import Supernodes, begins, ramp

if TYPE_CHECKING:
    from padchol.symbolic.tiles import Placement

LISTED = 8  # strips that a piece meets on average, up to which squares are listed (experiment 31)


class Moves(NamedTuple):
    """square_ptr, move_ptr (S + 1,): the first square, and the first move, of each front; both come
    band by band, then by owner, pieces downwards, and strips from left to right.

    squares (., 3)  strip; piece; where it starts in the panel storage
    moves (., 3)    first strip; first piece and one behind the last
    strips (., 2)   2^QUAD * (first column in the update, counted from a margin of QUAD on its left
                    and from the first lane of its quad) + (which of the QUAD lanes count, as bits);
                    where that quad of columns would start in the panel storage if the owner had all
                    rows of the chain's first owner
    pieces (., 3)   QUAD * (first row in the update) + (rows - 1); where that row starts in a quad
                    of columns of the chain's first owner; one behind the last strip that it meets

    In a square, strip and piece stand for the first integer of these.
    """

    square_ptr: np.ndarray
    move_ptr: np.ndarray
    squares: np.ndarray
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

    def records(self) -> np.ndarray:
        code = (QUAD + self.column - self.lane) * 2**QUAD + self.lanes
        return np.column_stack([code, self.quad]).astype(np.int32)


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
    fits_int32(3 * (rows // QUAD), "the table of the extend-add")  # it has so many at least
    fits_memory(8 * rows, "the table of the extend-add")
    pieces, found, done = [np.zeros((0, 3), np.int32)], [np.zeros((0, 5), np.int64)], 0
    for a, b in ranges(pairs.height):
        part = _Pairs(*(x[a:b] for x in pairs))
        cut, pair, band = _pieces(nodes, where, chain, part)
        pieces.append(cut)
        mine = slice(part.begin[0], part.end[-1])
        wanted = _key(np.repeat(np.arange(b - a), part.end - part.begin), strips.column[mine])
        first = np.searchsorted(_key(pair, cut[:, 0] // QUAD), wanted, side="right") - 1
        strips.piece[mine] = done + first
        head = np.flatnonzero(begins(pair, band))
        tail = np.append(head, pair.size)[1:]
        p = pair[head]
        record = (part.front[p], band[head], part.begin[p], done + head, done + tail)
        found.append(np.column_stack(record))
        done += pair.size
        fits_int32(3 * done, "the table of the extend-add")
    cut = np.concatenate(pieces)
    cut[:, 2] = np.searchsorted(strips.piece, np.arange(done), side="right")
    return _listed(nodes.parent.size, *_by_bands(nodes, np.concatenate(found)), strips, cut)


def _listed(
    S: int, front: np.ndarray, moved: np.ndarray, strips: _Strips, pieces: np.ndarray
) -> Moves:
    """The tables, given all moves: some fronts' are replaced by lists of their squares."""
    begin, low, high = moved.T
    move = np.repeat(np.arange(front.size), high - low)
    piece = low[move] + ramp(high - low)
    meets = pieces[piece, 2] - begin[move]
    squares = np.bincount(front[move], meets, S).astype(np.int64)
    met = np.bincount(front[move], minlength=S)
    few = squares <= LISTED * met
    few |= squares.sum() <= LISTED * met.sum()
    squares *= few
    fits_int32(3 * int(squares.sum()), "the table of the extend-add")
    listed, table = few[front[move]], strips.records()
    squares_of = _squares(table, pieces, begin[move[listed]], piece[listed], meets[listed])
    kept = np.zeros(len(pieces), bool)
    kept[piece[~listed]] = True
    strip_kept = kept[strips.piece]
    new_strip, new_piece = (np.append(0, np.cumsum(x)) for x in (strip_kept, kept))
    moved = moved[~few[front]]
    pieces = pieces[kept]
    pieces[:, 2] = new_strip[pieces[:, 2]]
    return Moves(
        np.append(0, np.cumsum(squares)),
        np.append(0, np.cumsum(np.bincount(front[~few[front]], minlength=S))),
        squares_of,
        np.column_stack([new_strip[moved[:, 0]], new_piece[moved[:, 1:]]]).astype(np.int32),
        table[strip_kept],
        pieces,
    )


def _squares(strips, pieces, begin, piece, meets) -> np.ndarray:
    """`squares` of `Moves`: these pieces, each with the strips from `begin` on that it meets."""
    end = np.cumsum(meets)
    found = np.empty((int(meets.sum()), 3), np.int32)
    for a, b in ranges(meets):
        strip = np.repeat(begin[a:b], meets[a:b]) + ramp(meets[a:b])
        row = np.repeat(piece[a:b], meets[a:b])
        part = found[end[a] - meets[a] : end[b - 1]]
        part[:, 0], part[:, 1] = strips[strip, 0], pieces[row, 0]
        part[:, 2] = strips[strip, 1] + pieces[row, 1]
    return found


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
    cut = np.column_stack([QUAD * row + size - 1, target[at], 0 * row]).astype(np.int32)
    return cut, pair[at], row // BAND


def _key(pair: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Ascends with the pair, then with the row."""
    return pair * np.int64(2**32) + row


def _by_bands(nodes: Supernodes, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The front of each move, and the moves as in `Moves`, by front, band and owner; columns of
    `found`: front, band, and a move; by front and owner."""
    front, band = found[:, 0], found[:, 1]
    bands = -(-nodes.below // BAND)
    order = stable_order((np.cumsum(bands) - bands)[front] + band, int(bands.sum()))
    return front[order], found[order, 2:]


def stable_order(key: np.ndarray, keys: int) -> np.ndarray:
    """The stable argsort of integers in [0, keys), in linear time: a transposition counts them."""
    every = np.arange(key.size + 1, dtype=np.int32)
    one_each = (np.ones(key.size, np.int8), key, every)
    return sp.csc_array(one_each, shape=(max(keys, 1), key.size)).tocsr().indices
