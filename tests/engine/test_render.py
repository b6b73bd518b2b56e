"""The renderer: what it draws, what it must not depend on, and what it refuses."""

import dataclasses
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from strategies import PARAMETERS, Kind, cast, scene_of, scene_with, weights

from krita_diffbmp.engine import extension, pyramid
from krita_diffbmp.engine.render import Rendering, implementation, render
from krita_diffbmp.engine.scene import Bitmaps, Instances, Scene

HERE = Path(__file__).resolve().parent

needs_extension = pytest.mark.skipif(implementation().name != "extension", reason=implementation().reason)
both = pytest.mark.parametrize("use", [pytest.param("extension", marks=needs_extension), "reference"])


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def placed(
    alpha, *, size, position, rotation=0.0, scale=1.0, opacity=30.0, color=1.0, mu_blend=0.0, dtype=torch.float64
):
    """A scene of one white bitmap, or of several placements of it, by its alpha [h, w] and canvas (width, height)."""
    position = torch.tensor(position, dtype=dtype).reshape(-1, 2)
    count = len(position)
    pixels = np.concatenate([np.ones((*alpha.shape, 3), np.float32), alpha[..., None]], axis=2).astype(np.float32)

    def each(value):
        return torch.as_tensor(value, dtype=dtype).expand(count).clone()

    instances = Instances(
        position=position,
        rotation=each(rotation),
        scale=each(scale),
        opacity=each(opacity),
        color=torch.as_tensor(color, dtype=dtype).reshape(-1, 1).expand(count, 3).clone(),
        bitmap=torch.zeros(count, dtype=torch.int32),
    )
    width, height = size
    return Scene(pyramid.pack([pixels], dtype=dtype), instances, height, width, mu_blend=mu_blend)


def arguments(scene):
    """As torch.ops.diffbmp.render takes them."""
    instances = scene.instances
    return {
        "texels": scene.bitmaps.texels,
        "levels": scene.bitmaps.levels,
        **{name: getattr(instances, name) for name in (*PARAMETERS, "bitmap")},
        "height": scene.height,
        "width": scene.width,
        "alpha_max": scene.alpha_max,
        "mu_blend": scene.mu_blend,
        "stretch": instances.stretch,
        "mu_blends": instances.mu_blend,
    }


def taken(instances, which):
    """Some of the instances."""
    there = {name: values for name, values in vars(instances).items() if values is not None}
    return dataclasses.replace(instances, **{name: values[which] for name, values in there.items()})


# ---- what is drawn


@both
@pytest.mark.parametrize("degrees", [0, 30, 45, 60, 90, 200])
def test_turned_bitmap_keeps_its_corners(use, degrees):
    """The peer rejects by distance along the canvas' axes, and cuts the corners of what is turned."""
    scene = placed(np.ones((40, 40)), size=(100, 100), position=(50, 50), rotation=math.radians(degrees))
    alpha = render(scene, use).alpha
    # The bilinear edge is half a pixel outside the bitmap's, on all sides.
    assert alpha.sum().item() == pytest.approx(40 * 40, rel=0.02)
    reach = 19.5 * math.sqrt(2)
    for corner in range(4):
        angle = math.radians(degrees) + math.pi / 4 + corner * math.pi / 2
        x, y = 50 + (reach - 1) * math.cos(angle), 50 + (reach - 1) * math.sin(angle)
        assert alpha[int(y), int(x)] > 0.9


@both
@pytest.mark.parametrize("scale", [1 / 4, 1 / 6, 1 / 16, 1 / 23])
def test_minified_stripes_do_not_alias(use, scale):
    """The peer samples the full bitmap at any size: fine stripes become coarse ones that jump about."""
    stripes = np.zeros((256, 256))
    stripes[:, ::2] = 1
    drawn = []
    for shift in (0.0, 0.25, 0.5, 0.75):
        scene = placed(stripes, size=(90, 90), position=(45 + shift, 45), scale=scale, rotation=0.1)
        drawn.append(render(scene, use).alpha)
        reach = int(128 * scale / 1.6)
        inner = drawn[-1][45 - reach : 45 + reach, 45 - reach : 45 + reach]
        assert (inner - 0.5).abs().max() < 0.06
    assert max((picture.sum() / drawn[0].sum() - 1).abs().item() for picture in drawn) < 0.01


@both
@pytest.mark.parametrize("mu_blend", [0.0, 0.25, 1.0])
def test_tint_counts_by_one_minus_mu_blend(use, mu_blend):
    """In the picture and in the gradient: the peer forgets it in the latter."""
    scene = cast(placed(np.ones((9, 9)), size=(20, 20), position=(10, 10), color=0.3, mu_blend=mu_blend), torch.float64)
    drawn = render(scene, use)
    assert drawn.color[0, 10, 10].item() == pytest.approx(0.9999 * ((1 - mu_blend) * 0.3 + mu_blend))
    drawn.color.sum().backward()
    covered = drawn.alpha.sum().item()
    assert scene.instances.color.grad[0].tolist() == pytest.approx([(1 - mu_blend) * covered] * 3)


@both
def test_a_mirrored_bitmap_is_the_mirrored_picture(use):
    scene = scene_of(Kind(seed=13, width=80, height=50, mu_blend=0.5))
    instances = scene.instances
    over = torch.tensor([[-1.0, 0.0], [0.0, 1.0]], dtype=torch.float64).expand(len(instances.scale), 2, 2)
    mirrored = scene_with(
        scene,
        position=torch.stack([80 - instances.position[:, 0], instances.position[:, 1]], 1),
        rotation=-instances.rotation,
        stretch=over,
    )
    drawn, expected = render(mirrored, use), render(scene, use)
    assert torch.allclose(drawn.color.flip(2), expected.color, atol=1e-9)
    assert torch.allclose(drawn.transmittance.flip(1), expected.transmittance, atol=1e-9)


@both
def test_a_stretch_that_turns_is_a_rotation(use):
    scene = scene_of(Kind(seed=14, width=80, height=50))
    cosine, sine = torch.cos(scene.instances.rotation), torch.sin(scene.instances.rotation)
    turn = torch.stack([cosine, -sine, sine, cosine], 1).view(-1, 2, 2)
    turned = scene_with(scene, rotation=torch.zeros_like(scene.instances.rotation), stretch=turn)
    assert torch.allclose(render(turned, use).color, render(scene, use).color, atol=1e-9)


@both
def test_a_sheared_bitmap_keeps_its_area_and_its_corners(use):
    scene = placed(np.ones((40, 40)), size=(160, 100), position=(80, 50), rotation=0.0)
    sheared = scene_with(scene, stretch=torch.tensor([[[1.25, 1.0], [0.0, 0.8]]], dtype=torch.float64))
    alpha = render(sheared, use).alpha
    assert alpha.sum().item() == pytest.approx(40 * 40, rel=0.02)
    for u, v in ((-19, -19), (19, -19), (19, 19), (-19, 19)):
        assert alpha[int(50 + 0.8 * v), int(80 + 1.25 * u + v)] > 0.9
    assert alpha[int(50 + 0.8 * 19), int(80 - 1.25 * 19)] == 0


@both
@pytest.mark.parametrize("mu_blend", [0.0, 0.4])
def test_each_instance_may_have_its_own_share_of_the_bitmaps_colours(use, mu_blend):
    scene = scene_of(Kind(seed=15, width=80, height=50, mu_blend=mu_blend))
    same = torch.full_like(scene.instances.scale, mu_blend)
    everyone = render(scene_with(dataclasses.replace(scene, mu_blend=0.9), mu_blend=same), use)
    assert torch.allclose(everyone.color, render(scene, use).color, atol=1e-12)
    apart = placed(np.ones((8, 8)), size=(40, 20), position=[(9.0, 9.0), (30.0, 9.0)], color=[0.2, 0.2])
    drawn = render(scene_with(apart, mu_blend=torch.tensor([0.0, 0.75], dtype=torch.float64)), use).color
    assert drawn[0, 9, 9].item() == pytest.approx(0.2, abs=1e-3)
    assert drawn[0, 9, 30].item() == pytest.approx(0.25 * 0.2 + 0.75, abs=1e-3)


@both
@pytest.mark.parametrize(
    "broken",
    [[[1.0, 2.0], [2.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]], [[math.nan, 0.0], [0.0, 1.0]], [[1e9, 0.0], [0.0, 1e9]]],
)
def test_a_stretch_that_is_none_draws_nothing(use, broken):
    scene = scene_of(Kind(seed=5, count=6, width=30, height=20, stretched=True))
    stretch = scene.instances.stretch.clone()
    stretch[3] = torch.tensor(broken)
    rest = [0, 1, 2, 4, 5]
    without = render(dataclasses.replace(scene, instances=taken(scene.instances, rest)), use)
    damaged = cast(scene_with(scene, stretch=stretch), torch.float64)
    drawn = render(damaged, use)
    assert torch.equal(drawn.color, without.color) and torch.equal(drawn.transmittance, without.transmittance)
    if use == "extension":
        drawn.color.sum().backward()
        for parameter in (*PARAMETERS, "stretch"):
            gradient = getattr(damaged.instances, parameter).grad
            assert gradient.isfinite().all() and (gradient[3] == 0).all()


@both
def test_backgrounds(use):
    scene = scene_of(Kind(seed=3, width=20, height=10))
    drawn = render(scene, use)
    picture = torch.rand(3, 10, 20, dtype=torch.float64)
    each = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    assert torch.equal(drawn.alpha, 1 - drawn.transmittance)
    assert torch.allclose(drawn.over(picture), drawn.color + drawn.transmittance * picture)
    assert torch.allclose(drawn.over(each), drawn.over(each[:, None, None].expand(3, 10, 20)))
    assert torch.allclose(drawn.over(0.5), drawn.over(torch.full((3,), 0.5, dtype=torch.float64)))
    assert torch.equal(drawn.over(0.0), drawn.color)


@both
def test_nothing_to_draw(use):
    scene = scene_of(Kind(seed=1, count=3, width=7, height=5))
    none = taken(scene.instances, slice(0))
    for empty in (
        dataclasses.replace(scene, instances=none),
        scene_with(scene, position=scene.instances.position + 1e6),
        scene_with(scene, opacity=torch.full_like(scene.instances.opacity, -1e4)),
    ):
        drawn = render(empty, use)
        assert drawn.color.abs().max() == 0
        assert (drawn.transmittance == 1).all()


BROKEN = [math.nan, math.inf, -math.inf]


@both
@pytest.mark.parametrize(
    ("name", "value"), [*((name, value) for name in PARAMETERS for value in BROKEN), ("scale", 0.0), ("scale", -1.0)]
)
def test_instance_that_is_no_number_draws_nothing(use, name, value):
    scene = scene_of(Kind(seed=5, count=6, width=30, height=20))
    values = getattr(scene.instances, name).clone()
    values[3] = value
    rest = [0, 1, 2, 4, 5]
    others = taken(scene.instances, rest)
    without = render(dataclasses.replace(scene, instances=others), use)
    broken = cast(scene_with(scene, **{name: values}), torch.float64)
    drawn = render(broken, use)
    assert torch.equal(drawn.color, without.color)
    assert torch.equal(drawn.transmittance, without.transmittance)
    if use == "extension":
        (drawn.color.sum() + drawn.transmittance.sum()).backward()
        for parameter in PARAMETERS:
            gradient = getattr(broken.instances, parameter).grad
            assert gradient.isfinite().all()
            assert (gradient[3] == 0).all()


@needs_extension
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["position", "rotation", "scale", "opacity"])
@pytest.mark.parametrize("value", [1e-44, 1e-38, 1e-30, 1e-12, 1e9, 1e20, 1e30, 3e38, -1e20, -3e38])
def test_absurd_numbers_are_survived(dtype, name, value):
    scene = scene_of(Kind(seed=6, count=6, width=70, height=40))
    values = getattr(scene.instances, name).clone()
    values[3] = value
    absurd = cast(scene_with(scene, **{name: values}), dtype)
    drawn = render(absurd, "extension")
    assert drawn.color.isfinite().all()
    assert ((drawn.transmittance >= -1e-5) & (drawn.transmittance <= 1 + 1e-5)).all()
    (drawn.color.sum() + drawn.transmittance.sum()).backward()
    others = [0, 1, 2, 4, 5]
    for parameter in PARAMETERS:
        gradient = getattr(absurd.instances, parameter).grad
        assert gradient[others].isfinite().all()
        assert not gradient.isnan().any()


# ---- what it must not depend on


@needs_extension
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_same_bits_for_any_number_of_threads(threads, dtype):
    scene = scene_of(Kind(seed=2, count=150, width=200, height=150, mu_blend=0.5, scale=(0.2, 4.0)))
    by_color, by_transmittance = weights(scene)
    outcomes = []
    for count in (1, 2, 3, 4, 7, 4):
        threads(count)
        leaves = cast(scene, dtype)
        drawn = render(leaves, "extension")
        torch.autograd.backward([drawn.color, drawn.transmittance], [by_color.to(dtype), by_transmittance.to(dtype)])
        outcomes.append([drawn.color, drawn.transmittance, *(getattr(leaves.instances, n).grad for n in PARAMETERS)])
    for other in outcomes[1:]:
        assert all(torch.equal(a, b) for a, b in zip(outcomes[0], other, strict=True))


@both
@pytest.mark.parametrize("shift", [(7, 3), (-5, 11), (64, 32)])
def test_moving_a_scene_by_whole_pixels(use, shift):
    scene = scene_of(Kind(seed=4, width=150, height=120, scale=(0.2, 1.0), spread=0.3))
    x, y = shift
    moved = scene_with(scene, position=scene.instances.position + torch.tensor([x, y], dtype=torch.float64))
    here, there = render(scene, use).color, render(moved, use).color
    overlap = here[:, max(-y, 0) : 120 - max(y, 0), max(-x, 0) : 150 - max(x, 0)]
    assert overlap.abs().max() > 0.1
    assert torch.allclose(overlap, there[:, max(y, 0) : 120 + min(y, 0), max(x, 0) : 150 + min(x, 0)], atol=1e-9)


@both
def test_turning_a_scene_by_a_right_angle(use):
    scene = scene_of(Kind(seed=7, width=80, height=50, mu_blend=0.3))
    x, y = scene.instances.position.unbind(1)
    turned = dataclasses.replace(
        scene_with(scene, position=torch.stack([50 - y, x], 1), rotation=scene.instances.rotation + math.pi / 2),
        height=80,
        width=50,
    )
    upright = render(scene, use)
    lying = render(turned, use)
    assert torch.allclose(upright.color.rot90(-1, (1, 2)), lying.color, atol=1e-9)
    assert torch.allclose(upright.transmittance.rot90(-1), lying.transmittance, atol=1e-9)


@both
def test_depth_order_counts_where_instances_overlap(use):
    def in_order(positions, colors):
        return render(placed(np.ones((8, 8)), size=(40, 20), position=positions, color=colors, opacity=1.0), use).color

    apart, together = [(9.0, 9.0), (30.0, 9.0)], [(9.0, 9.0), (12.0, 9.0)]
    assert torch.allclose(in_order(apart, [0.2, 0.9]), in_order(apart[::-1], [0.9, 0.2]), atol=1e-12)
    front_right = in_order(together, [0.2, 0.9])
    assert (front_right - in_order(together[::-1], [0.9, 0.2])).abs().max() > 0.1
    # The last one lies in front.
    assert front_right[0, 9, 10] > in_order(together[::-1], [0.9, 0.2])[0, 9, 10]


# ---- what it costs


def stack(count, *, side=96, opacity=-3.0):
    """So many instances over all of a small canvas, hardly opaque."""
    rng = np.random.default_rng(count)
    return placed(
        np.ones((32, 32)),
        size=(side, side),
        position=np.full((count, 2), side / 2),
        rotation=rng.uniform(0, 6, count),
        scale=side / 16,
        opacity=opacity,
        dtype=torch.float32,
    )


def seconds(call, repeats=5):
    """Processor time of this thread, the least of several."""
    out = []
    for _ in range(repeats):
        begin = time.thread_time()
        call()
        out.append(time.thread_time() - begin)
    return min(out)


def backward_of(scene):
    with torch.no_grad():
        inputs = list(arguments(scene).values())
        drawn = torch.ops.diffbmp.render(*inputs)
        gradient = torch.rand_like(drawn[0]), torch.rand_like(drawn[1])
    return lambda: torch.ops.diffbmp.render_backward(*gradient, *drawn, *inputs[:8], *inputs[10:])


@needs_extension
def test_backward_is_linear_in_the_number_of_instances_over_a_pixel(threads):
    """Eight times the instances take eight times as long; in the peer's way sixty-four times."""
    threads(1)
    few, many = stack(50), stack(400)
    assert seconds(backward_of(many)) < 16 * seconds(backward_of(few))


@needs_extension
def test_numbers_too_small_to_be_normal_cost_nothing(threads):
    threads(1)
    usual, tiny = stack(100), stack(100, opacity=-90.0)
    assert seconds(lambda: render(tiny, "extension")) < 4 * seconds(lambda: render(usual, "extension"))
    assert seconds(backward_of(tiny)) < 4 * seconds(backward_of(usual))


MEMORY = """
import resource, sys
import torch
from test_render import cast, render, stack
def step(count):
    scene = cast(stack(count, side=512), torch.float32)
    drawn = render(scene, "extension")
    (drawn.color.sum() + drawn.transmittance.sum()).backward()
step(2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
step(int(sys.argv[1]))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@needs_extension
def test_memory_does_not_grow_with_instances_over_a_pixel():
    """The peer keeps five numbers per pixel and instance: 2 GB here."""
    folders = os.pathsep.join(str(folder) for folder in (HERE, HERE.parents[1]))
    command = [sys.executable, "-c", MEMORY, "400"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": folders}
    )
    assert float(done.stdout) < 40  # MB


# ---- what it refuses


@needs_extension
@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"texels": torch.zeros(4, 10, dtype=torch.float16)}, TypeError, "texels are Half"),
        ({"texels": torch.zeros(3, 1000)}, ValueError, "C = 1, 3 or 4"),
        ({"texels": torch.zeros(4, 3)}, ValueError, "reaches beyond the 3 texels"),
        ({"levels": torch.zeros(1, 1, 7, dtype=torch.int64)}, TypeError, "levels are Long"),
        ({"levels": torch.zeros(0, 1, 7, dtype=torch.int32)}, ValueError, "levels have shape"),
        ({"levels": torch.zeros(1, 1, 6, dtype=torch.int32)}, ValueError, "levels have shape"),
        ({"levels": torch.tensor([[[-1, 2, 2, 0, 0, 2, 2]]], dtype=torch.int32)}, ValueError, "reaches beyond"),
        ({"levels": torch.tensor([[[0, 2, 2, 0, 0, 3, 2]]], dtype=torch.int32)}, ValueError, "box"),
        ({"levels": torch.tensor([[[0, 2, 2, -1, 0, 2, 2]]], dtype=torch.int32)}, ValueError, "box"),
        ({"levels": torch.tensor([[[0, -2, -2, 0, 0, 2, 2]]], dtype=torch.int32)}, ValueError, "-2 x -2 texels"),
        (
            {"levels": torch.tensor([[[0, 2**31 - 1, 2**31 - 1, 0, 0, 2, 2]]], dtype=torch.int32)},
            ValueError,
            "reaches beyond",
        ),
        ({"position": torch.zeros(4, 3)}, ValueError, "position has shape"),
        ({"position": torch.zeros(4)}, ValueError, "position has shape"),
        ({"position": torch.zeros(4, 2, dtype=torch.float64)}, TypeError, "position is Double"),
        ({"rotation": torch.zeros(3)}, ValueError, "rotation has shape"),
        ({"scale": torch.zeros(4, 1)}, ValueError, "scale has shape"),
        ({"opacity": torch.zeros(5)}, ValueError, "opacity has shape"),
        ({"color": torch.zeros(4, 1)}, ValueError, "color has shape"),
        ({"stretch": torch.zeros(4, 2)}, ValueError, "stretch has shape"),
        ({"mu_blends": torch.zeros(3)}, ValueError, "mu_blends has shape"),
        ({"mu_blends": torch.zeros(4, dtype=torch.float64)}, TypeError, "mu_blends is Double"),
        ({"bitmap": torch.zeros(4, dtype=torch.int64)}, TypeError, "bitmap is Long"),
        ({"bitmap": torch.zeros(3, dtype=torch.int32)}, ValueError, "bitmap has shape"),
        ({"bitmap": torch.tensor([0, 0, 0, 9], dtype=torch.int32)}, IndexError, "instance 3 uses bitmap 9"),
        ({"bitmap": torch.tensor([0, -1, 0, 0], dtype=torch.int32)}, IndexError, "instance 1 uses bitmap -1"),
        ({"height": 0}, ValueError, "canvas"),
        ({"width": -3}, ValueError, "canvas"),
        ({"alpha_max": 0.0}, ValueError, "alpha_max is 0"),
        ({"alpha_max": 1.5}, ValueError, "alpha_max is 1.5"),
        ({"alpha_max": math.nan}, ValueError, "alpha_max"),
        ({"mu_blend": -0.1}, ValueError, "mu_blend is -0.1"),
        ({"mu_blend": math.nan}, ValueError, "mu_blend"),
    ],
)
def test_arguments_that_do_not_fit(changes, error, words):
    good = arguments(cast(scene_of(Kind(seed=8, count=4, bitmaps=1)), torch.float32))
    with pytest.raises(error, match=words):
        torch.ops.diffbmp.render(**{**good, **changes})


@needs_extension
def test_backward_refuses_what_is_not_of_its_picture():
    scene = scene_of(Kind(seed=8, count=4, width=20, height=10))
    inputs = list(arguments(scene).values())
    drawn = torch.ops.diffbmp.render(*inputs)
    good = [torch.zeros_like(drawn[0]), torch.zeros_like(drawn[1]), *drawn]
    for index in range(5):
        changed = list(good)
        changed[index] = changed[index][..., :-1].contiguous()
        with pytest.raises(ValueError, match="diffbmp"):
            torch.ops.diffbmp.render_backward(*changed, *inputs[:8], *inputs[10:])
    with pytest.raises(TypeError, match="last is"):
        torch.ops.diffbmp.render_backward(*good[:4], good[4].long(), good[5], *inputs[:8], *inputs[10:])


@both
def test_bitmaps_have_no_gradient(use):
    scene = scene_of(Kind(seed=8))
    texels = scene.bitmaps.texels.clone().requires_grad_()
    with pytest.raises(ValueError, match="bitmaps have no gradient"):
        render(dataclasses.replace(scene, bitmaps=Bitmaps(texels, scene.bitmaps.levels)), use)


@needs_extension
def test_strided_tensors_are_taken():
    scene = scene_of(Kind(seed=9, width=30, height=20))
    instances = scene.instances
    strided = dataclasses.replace(
        scene_with(
            scene,
            position=instances.position.T.contiguous().T,
            color=instances.color.T.contiguous().T,
            scale=torch.stack([instances.scale, instances.scale], 1)[:, 0],
        ),
        bitmaps=Bitmaps(
            scene.bitmaps.texels.T.contiguous().T, scene.bitmaps.levels.transpose(0, 1).contiguous().transpose(0, 1)
        ),
    )
    assert torch.equal(render(strided, "extension").color, render(scene, "extension").color)


# ---- as torch sees it


@needs_extension
@pytest.mark.parametrize("mu_blend", [0.0, 0.4])
@pytest.mark.parametrize("whole", [False, True])
def test_operators_pass_torchs_own_check(mu_blend, whole):
    kind = Kind(seed=10, count=5, width=33, height=20, mu_blend=mu_blend, stretched=whole, blended=whole)
    scene = cast(scene_of(kind), torch.float32)
    inputs = list(arguments(scene).values())
    torch.library.opcheck(torch.ops.diffbmp.render.default, tuple(inputs))
    detached = [value.detach() if isinstance(value, torch.Tensor) else value for value in inputs]
    drawn = torch.ops.diffbmp.render(*detached)
    gradient = torch.rand_like(drawn[0]), torch.rand_like(drawn[1])
    torch.library.opcheck(torch.ops.diffbmp.render_backward.default, (*gradient, *drawn, *detached[:8], *detached[10:]))


@needs_extension
def test_loss_may_leave_the_transmittance_out():
    scene = cast(scene_of(Kind(seed=11)), torch.float64)
    render(scene, "extension").color.square().sum().backward()
    twin = cast(scene, torch.float64)
    render(twin, "reference").color.square().sum().backward()
    assert torch.allclose(scene.instances.position.grad, twin.instances.position.grad)


def test_reference_runs_and_says_why_where_there_is_no_extension(monkeypatch):
    monkeypatch.setattr(extension, "status", lambda: extension.Status(False, "the extension is not built"))
    chosen = implementation()
    assert (chosen.name, chosen.reason) == ("reference", "the extension is not built")
    scene = scene_of(Kind(seed=12))
    assert isinstance(render(scene), Rendering)
    with pytest.raises(RuntimeError, match="not built"):
        render(scene, "extension")
