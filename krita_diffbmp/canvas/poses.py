"""Affine maps of the plane and the poses in them: numpy, a thousand at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def affine(values: Any) -> Array:
    """[..., 6] of a b c d e f (x' = a x + c y + e, y' = b x + d y + f) as [..., 2, 3]."""
    table = np.asarray(values, np.float64)
    return np.stack([table[..., 0::2], table[..., 1::2]], axis=-2)


def after(second: Array, first: Array) -> Array:
    """The map that applies `first`, then `second`: [..., 2, 3]."""
    linear = second[..., :2] @ first[..., :2]
    shift = second[..., :2] @ first[..., 2:] + second[..., 2:]
    return np.concatenate([linear, shift], axis=-1)


def inverse(maps: Array) -> Array:
    """[..., 2, 3]. Of one that leaves no area: zeros."""
    a, c, e = maps[..., 0, 0], maps[..., 0, 1], maps[..., 0, 2]
    b, d, f = maps[..., 1, 0], maps[..., 1, 1], maps[..., 1, 2]
    area = a * d - b * c
    with np.errstate(divide="ignore", invalid="ignore"):
        rows = np.stack(
            [
                np.stack([d, -c, c * f - d * e], axis=-1),
                np.stack([-b, a, b * e - a * f], axis=-1),
            ],
            axis=-2,
        )
        found: Array = np.where(area[..., None, None] != 0, rows / area[..., None, None], 0)
    return found


def pose_map(position: Any, rotation: Any, scale: Any, stretch: Any = None) -> Array:
    """From bitmap px, from the bitmap's centre, to the canvas: position + scale R(rotation) stretch, [..., 2, 3].

    stretch: [..., 2, 2]; None: the identity.
    """
    rotation, scale = np.asarray(rotation, np.float64), np.asarray(scale, np.float64)
    cosine, sine = scale * np.cos(rotation), scale * np.sin(rotation)
    linear = np.stack([np.stack([cosine, -sine], axis=-1), np.stack([sine, cosine], axis=-1)], axis=-2)
    if stretch is not None:
        linear = linear @ np.asarray(stretch, np.float64)
    return np.concatenate([linear, np.asarray(position, np.float64)[..., None]], axis=-1)


def pose_of(maps: Array) -> tuple[Array, Array, Array, Array]:
    """The inverse of `pose_map`: position [..., 2], rotation, scale [...] and stretch [..., 2, 2].

    The stretch has the determinant 1, or -1 where the map mirrors. The rotation is that of the polar decomposition,
    of the map mirrored in x where it mirrors: a map that only turns and scales has a stretch of the identity. One
    without area has the scale 0.
    """
    linear = maps[..., :2]
    area = linear[..., 0, 0] * linear[..., 1, 1] - linear[..., 0, 1] * linear[..., 1, 0]
    scale = np.sqrt(np.abs(area))
    sign = np.where(area < 0, -1.0, 1.0)
    # The nearest rotation to [[a, c], [b, d]] turns by atan2(b - c, a + d); mirrored, the first column changes sign.
    rotation = np.arctan2(sign * linear[..., 1, 0] - linear[..., 0, 1], sign * linear[..., 0, 0] + linear[..., 1, 1])
    cosine, sine = np.cos(rotation), np.sin(rotation)
    back = np.stack([np.stack([cosine, sine], axis=-1), np.stack([-sine, cosine], axis=-1)], axis=-2)
    safe = np.where(scale > 0, scale, 1.0)
    stretch = back @ linear / safe[..., None, None]
    return maps[..., 2], rotation, scale, stretch


def is_plain(stretch: Array, tolerance: float = 1e-6) -> Any:
    """Whether it is the identity, [...]."""
    return np.abs(stretch - np.eye(2)).max(axis=(-2, -1)) <= tolerance
