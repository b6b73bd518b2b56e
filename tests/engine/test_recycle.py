from dataclasses import replace

import numpy as np
import pytest
import torch

from krita_diffbmp.engine import pyramid
from krita_diffbmp.engine.initialize import Parameters
from krita_diffbmp.engine.recycle import coverage, least_visible, recycle, visible_share
from krita_diffbmp.engine.scene import Instances, Scene


def scene(positions, opacities, scale=1.0):
    count = len(positions)
    return Scene(
        bitmaps=pyramid.pack([np.ones((10, 10, 4), np.float32)]),
        instances=Instances(
            position=torch.tensor(positions),
            rotation=torch.zeros(count),
            scale=torch.full((count,), scale),
            opacity=torch.tensor(opacities),
            color=torch.rand(count, 3),
            bitmap=torch.zeros(count, dtype=torch.int32),
        ),
        height=40,
        width=40,
        mu_blend=1.0,
    )


def parameters(count=10):
    return Parameters(
        position=torch.arange(2.0 * count).view(count, 2).requires_grad_(),
        rotation=torch.zeros(count).requires_grad_(),
        log_size=torch.ones(count).requires_grad_(),
        opacity=torch.zeros(count).requires_grad_(),
        color=torch.zeros(count, 3).requires_grad_(),
        bitmap=torch.arange(count, dtype=torch.int32),
        aspect=torch.ones(count).requires_grad_(),
    )


def test_coverage_counts_bitmap_pixels():
    half = np.ones((20, 30, 4), np.float32)
    half[:, :15, 3] = 0
    packed = pyramid.pack([half, np.ones((8, 8, 4), np.float32)], scales=[(0, 0.25), (0, 1.0)])
    assert coverage(packed).tolist() == pytest.approx([300, 64], rel=1e-3)


def test_share_is_what_shows():
    drawn = scene([[20.0, 20.0], [20.0, 20.0], [40.0, 8.0], [200.0, 8.0], [8.0, 32.0]], [20.0, 20.0, 20.0, 20.0, 0.0])
    hidden, whole, half, outside, translucent = visible_share(drawn).tolist()
    assert hidden == pytest.approx(0, abs=1e-3) and outside == 0
    assert (whole, half, translucent) == pytest.approx((1, 0.5, 0.5), abs=1e-3)


def test_the_least_visible_of_a_block():
    share = torch.tensor([0.0, 0.3, 0.1, 0.2, 0.0])
    assert least_visible(share, 2).tolist() == [0, 4]
    assert least_visible(share, 2, slice(1, 4)).tolist() == [2, 3]


@pytest.mark.parametrize("block", [slice(None), slice(2, 9)])
def test_recycled_instances_begin_anew_in_front_without_momentum(block):
    """Peer's defect 8: instances that were placed anew kept the moments of what they had been."""
    state = parameters()
    learned = [state.position, state.rotation, state.log_size, state.opacity, state.color, state.aspect]
    optimizer = torch.optim.Adam(learned, lr=0.0)
    sum(
        (index + 1) * (values * (1 + torch.arange(10.0).view(-1, *[1] * (values.dim() - 1)))).sum()
        for index, values in enumerate(learned)
    ).backward()
    optimizer.step()
    before = {values: {k: v.clone() for k, v in optimizer.state[values].items()} for values in learned}
    kept_positions = state.position.detach().clone()
    chosen = torch.tensor([7, 3])
    values = {name: torch.full_like(getattr(state, name)[chosen].detach(), 0.25) for name in vars(state)}
    fresh = replace(Parameters(**values), bitmap=torch.tensor([7, 3], dtype=torch.int32), aspect=None)
    recycle(chosen, fresh, state, optimizer.state, block)

    order = [0, 1, 2, 4, 5, 6, 8, 9, 7, 3] if block == slice(None) else [0, 1, 2, 4, 5, 6, 8, 7, 3, 9]
    kept = [place for place, index in enumerate(order) if index not in (3, 7)]
    new = [place for place, index in enumerate(order) if index in (3, 7)]
    assert state.bitmap.tolist() == order
    assert torch.equal(state.position[kept], kept_positions[[order[place] for place in kept]])
    for values in learned:
        assert values[new].eq(0 if values is state.aspect else 0.25).all()
        for name in ("exp_avg", "exp_avg_sq"):
            assert optimizer.state[values][name][new].eq(0).all()
            moved = before[values][name][[order[place] for place in kept]]
            assert torch.equal(optimizer.state[values][name][kept], moved)
