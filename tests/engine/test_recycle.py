import numpy as np
import pytest
import torch

from krita_diffbmp.engine import pyramid
from krita_diffbmp.engine.initialize import Parameters
from krita_diffbmp.engine.recycle import coverage, error_density, recycle, visible_share
from krita_diffbmp.engine.render import Rendering
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
    )


def test_coverage_counts_bitmap_pixels():
    half = np.ones((20, 30, 4), np.float32)
    half[:, :15, 3] = 0
    packed = pyramid.pack([half, np.ones((8, 8, 4), np.float32)], max_scale=[0.25, 1.0])
    assert coverage(packed).tolist() == pytest.approx([300, 64], rel=1e-3)


def test_share_is_what_shows():
    drawn = scene([[20.0, 20.0], [20.0, 20.0], [40.0, 8.0], [200.0, 8.0], [8.0, 32.0]], [20.0, 20.0, 20.0, 20.0, 0.0])
    hidden, whole, half, outside, translucent = visible_share(drawn).tolist()
    assert hidden == pytest.approx(0, abs=1e-3) and outside == 0
    assert (whole, half, translucent) == pytest.approx((1, 0.5, 0.5), abs=1e-3)


def test_error_density_is_zero_where_the_picture_is_right_or_the_target_transparent():
    target = torch.ones(4, 30, 60)
    target[:, :, 40:] = 0
    color = target[:-1].clone()
    color[:, 10:14, 10:14] = 0
    color[:, 10:14, 50:54] = 1
    density = error_density(Rendering(color, 1 - target[-1]), target)
    assert density[12, 12] > 0 and density[12, 30] == 0
    assert density[:, 40:].eq(0).all()


def test_recycled_instances_begin_anew_in_front_without_momentum():
    """Peer's defect 8: instances that were placed anew kept the moments of what they had been."""
    state = parameters()
    learned = [state.position, state.rotation, state.log_size, state.opacity, state.color]
    optimizer = torch.optim.Adam(learned, lr=0.0)
    sum(
        (index + 1) * (values * (1 + torch.arange(10.0).view(-1, *[1] * (values.dim() - 1)))).sum()
        for index, values in enumerate(learned)
    ).backward()
    optimizer.step()
    before = {values: {k: v.clone() for k, v in optimizer.state[values].items()} for values in learned}
    kept_positions = state.position.detach().clone()
    share = torch.ones(10)
    share[[3, 7]] = torch.tensor([0.1, 0.0])
    target = torch.full((4, 20, 20), 0.8)
    target[-1] = 1
    density = torch.zeros(20, 20)
    density[5, 6] = 1
    recycle(2, state, optimizer.state, share, density, target, (1.0, 2.0), torch.Generator().manual_seed(0))

    kept = [0, 1, 2, 4, 5, 6, 8, 9]
    assert state.bitmap.tolist() == [*kept, 7, 3]
    assert torch.equal(state.position[:8], kept_positions[kept])
    assert state.position[8:].floor().tolist() == [[6, 5], [6, 5]]
    torch.testing.assert_close(torch.sigmoid(state.color[8:]), torch.full((2, 3), 0.8))
    assert state.log_size[8:].min() >= 1 and state.log_size[8:].max() <= 2
    for values in learned:
        for name in ("exp_avg", "exp_avg_sq"):
            assert optimizer.state[values][name][8:].eq(0).all()
            assert torch.equal(optimizer.state[values][name][:8], before[values][name][kept])


def test_a_perfect_picture_is_left_alone():
    state = parameters()
    before = state.copy()
    recycle(3, state, {}, torch.ones(10), torch.zeros(5, 5), torch.ones(4, 5, 5), (0.0, 1.0), torch.Generator())
    assert torch.equal(state.position, before.position) and torch.equal(state.bitmap, before.bitmap)
