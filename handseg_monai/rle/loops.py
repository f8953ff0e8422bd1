"""Compiled loops over the runs of many masks, for :mod:`handseg_monai.rle`."""

from __future__ import annotations

import numba
import numpy as np

_SPACE, _ZERO = ord(" "), ord("0")
_MOST = 10**18


@numba.njit(cache=True, nogil=True)
def read_runs(  # type: ignore[no-untyped-def]  # pragma: no cover
    text, text_start, text_end, pixels, first, start, end
):
    """Read run-length texts that lie in one buffer.

    Parameters
    ----------
    text
        uint8 (L,).
    text_start, text_end
        int64 (M,): where each mask's text lies.
    pixels
        int64 (M,): pixels of each mask.
    first
        int64 (M + 1,), filled: mask k has the runs ``first[k]`` to ``first[k + 1] - 1``.
    start, end
        int64, at least (L + M) / 4 of each, filled: 0-based pixels at which runs begin and end.

    Returns
    -------
    right
        Whether all of it is digits between single spaces that keep the contract; where not, what was filled means
        nothing.
    """
    count = 0
    first[0] = 0
    for mask in range(len(text_start)):
        at, last = text_start[mask], text_end[mask]
        reached = np.int64(0)
        begins = np.int64(-1)
        while at < last:
            number = np.int64(0)
            from_ = at
            while at < last and text[at] != _SPACE:
                digit = np.int64(text[at]) - _ZERO
                if digit < 0 or digit > 9 or number >= _MOST // 10:
                    return False
                number = 10 * number + digit
                at += 1
            if at == from_ or number < 1:
                return False
            if begins < 0:
                begins = number - 1
                if begins < reached:
                    return False
            else:
                reached = begins + number
                if reached > pixels[mask]:
                    return False
                start[count], end[count] = begins, reached
                count += 1
                begins = -1
            if at < last:
                at += 1
                if at == last:
                    return False
        if begins >= 0:
            return False
        first[mask + 1] = count
    return True


@numba.njit(cache=True, nogil=True)
def elect_runs(  # type: ignore[no-untyped-def]  # pragma: no cover
    first, start, end, weights, least, elected_first, elected
):
    """Sweep over the runs of all voters, mask by mask, and keep those pixels that have enough votes.

    Parameters
    ----------
    first
        int64 (V, M + 1): each voter's first run of each mask, in ``start`` and ``end``.
    start, end
        int64 (N,): 0-based pixels at which the voters' runs begin and end, in order within a mask.
    weights
        int64 (V,).
    least
        Sum of weights from which a pixel is elected, >= 1.
    elected_first
        int64 (M + 1,), filled: mask k has the edges ``elected_first[k]`` to ``elected_first[k + 1] - 1``.
    elected
        int64, at least 2 N, filled: pixels at which elected runs begin and, alternately, end.
    """
    voters, masks = first.shape[0], first.shape[1] - 1
    far = np.iinfo(np.int64).max
    run = np.empty(voters, np.int64)
    inside = np.empty(voters, np.bool_)
    ahead = np.empty(voters, np.int64)
    count = 0
    elected_first[0] = 0
    for mask in range(masks):
        place = far
        for voter in range(voters):
            run[voter] = first[voter, mask]
            inside[voter] = False
            ahead[voter] = start[run[voter]] if run[voter] < first[voter, mask + 1] else far
            place = min(place, ahead[voter])
        votes = np.int64(0)
        was = False
        while place != far:
            following = far
            for voter in range(voters):
                while ahead[voter] == place:
                    if inside[voter]:
                        votes -= weights[voter]
                        run[voter] += 1
                        more = run[voter] < first[voter, mask + 1]
                        ahead[voter] = start[run[voter]] if more else far
                    else:
                        votes += weights[voter]
                        ahead[voter] = end[run[voter]]
                    inside[voter] = not inside[voter]
                following = min(following, ahead[voter])
            now = votes >= least
            if now != was:
                elected[count] = place
                count += 1
                was = now
            place = following
        elected_first[mask + 1] = count


@numba.njit(cache=True, nogil=True)
def write_runs(  # type: ignore[no-untyped-def]  # pragma: no cover
    edges_first, edges, text_end, text
):
    """Write runs as text.

    Parameters
    ----------
    edges_first
        int64 (M + 1,): mask k has the edges ``edges_first[k]`` to ``edges_first[k + 1] - 1``.
    edges
        int64: 0-based pixels at which runs begin and, alternately, end.
    text_end
        int64 (M,), filled: where each mask's text ends; it begins where the one before it ends.
    text
        uint8, at least 20 for each edge, filled.

    Returns
    -------
    length
        Of the text.
    """
    digits = np.empty(20, np.uint8)
    at = 0
    for mask in range(len(text_end)):
        for edge in range(edges_first[mask], edges_first[mask + 1]):
            if edge > edges_first[mask]:
                text[at] = _SPACE
                at += 1
            begins = (edge - edges_first[mask]) % 2 == 0
            number = edges[edge] + 1 if begins else edges[edge] - edges[edge - 1]
            size = 0
            while number > 0:
                digits[size] = _ZERO + number % 10
                number //= 10
                size += 1
            for place in range(size):
                text[at + place] = digits[size - 1 - place]
            at += size
        text_end[mask] = at
    return at
