"""The search behind half lists, compiled by numba: each pair of neighbours once.

Atoms are sorted into cells, column by column of cells, so that the atoms around one stand in a few
stretches of that order: half of the columns around its own, and what follows it in its own column.
numba is an optional dependency; `half_list` knows whether it is there.
"""

import numpy as np
from numba import uint32

from stzjax.numerics.foreign import introduced, operand, part, result

_FINE = 2
"""Cells within the distance of the search, on either side."""


@part
def _division(cell, distance, num_atoms, cells, reach):
    """Cells along each cell vector and how many to look into; False where no image is nearest."""
    a, b, c = cell[0], cell[4], cell[8]
    ab, ac, bc = cell[1], cell[2], cell[5]
    most = max(4 * int(num_atoms ** (1.0 / 3.0)), 1)
    slope_a, slope_b = ab / (a * b), bc / (b * c)
    skew = (ab * bc - ac * b) / (a * b * c)
    heights = (
        1.0 / np.sqrt(1.0 / (a * a) + slope_a * slope_a + skew * skew),
        1.0 / np.sqrt(1.0 / (b * b) + slope_b * slope_b),
        abs(c),
    )
    for side in range(3):
        height = heights[side]
        if not (height >= 1.8 * distance and height < np.inf):
            return False
        cells[side] = int(min(_FINE * height / distance, most))
        reach[side] = int(distance * cells[side] / height) + 1
        if cells[side] < 2 * reach[side] + 1:
            # Nearly all of it would be looked into: one cell, all of it.
            cells[side], reach[side] = 1, 0
    return True


@part
def _sort(fractional, cells, where, first, order):
    """Atoms sorted by cell: cells of the atoms, where each begins, and the order."""
    num_atoms = len(order)
    for atom in range(num_atoms):
        at = 0
        for side in range(3):
            x = fractional[3 * atom + side]
            x = (x - np.floor(x)) * cells[side]
            # A position that is not a number is in the first cell, and near nothing.
            at = at * cells[side] + (min(int(x), cells[side] - 1) if x > 0.0 else 0)
        where[atom] = at
        first[at + 1] += 1
    for at in range(len(first) - 1):
        first[at + 1] += first[at]
    for atom in range(num_atoms):
        at = where[atom]
        order[first[at]] = atom
        first[at] += 1
    for at in range(len(first) - 1, 0, -1):
        first[at] = first[at - 1]
    first[0] = 0


@part
def _stretches(at, cells, reach, first, begins, ends):
    """Stretches of sorted atoms around a cell, its own first, each pair of cells once; how many."""
    height = cells[2]
    level, column = at % height, at // height
    own_x, own_y = column // cells[1], column % cells[1]
    begins[0], ends[0] = first[at], first[at + 1]
    many = 1
    for across in range(reach[0] + 1):
        x = own_x + across
        x -= cells[0] if x >= cells[0] else 0
        for along in range(-reach[1] if across else 0, reach[1] + 1):
            y = own_y + along
            y += cells[1] if y < 0 else 0
            y -= cells[1] if y >= cells[1] else 0
            base = (x * cells[1] + y) * height
            low = level + 1 if across == 0 and along == 0 else level - reach[2]
            high = level + reach[2] + 1
            # What leaves the column at one end goes on at the other.
            for shift in (0, height, -height):
                bottom, top = max(low + shift, 0), min(high + shift, height)
                if bottom < top:
                    begins[many], ends[many] = first[base + bottom], first[base + top]
                    many += 1
    return many


@part
def _gather(begins, ends, many, x, y, z, there, cx, cy, cz):
    """Places and positions of the atoms of some stretches in a row; how many."""
    count = uint32(0)
    for n in range(many):
        begin = uint32(begins[n])
        for k in range(uint32(ends[n]) - begin):
            there[count + k] = begin + k
            cx[count + k], cy[count + k], cz[count + k] = x[begin + k], y[begin + k], z[begin + k]
        count += uint32(ends[n]) - begin
    return count


@part
def _measure(cx, cy, cz, itself, count, cell, square):
    """Squared distances of the atoms after one of a row from it [Å²]."""
    xx, xy, xz, yy, yz, zz = cell[0], cell[1], cell[2], cell[4], cell[5], cell[8]
    ox, oy, oz = cx[itself], cy[itself], cz[itself]
    begin = uint32(itself + 1)
    for k in range(uint32(count) - begin):
        x, y, z = cx[begin + k] - ox, cy[begin + k] - oy, cz[begin + k] - oz
        x, y, z = x - np.rint(x), y - np.rint(y), z - np.rint(z)
        x = xx * x + xy * y + xz * z
        y = yy * y + yz * z
        z = zz * z
        square[k] = x * x + y * y + z * z


@part
def _take(square, begin, count, there, near, far, close, away):
    """Places of the atoms nearer than `near`, and of the others nearer than `far`; how many."""
    found = uint32(0)
    for k in range(uint32(count - begin)):
        away[found] = k
        found += uint32(1) if square[k] < far else uint32(0)
    num_close, num_away = uint32(0), uint32(0)
    for n in range(found):
        k = uint32(away[n])
        atom = there[uint32(begin) + k]
        close[num_close], away[num_away] = atom, atom
        inside = square[k] < near
        num_close += uint32(1) if inside else uint32(0)
        num_away += uint32(0) if inside else uint32(1)
    return num_close, num_away


@part
def search(fractional, cell, near, far, order, starts, pairs):
    """Fill a half list; False where the pairs are too many or the cell is too thin.

    Args:
      fractional: (3 N,) positions.
      cell: (9,) [Å].
      near: distance of the pairs that come first in each row [Å].
      far: distance of the search [Å].
      order: (N,) atoms in the order of the list.
      starts: (2 N + 1,) where near and far neighbours of each atom begin; atoms by their place in
        the order.
      pairs: (E,) places of the neighbours; zero where there are none.
    """
    num_atoms = len(order)
    cells, reach = np.empty(3, np.int64), np.empty(3, np.int64)
    order[:] = np.arange(num_atoms)
    starts[:] = 0
    pairs[:] = 0
    if not _division(cell, far, num_atoms, cells, reach):
        return False
    num_cells = cells[0] * cells[1] * cells[2]
    where, first = np.empty(num_atoms, np.int64), np.zeros(num_cells + 1, np.int64)
    _sort(fractional, cells, where, first, order)
    x, y, z = np.empty(num_atoms), np.empty(num_atoms), np.empty(num_atoms)
    for i in range(num_atoms):
        atom = order[i]
        x[i], y[i], z[i] = fractional[3 * atom], fractional[3 * atom + 1], fractional[3 * atom + 2]
    most = 3 * (reach[0] + 1) * (2 * reach[1] + 1) + 1
    begins, ends = np.empty(most, np.int64), np.empty(most, np.int64)
    cx, cy, cz = np.empty(num_atoms), np.empty(num_atoms), np.empty(num_atoms)
    square, there = np.empty(num_atoms), np.empty(num_atoms, np.int32)
    close, away = np.empty(num_atoms, np.int32), np.empty(num_atoms, np.int32)
    total, near, far = 0, near * near, far * far
    for at in range(num_cells):
        if first[at] == first[at + 1]:
            continue
        many = _stretches(at, cells, reach, first, begins, ends)
        count = _gather(begins, ends, many, x, y, z, there, cx, cy, cz)
        for itself in range(first[at + 1] - first[at]):
            i = first[at] + itself
            _measure(cx, cy, cz, itself, count, cell, square)
            num_close, num_away = _take(square, itself + 1, count, there, near, far, close, away)
            if total + num_close + num_away > len(pairs):
                starts[2 * i + 1 :] = total
                return False
            for n in range(num_close):
                pairs[total + n] = close[n]
            starts[2 * i + 1] = total = total + num_close
            for n in range(num_away):
                pairs[total + n] = away[n]
            starts[2 * i + 2] = total = total + num_away
    return True


def _handler(dtype):
    def half_list(frame):
        if introduced(frame):
            return 0
        distances = operand(frame, 2, np.float64)
        positions, cell = operand(frame, 0, dtype), operand(frame, 1, dtype)
        fits = search(
            positions.astype(np.float64),
            cell.astype(np.float64),
            distances[0],
            distances[1],
            result(frame, 0, np.int32),
            result(frame, 1, np.int32),
            result(frame, 2, np.int32),
        )
        result(frame, 3, np.int32)[0] = 0 if fits else 1
        return 0

    return half_list


HANDLERS = {
    "float64": {"half_list": _handler(np.float64)},
    "float32": {"half_list": _handler(np.float32)},
}
