"""Refinements: what they begin with, what they must not touch, and that they never make it worse."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from krita_diffbmp.engine import losses
from krita_diffbmp.engine import start as start_module
from krita_diffbmp.engine.optimize import Optimization
from krita_diffbmp.engine.render import render
from krita_diffbmp.engine.run import Run
from krita_diffbmp.engine.start import begin
from krita_diffbmp.engine.target import working_target, working_weight
from krita_diffbmp.problem import Bitmap, DiffBmpError, Freeze, Placements, Problem, Settings, Start

SETTINGS = Settings(instances=40, steps=30, min_size=0.1, max_size=0.5, background="white", device="cpu")
WIDTH, HEIGHT = 64, 48


def picture(width=WIDTH, height=HEIGHT, channels=3):
    """Smooth opaque colours: [h, w, C + 1]."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [0.5 + 0.4 * np.sin(x * (0.1 + 0.05 * c) + y * 0.13 + c) for c in range(channels)]
    return np.stack([*waves, np.ones_like(waves[0])], 2).astype(np.float32)


def dab(width=16, height=16, channels=3, shade=1.0):
    y, x = np.mgrid[0:height, 0:width] + 0.5
    alpha = np.clip(2 - 4 * np.hypot(x / width - 0.5, y / height - 0.5), 0, 1)
    return np.stack([*[np.full_like(alpha, shade)] * channels, alpha], 2).astype(np.float32)


def placements(count=30, seed=0, channels=3, bitmaps=2):
    rng = np.random.default_rng(seed)
    return Placements(
        position=(rng.uniform(-0.1, 1.1, (count, 2)) * [WIDTH, HEIGHT]).astype(np.float32),
        rotation=rng.uniform(-7, 7, count).astype(np.float32),
        scale=np.exp(rng.uniform(-1, 1, count)).astype(np.float32),
        opacity=rng.uniform(0, 1, count).astype(np.float32),
        color=rng.random((count, channels), dtype=np.float32),
        bitmap=rng.integers(0, bitmaps, count).astype(np.int32),
    )


def problem(placed=None, *, frozen=0, added=0, primitives=2, weight=None, target=None, **settings):
    placed = placements() if placed is None else placed
    frozen = np.broadcast_to(np.asarray(frozen, np.uint8), placed.bitmap.shape).copy()
    return Problem(
        picture() if target is None else target,
        (Bitmap("dab", dab()), Bitmap("flat dab", dab(30, 9))),
        replace(SETTINGS, **settings),
        Start(placed, frozen, added, primitives),
        weight,
    )


def finish(task):
    run = Run(task)
    for _ in run:
        pass
    return run.result()


def taken(placed, which):
    there = {name: values for name, values in vars(placed).items() if values is not None}
    return replace(placed, **{name: values[which] for name, values in there.items()})


def assert_same(found, given, names=None):
    for name in names or (field.name for field in fields(Placements)):
        np.testing.assert_array_equal(getattr(found, name), getattr(given, name), name)


def extreme(placed):
    """The same with numbers at the ends of what a canvas may hold."""
    placed.opacity[:4] = (0, 1, 1, 0.5)
    placed.color[4:7] = (0, 0.5, 1)
    placed.scale[7], placed.scale[8] = 1e-3, 40.0
    placed.position[9] = (-500, 900)
    placed.rotation[10] = -200.0
    return placed


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (211, 157)])
@pytest.mark.parametrize("frozen", [0, Freeze.ALL])
def test_parameters_are_the_placements_to_a_rounding(frozen, size):
    placed = extreme(placements())
    placed = replace(placed, position=placed.position * np.float32(size[0] / WIDTH))
    task = problem(placed, frozen=frozen, target=picture(*size), working_size=64, alpha_max=0.6)
    target = working_target(task.target, 64)
    run = Optimization(replace(task, start=replace(task.start, added=1)))
    assert run._beginning is not None
    ratio = np.array([target.shape[2] / size[0], target.shape[1] / size[1]])
    shown = run._parameters.copy().instances(run._sides)
    keep = np.flatnonzero(run._beginning.source >= 0)
    np.testing.assert_allclose(shown.position[keep].numpy() / ratio, placed.position, atol=2e-3)
    np.testing.assert_allclose(shown.rotation[keep], placed.rotation, atol=1e-6)
    np.testing.assert_allclose(shown.scale[keep].numpy() / math.sqrt(ratio.prod()), placed.scale, rtol=1e-5)
    opacity = run._alpha_max * torch.sigmoid(shown.opacity[keep])
    margin = 2e-4 if frozen else 1.1e-3
    np.testing.assert_allclose(opacity, placed.opacity, atol=margin)
    np.testing.assert_allclose(shown.color[keep], placed.color, atol=1e-6 if frozen else 1.1e-3)


def test_without_a_step_everything_comes_back_bit_for_bit():
    placed = extreme(placements())
    result = Run(problem(placed, added=5)).result()
    assert_same(result.placements, placed)
    assert result.step == 0 and result.psnr == result.start_psnr
    np.testing.assert_array_equal(result.source, np.arange(30))


@pytest.mark.parametrize("background", ["noise", "white", "transparent"])
def test_what_is_frozen_does_not_change_by_a_bit(background):
    placed = extreme(placements())
    rng = np.random.default_rng(3)
    frozen = rng.integers(0, Freeze.ALL, 30, endpoint=True)
    frozen[:12] = Freeze.ALL
    result = finish(problem(placed, frozen=frozen, added=6, background=background, steps=60, seed=9))
    assert result.psnr > result.start_psnr + 1
    kept = result.source >= 0
    np.testing.assert_array_equal(result.source[kept], np.arange(30))
    names = {
        "position": Freeze.POSITION,
        "rotation": Freeze.ROTATION,
        "scale": Freeze.SIZE,
        "opacity": Freeze.OPACITY,
        "color": Freeze.COLOR,
    }
    for name, bit in names.items():
        before, after = getattr(placed, name), getattr(result.placements, name)[kept]
        held = (frozen & bit) != 0
        np.testing.assert_array_equal(after[held], before[held], name)
        free = after[~held] != before[~held]
        assert free.reshape(len(free), -1).any(1).mean() > 0.5, name


def test_new_instances_lie_in_front_of_what_may_move_and_behind_what_is_locked_over_it():
    placed = placements()
    frozen = np.zeros(30, np.uint8)
    frozen[20:] = Freeze.ALL
    frozen[3] = Freeze.ALL
    task = problem(placed, frozen=frozen, added=8, primitives=1, steps=80)
    result = finish(task)
    expected = [*range(20), *[-1] * 8, *range(20, 30)]
    assert result.source.tolist() == expected
    new = result.source < 0
    assert (result.placements.bitmap[new] == 0).all() and (result.placements.opacity[new] > 0.01).all()
    assert_same(taken(result.placements, slice(28, None)), taken(placed, slice(20, None)))


def test_new_instances_in_front_of_a_picture_that_is_all_locked():
    result = finish(problem(frozen=Freeze.ALL, added=10, steps=60))
    assert result.psnr > result.start_psnr and result.source.tolist() == [*range(30), *[-1] * 10]
    assert_same(taken(result.placements, slice(30)), placements())


def test_an_empty_group_is_filled_with_new_ones():
    result = finish(problem(placements(0), added=30, steps=60))
    assert result.psnr > result.start_psnr + 3 and (result.source == -1).all() and len(result.source) == 30


def test_a_refinement_never_makes_it_worse():
    """Of a result that was optimised already, at any step at which it may be stopped."""
    base = problem()
    first = finish(replace(base, start=None, settings=replace(base.settings, steps=120)))
    run = Run(replace(base, start=Start(first.placements, np.zeros(40, np.uint8))))
    before = run.result().start_psnr
    assert before is not None and before == pytest.approx(first.psnr, abs=0.02)
    for _ in run:
        assert run.result().psnr >= before
    assert run.result().psnr > before


def test_moved_instances_find_back():
    base = problem()
    first = finish(replace(base, start=None, settings=replace(base.settings, steps=150)))
    moved = first.placements.position.copy()
    moved[::8] += 5
    placed = replace(first.placements, position=moved)
    result = finish(
        replace(base, start=Start(placed, np.zeros(40, np.uint8)), settings=replace(base.settings, steps=60))
    )
    lost = first.psnr - result.start_psnr
    assert lost > 2 and result.psnr > first.psnr - lost / 5


def test_only_what_is_selected_counts():
    weight = np.zeros((HEIGHT, WIDTH), np.float32)
    weight[:, : WIDTH // 2] = 1
    placed = placements()
    task = problem(placed, weight=weight, steps=60, added=5)
    result = finish(task)
    half = replace(task, target=task.target[:, : WIDTH // 2], weight=None)
    of_half = Run(half).result()
    assert result.start_psnr == pytest.approx(of_half.psnr, abs=0.01)
    away = placed.position[:, 0] - placed.scale * 16 - 1 > WIDTH / 2
    assert away.any()
    for name in ("position", "rotation", "scale", "opacity", "color"):
        np.testing.assert_array_equal(
            getattr(result.placements, name)[result.source >= 0][away], getattr(placed, name)[away]
        )
    assert result.psnr > result.start_psnr + 1


def test_outside_the_selection_the_picture_stays():
    """Also what those show there that reach into it."""
    base = problem()
    first = finish(replace(base, start=None, settings=replace(base.settings, steps=150)))
    weight = np.zeros((HEIGHT, WIDTH), np.float32)
    weight[12:36, 16:48] = 1
    other = picture()
    other[..., :3] = 1 - other[..., :3]
    start = Start(first.placements, np.zeros(40, np.uint8))
    run = Run(replace(base, start=start, target=other, weight=weight, settings=replace(base.settings, steps=80)))

    def drawn():
        optimization = run._optimization
        return render(optimization._scene(optimization._sharp)).over(1.0).detach().permute(1, 2, 0).numpy()

    def errors():
        change = ((drawn() - before) ** 2).mean(2)
        return change[weight == 0].mean(), ((drawn() - other[..., :3]) ** 2).mean(2)[weight > 0].mean()

    before = drawn()
    _, worst = errors()
    for _ in run:
        pass
    outside, inside = errors()
    assert inside < worst / 10 and outside < worst / 25
    assert run.result().psnr > 10


def small_edit(size=160, **settings):
    """One of many instances was moved, on a canvas that is larger than what it and its neighbours take."""
    first = finish(
        replace(problem(target=picture(size, size), max_size=0.15, steps=40, **settings), start=None, weight=None)
    )
    placed = replace(first.placements, position=first.placements.position.copy())
    placed.position[-1] = (50, 60)
    weight = np.zeros((size, size), np.float32)
    weight[50:70, 40:60] = 1
    return problem(placed, target=picture(size, size), weight=weight, max_size=0.15, **settings)


@pytest.mark.parametrize("background", ["noise", "white", "transparent"])
def test_a_small_part_of_the_canvas_is_refined_as_the_whole_is(background, monkeypatch):
    task = small_edit(background=background)
    run = Run(task)
    beginning = run._optimization._beginning
    assert beginning is not None
    window = beginning.window
    assert window.width * window.height < 0.5 * 160 * 160
    monkeypatch.setattr(start_module, "WINDOW_WORTH", 0.0)
    whole = Run(task)
    assert (whole._optimization._height, whole._optimization._width) == (160, 160)
    shown, expected = list(run), list(whole)
    before, after = run.result().start_psnr, run.result().psnr
    assert before is not None and before == pytest.approx(whole.result().start_psnr, abs=1e-4)
    assert after > before and after > whole.result().psnr - 1
    assert shown[0].preview is not None and expected[0].preview is not None
    assert shown[0].preview.shape == expected[0].preview.shape == (160, 160, 4)
    change = np.abs(shown[0].preview.astype(int) - expected[0].preview)
    change[window.top : window.top + window.height, window.left : window.left + window.width] = 0
    assert change.max() <= 1


def test_a_small_part_comes_back_bit_for_bit_too():
    task = small_edit()
    assert_same(Run(task).result().placements, task.start.placements)


def test_a_selection_without_instances_gets_a_sentence():
    placed = placements()
    placed.position[:, 0] = 60
    placed.scale[:] = 0.3
    weight = np.zeros((HEIGHT, WIDTH), np.float32)
    weight[:, :20] = 1
    with pytest.raises(DiffBmpError, match="within the selection"):
        Run(problem(placed, weight=weight))
    result = finish(problem(placed, weight=weight, added=4))
    assert result.psnr > result.start_psnr and result.source.tolist() == [*range(30), *[-1] * 4]


def test_soft_weights_are_a_weighted_mean():
    rng = np.random.default_rng(4)
    weight = rng.random((HEIGHT, WIDTH), dtype=np.float32)
    run = Run(problem(weight=weight))
    scene = run._optimization._scene(run._optimization._sharp)
    drawn = render(scene).over(1.0).detach().permute(1, 2, 0).numpy()
    error = ((drawn - picture()[..., :3]) ** 2).mean(2)
    assert run.result().psnr == pytest.approx(losses.psnr(float((error * weight).sum() / weight.sum())), abs=1e-3)


def test_a_first_run_fills_the_selection():
    weight = np.zeros((HEIGHT, WIDTH), np.float32)
    weight[10:30, 8:30] = 1
    task = replace(problem(weight=weight, steps=1), start=None)
    position = Run(task)._optimization._parameters.position.detach()
    assert position[:, 0].min() >= 8 and position[:, 0].max() <= 30
    assert position[:, 1].min() >= 10 and position[:, 1].max() <= 30
    assert finish(replace(task, settings=replace(task.settings, steps=60))).psnr > 20


def test_a_weight_is_scaled_with_the_target():
    target = working_target(picture(), 16)
    weight = np.zeros((HEIGHT, WIDTH), np.float32)
    weight[:, :2] = 1
    scaled = working_weight(weight, target)
    assert scaled.shape == (12, 16) and (scaled[:, 0] == 0.5).all() and (scaled[:, 1:] == 0).all()


def test_opacity_keeps_to_the_maximum_except_where_the_artist_went_beyond():
    placed = placements()
    placed.opacity[:] = 0.3
    placed.opacity[5] = 0.9
    result = finish(problem(placed, alpha_max=0.4, steps=80, added=4))
    others = np.delete(result.placements.opacity, 5)
    assert others.max() <= 0.4 + 1e-5 and result.placements.opacity[5] <= 0.9 + 1e-5


def test_sizes_beyond_the_range_are_where_the_artist_put_them():
    placed = placements()
    placed.scale[0], placed.scale[1] = 0.05, 10.0
    task = problem(placed, steps=40)
    run = Optimization(task)
    sizes = torch.exp(run._parameters.log_size.detach())
    run._hold_bounds()
    assert torch.equal(torch.exp(run._parameters.log_size.detach()), sizes)
    size = finish(task).placements.scale * np.array([16, 30])[placed.bitmap]
    assert size[2:].max() <= max(0.5 * WIDTH, (placed.scale * np.array([16, 30])[placed.bitmap])[2:].max()) + 1e-3


def test_the_seed_reproduces_a_refinement():
    first, again = (finish(problem(background="noise", added=6, steps=40)) for _ in range(2))
    assert_same(first.placements, again.placements)
    assert first.psnr == again.psnr


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"frozen": Freeze.ALL}, "Every instance is locked"),
        ({"placed": placements(0)}, "no instances to refine"),
        ({"added": 200_000}, "are the most"),
        ({"added": 3, "primitives": 0}, "no bitmap to make new instances"),
        ({"added": 3, "primitives": 3}, "no bitmap to make new instances"),
        ({"placed": replace(placements(), position=np.full((30, 2), np.nan, np.float32))}, "position"),
        ({"placed": replace(placements(), scale=np.zeros(30, np.float32))}, "scale"),
        ({"placed": replace(placements(), rotation=np.zeros(29, np.float32))}, "rotation"),
        ({"placed": replace(placements(), opacity=np.full(30, 1.5, np.float32))}, "opacity"),
        ({"placed": replace(placements(), color=np.zeros((30, 4), np.float32))}, "color"),
        ({"placed": replace(placements(), bitmap=np.full(30, 2, np.int32))}, "bitmap"),
        ({"placed": replace(placements(), stretch=np.ones((30, 2, 2), np.float32))}, "stretch"),
        ({"placed": replace(placements(), mu_blend=np.full(30, 2, np.float32))}, "mu_blend"),
        ({"weight": np.ones((3, 3), np.float32)}, "does not fit"),
        ({"weight": np.full((HEIGHT, WIDTH), np.nan, np.float32)}, "does not fit"),
        ({"weight": np.zeros((HEIGHT, WIDTH), np.float32)}, "leaves nothing"),
    ],
)
def test_impossible_starts_get_a_sentence(change, sentence):
    with pytest.raises(DiffBmpError, match=sentence):
        Run(problem(**change))


def test_a_selection_without_anything_of_the_target_gets_a_sentence():
    target = picture()
    target[:, :20, 3] = 0
    weight = np.zeros((HEIGHT, WIDTH), np.float32)
    weight[:, :15] = 1
    task = problem(target=target, weight=weight, added=3)
    with pytest.raises(DiffBmpError, match="transparent where it is selected"):
        Run(task)
    with pytest.raises(DiffBmpError, match="transparent where it is selected"):
        Run(replace(task, start=None))
    assert finish(replace(task, start=replace(task.start, added=0))).psnr > 0


def test_instances_of_the_settings_do_not_matter_to_a_refinement():
    generator = torch.Generator().manual_seed(0)
    task = problem(instances=0)
    assert len(begin(task, task.start, HEIGHT, WIDTH, generator).source) == 30
    assert len(Run(task).result().placements.bitmap) == 30


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_shares_of_colour_that_do_not_differ_are_the_scenes(share):
    placed = replace(placements(), mu_blend=np.full(30, share, np.float32))
    run = Optimization(problem(placed, mu_blend=share))
    scene = run._scene(run._sharp)
    assert scene.instances.mu_blend is None and scene.mu_blend == pytest.approx(share)
    other = Optimization(problem(placed, mu_blend=0.3, added=1))
    mixed = other._scene(other._sharp).instances.mu_blend
    assert mixed is not None and mixed.unique().tolist() == pytest.approx(sorted([share, 0.3]))


def test_a_fixed_part_with_colours_of_its_own_stays_and_the_others_make_up_for_it():
    placed = placements()
    turned = np.tile(np.array([[-1.2, 0.3], [0, 1 / 1.2]], np.float32), (30, 1, 1))
    placed = replace(placed, stretch=turned, mu_blend=np.where(np.arange(30) == 7, 1, 0).astype(np.float32))
    placed.opacity[7], placed.position[7], placed.scale[7] = 1, (30, 20), 1.0
    frozen = np.where(np.arange(30) == 7, Freeze.ALL, 0)
    result = finish(problem(placed, frozen=frozen, steps=60))
    assert result.psnr > result.start_psnr + 3
    assert_same(taken(result.placements, [7]), taken(placed, [7]))
    np.testing.assert_array_equal(result.placements.stretch, turned)
