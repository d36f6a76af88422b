"""Folding kernel positions of a first layer into channels."""

import pytest

from codesign.compiler.fold import Axis, best, cover


def axis(kernel, padding, extent, stride=1, dilation=1):
    offsets = tuple(k * dilation - padding for k in range(kernel))
    reach = dilation * (kernel - 1) + 1
    return Axis(offsets, extent, (extent + 2 * padding - reach) // stride + 1, stride)


@pytest.mark.parametrize("kernel", range(1, 8))
@pytest.mark.parametrize("padding", range(4))
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("extent", [4, 9])
def test_words_are_inside_wherever_their_pixels_are(kernel, padding, stride, extent):
    at = axis(kernel, padding, extent, stride)
    if at.outputs < 1:
        return
    for count in range(1, 4):
        for first in range(1 - count, 1):
            shifts = range(first, first + count)
            held = cover(at, shifts)
            assert set(held) == set(at.offsets)
            for offset, base in held.items():
                assert offset - base in shifts
                for y in range(at.outputs):
                    pixel, word = stride * y + offset, stride * y + base
                    assert 0 <= word < extent or not 0 <= pixel < extent


def test_a_padded_3x3_kernel_of_three_channels_takes_six_taps_of_eight_channels():
    found = best(axis(3, 1, 32), axis(3, 1, 32), (1, 1), room=2, enough=1)
    assert found.taps == 6
    assert len(found.fold) == 2


def test_nothing_is_folded_where_the_drain_is_slower_than_the_taps():
    found = best(axis(3, 1, 32), axis(3, 1, 32), (1, 1), room=2, enough=9)
    assert found.fold == ((0, 0),)


def test_a_kernel_inside_the_map_folds_whole():
    found = best(axis(3, 0, 32), axis(3, 0, 32), (1, 1), room=9, enough=1)
    assert found.taps == 1


def test_dilated_kernels_fold_at_their_dilation():
    found = best(axis(3, 0, 32, dilation=2), axis(3, 0, 32, dilation=2), (2, 2), 9, 1)
    assert found.taps == 1
    assert (0, 2) in found.fold or (0, -2) in found.fold


def test_strides_tell_which_pixels_meet_the_edge_together():
    """At stride 2 pixels 2x + 2 and 2x + 3 of a map of even width are inside or outside alike: the
    7 columns of a stem fit 4 words of two pixels."""
    at = Axis(tuple(range(-3, 4)), 224, 112, 2)
    assert best(at, at, (1, 1), 2, 6).taps == 28
