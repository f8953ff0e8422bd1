"""Compiled loops over the runs of many masks, for :mod:`handseg_monai.rle`."""

from __future__ import annotations

import numpy as np

from handseg_monai.compiled import compiled

_SPACE, _ZERO = ord(" "), ord("0")
_MOST, _FAR = 10**18, 2**63 - 1


@compiled("int64", "uint8*", "int64*", "int64*", "int64*", "int64", "int64*", "int64*", "int64*")
def read_runs(  # type: ignore[no-untyped-def]  # pragma: no cover
    text, text_start, text_end, pixels, masks, first, start, end
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
    masks
        M.
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
    for mask in range(masks):
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


@compiled("int64", "int64*", "int64*", "int64*", "int64*", "int64", "int64", "int64", "int64*", "int64*", "int64*")
def elect_runs(  # type: ignore[no-untyped-def]  # pragma: no cover
    first, start, end, weights, voters, masks, least, state, elected_first, elected
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
    voters, masks
        V and M.
    least
        Sum of weights from which a pixel is elected, >= 1.
    state
        int64 (3, V), to work in: of each voter the run, whether it is inside it, and the pixel ahead where that flips.
    elected_first
        int64 (M + 1,), filled: mask k has the edges ``elected_first[k]`` to ``elected_first[k + 1] - 1``.
    elected
        int64, at least 2 N, filled: pixels at which elected runs begin and, alternately, end.

    Returns
    -------
    count
        Of those edges.
    """
    count = 0
    elected_first[0] = 0
    run, inside, ahead = 0, voters, 2 * voters
    for mask in range(masks):
        place = _FAR
        for voter in range(voters):
            at = voter * (masks + 1) + mask
            state[run + voter], state[inside + voter] = first[at], 0
            state[ahead + voter] = start[first[at]] if first[at] < first[at + 1] else _FAR
            place = min(place, state[ahead + voter])
        votes = np.int64(0)
        was = False
        while place != _FAR:
            following = _FAR
            for voter in range(voters):
                while state[ahead + voter] == place:
                    if state[inside + voter]:
                        votes -= weights[voter]
                        state[run + voter] += 1
                        more = state[run + voter] < first[voter * (masks + 1) + mask + 1]
                        state[ahead + voter] = start[state[run + voter]] if more else _FAR
                    else:
                        votes += weights[voter]
                        state[ahead + voter] = end[state[run + voter]]
                    state[inside + voter] = 1 - state[inside + voter]
                following = min(following, state[ahead + voter])
            now = votes >= least
            if now != was:
                elected[count] = place
                count += 1
                was = now
            place = following
        elected_first[mask + 1] = count
    return count


@compiled("int64", "int64*", "int64*", "int64", "int64*", "uint8*")
def write_runs(  # type: ignore[no-untyped-def]  # pragma: no cover
    edges_first, edges, masks, text_end, text
):
    """Write runs as text.

    Parameters
    ----------
    edges_first
        int64 (M + 1,): mask k has the edges ``edges_first[k]`` to ``edges_first[k + 1] - 1``.
    edges
        int64: 0-based pixels at which runs begin and, alternately, end.
    masks
        M.
    text_end
        int64 (M,), filled: where each mask's text ends; it begins where the one before it ends.
    text
        uint8, at least 20 for each edge, filled.

    Returns
    -------
    length
        Of the text.
    """
    at = 0
    for mask in range(masks):
        for edge in range(edges_first[mask], edges_first[mask + 1]):
            if edge > edges_first[mask]:
                text[at] = _SPACE
                at += 1
            begins = (edge - edges_first[mask]) % 2 == 0
            number = edges[edge] + 1 if begins else edges[edge] - edges[edge - 1]
            left = number
            while left > 0:
                left //= 10
                at += 1
            place = at
            while number > 0:
                place -= 1
                text[place] = _ZERO + number % 10
                number //= 10
        text_end[mask] = at
    return at
