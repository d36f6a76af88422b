"""Block sparsity: what a share of zero tap blocks leaves of a layer's taps.

A tap of a dense layer is one kernel position of one plane of M input channels, for a block of N
outputs; its M by N weights are one word of WGT. Where all of them are zero the compiler drops it.
Pruning (``codesign.prune.blocks``) and the cost models count with the one function here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_ROUNDING = 1e-9
"""A share of 0.29 of 100 taps is 29, not the 28.999... that float64 makes of it."""


def kept_taps(taps: npt.ArrayLike, sparsity: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Taps that every block of N outputs keeps of ``taps``: one at least, for an instruction needs
    it.

    Raises
    ------
    ValueError
        A share outside [0, 1].
    """
    share = np.asarray(sparsity, np.float64)
    if not ((share >= 0) & (share <= 1)).all():
        raise ValueError(f"sparsity {sparsity!r} is outside 0..1: it is a share of the tap blocks")
    whole = np.asarray(taps, np.int64)
    zero = np.floor(whole * share + _ROUNDING).astype(np.int64)
    kept: npt.NDArray[np.int64] = np.maximum(whole - zero, 1)
    return kept
