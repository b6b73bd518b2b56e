"""Raw pixels to float32 and back, outside Krita; that Krita stores them so is checked in in_krita_capture.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from krita_diffbmp.canvas.space import Space
from krita_diffbmp.problem import DiffBmpError

INTEGER = [Space(model, depth, "p") for model in ("GRAYA", "RGBA", "CMYKA") for depth in ("U8", "U16")]
FLOAT = [Space("GRAYA", "F16", "p"), Space("RGBA", "F16", "p"), Space("RGBA", "F32", "p"), Space("CMYKA", "F32", "p")]


@pytest.mark.parametrize("space", INTEGER, ids=str)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 5), width=st.integers(1, 5))
def test_integers_come_back_exactly(space, seed, height, width):
    rng = np.random.default_rng(seed)
    full = np.iinfo(space.dtype).max
    raw = rng.integers(0, full, (height, width, space.channels + 1), space.dtype, endpoint=True)
    pixels, clipped = space.decode(raw.tobytes(), height, width)
    assert not clipped
    assert pixels.min() >= 0 and pixels.max() <= 1
    assert space.encode(pixels) == raw.tobytes()


@pytest.mark.parametrize("space", FLOAT, ids=str)
@given(seed=st.integers(0, 2**32 - 1))
def test_floats_come_back_within_their_precision(space, seed):
    pixels = np.random.default_rng(seed).uniform(0, 1, (3, 4, space.channels + 1)).astype(np.float32)
    back, clipped = space.decode(space.encode(pixels), 3, 4)
    assert not clipped
    np.testing.assert_allclose(back, pixels, atol=2 * np.finfo(space.dtype).eps)


@pytest.mark.parametrize("space", INTEGER + FLOAT, ids=str)
def test_full_and_empty_pixels(space):
    ends = np.array([[[0.0] * (space.channels + 1), [1.0] * (space.channels + 1)]], np.float32)
    back, _ = space.decode(space.encode(ends), 1, 2)
    np.testing.assert_array_equal(back, ends)


def test_what_floats_should_not_hold_is_cut_off_and_said():
    space = Space("RGBA", "F32", "p")
    raw = np.array([[[np.nan, np.inf, -3.0, 1.0]]], np.float32)
    pixels, clipped = space.decode(raw.tobytes(), 1, 1)
    assert clipped
    np.testing.assert_array_equal(pixels, [[[0, 1, 0, 1]]])


@pytest.mark.parametrize("model", ["LABA", "XYZA", "YCbCrA", "A"])
def test_other_models_get_a_sentence(model):
    with pytest.raises(DiffBmpError, match=r"^The document uses the colour model .* convert it with Image >"):
        Space(model, "U8", "p").check("The document")
