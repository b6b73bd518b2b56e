import math
import subprocess
import sys
import time
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from krita_diffbmp.card import Card
from krita_diffbmp.engine import extension, holes, losses, optimize, pyramid, schedule
from krita_diffbmp.engine.adam import Adam
from krita_diffbmp.engine.checks import INSTANCE_LIMIT, check_problem
from krita_diffbmp.engine.optimize import Optimization, Pace
from krita_diffbmp.engine.render import implementation, render
from krita_diffbmp.engine.run import Run
from krita_diffbmp.engine.target import PREVIEW_SIZE, preview_image, working_target
from krita_diffbmp.problem import Bitmap, DiffBmpError, Placements, Problem, Settings

CPU = Settings(instances=40, steps=30, min_size=0.1, max_size=0.5, background="white", device="cpu")


def picture(width=48, height=36, channels=3):
    """Smooth opaque colours: [h, w, C + 1]."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [0.5 + 0.4 * np.sin(x * (0.1 + 0.05 * c) + y * 0.13 + c) for c in range(channels)]
    return np.stack([*waves, np.ones_like(waves[0])], 2).astype(np.float32)


def dab(side=16, channels=3, shade=1.0):
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side - 0.5
    alpha = np.clip(2 - 4 * np.hypot(x, y), 0, 1)
    return np.stack([*[np.full_like(alpha, shade)] * channels, alpha], 2).astype(np.float32)


def problem(channels=3, *, target=None, bitmaps=None, **settings):
    target = picture(channels=channels) if target is None else target
    bitmaps = (Bitmap("dab", dab(channels=channels)),) if bitmaps is None else bitmaps
    return Problem(target, bitmaps, replace(CPU, **settings))


def finish(task):
    run = Optimization(task)
    return run, list(run)


def same(a: Placements, b: Placements) -> bool:
    return all(np.array_equal(getattr(a, field.name), getattr(b, field.name)) for field in fields(Placements))


@pytest.mark.parametrize("background", ["noise", "white", "transparent"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_picture_forms(background, channels):
    run, progress = finish(problem(channels, background=background, mu_blend=0.0))
    assert [p.step for p in progress] == list(range(1, 31)) and {p.total for p in progress} == {30}
    assert progress[-1].psnr > progress[0].psnr + 4
    result = run.result()
    # Over noise, what was the best before holes weighed more may have had too many.
    assert result.psnr == (progress[result.step - 1].psnr if background == "noise" else max(p.psnr for p in progress))
    placed = result.placements
    assert placed.position.shape == (40, 2) and placed.color.shape == (40, channels)
    assert placed.position.dtype == placed.scale.dtype == np.float32 and placed.bitmap.dtype == np.int32
    assert placed.opacity.min() > 0 and placed.opacity.max() < 1
    assert placed.color.min() >= 0 and placed.color.max() <= 1


@pytest.mark.parametrize("background", ["noise", "white"])
def test_the_seed_reproduces_a_run_bit_for_bit(background):
    first, again, other = (finish(problem(background=background, seed=seed)) for seed in (3, 3, 4))
    assert [p.loss for p in first[1]] == [p.loss for p in again[1]]
    assert same(first[0].result().placements, again[0].result().placements)
    assert not same(first[0].result().placements, other[0].result().placements)


def test_neither_the_clock_nor_global_random_numbers_matter(monkeypatch):
    expected = finish(problem(background="noise"))[0].result()
    monkeypatch.setattr(optimize, "PREVIEW_EVERY", 0.0)
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    found = finish(problem(background="noise"))[0].result()
    assert same(found.placements, expected.placements)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_run_that_was_left_goes_on_where_it_stopped():
    task = problem(background="noise")
    whole, _ = finish(task)
    parts = Optimization(task)
    for progress in parts:
        if progress.step == 13:
            break
    assert [p.step for p in parts] == list(range(14, 31))
    assert same(parts.result().placements, whole.result().placements)


def test_there_is_a_result_at_any_time():
    run = Optimization(problem())
    start = run.result()
    assert start.step == 0 and len(start.placements.scale) == 40
    best = -math.inf
    for progress in run:
        assert run.result().psnr >= best
        best = run.result().psnr
        assert progress.psnr <= best
    assert run.result().step <= 30


def test_instances_are_stretched_within_the_limits():
    bitmaps = (Bitmap("dab", dab()), Bitmap("wide", dab()[4:10]))
    free = problem(bitmaps=bitmaps, background="noise", max_stretch=1.5, max_size=0.4)
    first, again, uniform = (finish(task)[0].result() for task in (free, free, problem(bitmaps=bitmaps)))
    assert same(first.placements, again.placements) and uniform.placements.stretch is None
    placed = first.placements
    assert np.linalg.det(placed.stretch) == pytest.approx(1, abs=1e-5)
    wider, higher = placed.stretch[:, 0, 0], placed.stretch[:, 1, 1]
    assert np.abs(np.log(wider / higher)).max() < math.log(1.5) + 1e-5
    assert (
        np.abs(np.log(wider / higher)).max() > 0.3
        and placed.stretch[:, 0, 1].any() == placed.stretch[:, 1, 0].any() == 0
    )
    sides = np.array([[16, 16], [16, 6]])[placed.bitmap] * np.stack([wider, higher], 1) * placed.scale[:, None]
    assert sides.max() < 0.4 * 48 + 1e-3 and sides.max(1).min() > 0.1 * 48 - 1e-3


def test_slim_bitmaps_turn_more_slowly():
    def rates(*bitmaps):
        return Optimization(problem(bitmaps=bitmaps))._rates

    round_ones, strokes = rates(Bitmap("dab", dab())), rates(Bitmap("stroke", np.ones((4, 40, 4), np.float32)))
    assert round_ones[1] == optimize.ROTATION_RATE and strokes[1] == optimize.SLOWEST_TURN * round_ones[1]
    assert round_ones[:1] + round_ones[2:] == strokes[:1] + strokes[2:]
    between = rates(Bitmap("dab", dab()), Bitmap("stroke", np.ones((4, 40, 4), np.float32)))
    assert strokes[1] <= between[1] <= round_ones[1]


def test_stretching_takes_place_on_the_processor(monkeypatch):
    monkeypatch.setattr(optimize, "cuda_trouble", lambda: "")
    monkeypatch.setattr(optimize, "find_card", lambda: Card("NVIDIA H100", 80000))
    device, notes = optimize.choose_device(problem(device="auto", max_stretch=2.0))
    assert device.type == "cpu" and "NVIDIA H100, because only the processor" in notes[0]
    with pytest.raises(DiffBmpError, match="stretched"):
        optimize.choose_device(problem(device="cuda", max_stretch=2.0))
    assert optimize.choose_device(problem(device="auto"))[0].type == "cuda"


def test_result_is_what_was_evaluated():
    task = problem()
    run, _ = finish(task)
    placed = run.result().placements
    scene = run._scene(run._sharp)
    best = replace(
        scene.instances,
        position=torch.from_numpy(placed.position),
        rotation=torch.from_numpy(placed.rotation),
        scale=torch.from_numpy(placed.scale),
        opacity=torch.logit(torch.from_numpy(placed.opacity).double() / 0.9999).float(),
        color=torch.from_numpy(placed.color),
        bitmap=torch.from_numpy(placed.bitmap),
    )
    drawn = render(replace(scene, instances=best)).over(1.0)
    target = torch.from_numpy(task.target[..., :3]).permute(2, 0, 1)
    assert losses.psnr((drawn - target).square().mean().item()) == pytest.approx(run.result().psnr, abs=0.01)


def test_alpha_is_the_mask_and_darkness_is_not():
    """Peer's defect 7: a bitmap's darkness was its mask, so that bright pixels vanished."""
    results = []
    for shade in (0.0, 1.0):
        task = problem(bitmaps=(Bitmap("dab", dab(shade=shade)),), mu_blend=0.0)
        results.append(finish(task)[0].result())
    assert same(results[0].placements, results[1].placements)
    assert results[1].psnr > 15


def test_the_blur_schedule_is_followed(monkeypatch):
    """Peer's defect 8: the schedule was ignored."""
    softened, used = [], []
    soften = pyramid.soften

    def watched_soften(bitmaps, sigma, **options):
        softened.append(sigma)
        return soften(bitmaps, sigma, **options)

    monkeypatch.setattr(pyramid, "soften", watched_soften)
    run = Optimization(problem(steps=40))
    scene = run._scene

    def watched_scene(bitmaps, ratio=1.0):
        used.append(bitmaps)
        return scene(bitmaps, ratio)

    monkeypatch.setattr(run, "_scene", watched_scene)
    for progress in run:
        sharp = schedule.blur((progress.step - 1) / 40) == 0
        if progress.step % optimize.EVALUATE_EVERY and not schedule.pauses(progress.step, 40):
            assert (used[-1] is run._sharp) == sharp
    assert softened == [sigma for _, sigma in schedule.BLUR_STAGES if sigma > 0]


def test_blurred_bitmaps_are_optimised_in_a_smaller_picture(monkeypatch):
    task = problem(target=picture(301, 260), instances=60, steps=40)
    sizes = []

    def watched_render(scene):
        sizes.append((scene.height, scene.width))
        return render(scene)

    monkeypatch.setattr(optimize, "render", watched_render)
    run = Optimization(task)
    psnr = {}
    for progress in run:
        before, sizes[:] = list(sizes), []
        assert before[-1] == (260, 301) or progress.step % optimize.EVALUATE_EVERY
        soft = schedule.blur((progress.step - 1) / 40) > 0
        assert before[1 if progress.step == 1 else 0] == ((130, 151) if soft else (260, 301))
    psnr["coarse"] = run.result().psnr
    monkeypatch.setattr(schedule, "COARSE", 1.0)
    psnr["fine"] = finish(task)[0].result().psnr
    assert psnr["coarse"] > psnr["fine"] - 0.5
    small = Optimization(problem(target=picture(301, optimize.COARSE_FROM - 1)))
    assert small._ratio(0) == 1


@pytest.mark.parametrize("background", ["noise", "white"])
def test_what_begins_anew_pays_by_the_end(background, monkeypatch):
    """And is not what makes the end of a run worse than any state before."""
    target = picture(96, 96)
    for row, column in np.random.default_rng(0).integers(4, 92, (40, 2)):
        target[row - 4 : row + 4, column - 4 : column + 4, :3] = (row / 96, column / 96, 0.5)
    gains = []
    for seed in range(3):
        task = problem(target=target, background=background, instances=200, steps=150, seed=seed, min_size=0.04)
        run, progress = finish(task)
        evaluated = {p.step: p.psnr for p in progress if p.step % optimize.EVALUATE_EVERY == 0}
        assert evaluated[150] > max(evaluated.values()) - 0.3
        with monkeypatch.context() as patch:
            patch.setattr(schedule, "RECYCLED", 0.0)
            gains.append(run.result().psnr - finish(task)[0].result().psnr)
    assert np.mean(gains) > 0.2, gains


def test_few_holes_are_left_over_noise(monkeypatch):
    """A dab with gaps, which leaves holes where they do not weigh more."""
    comb = dab()
    comb[:, ::2, 3] = 0
    target = picture(64, 64)
    target[..., :3] *= 0.2
    task = problem(target=target, bitmaps=(Bitmap("comb", comb),), background="noise", instances=80, steps=150)

    def part(run):
        return holes.uncovered(render(run._scene(run._sharp)).transmittance.detach(), run._target)

    with_weight = part(finish(task)[0])
    monkeypatch.setattr(holes, "BEGIN", math.inf)
    assert with_weight < 0.8 * part(finish(task)[0])


def test_learning_rates_start_anew_with_every_run(monkeypatch):
    """Peer's defect 8: the rate of the opacity was multiplied in place on every run."""
    constants = optimize.POSITION_RATE, optimize.OPACITY_RATE, optimize.COLOR_RATE
    rates = []
    step = Adam.step

    def watched_step(self, given):
        rates.append(given)
        step(self, given)

    monkeypatch.setattr(Adam, "step", watched_step)
    for run in (Optimization(problem()), Optimization(problem())):
        next(iter(run))
    assert rates[0] == rates[1]
    assert constants == (optimize.POSITION_RATE, optimize.OPACITY_RATE, optimize.COLOR_RATE)
    assert list(finish(problem())[0]._rates) == rates[0]


def test_sizes_and_centres_stay_in_bounds():
    task = problem(min_size=0.2, max_size=0.3, steps=60)
    placed = finish(task)[0].result().placements
    sizes = placed.scale * 16
    assert sizes.min() >= 0.2 * 48 - 1e-3 and sizes.max() <= 0.3 * 48 + 1e-3
    assert (placed.position >= -sizes[:, None]).all()
    assert (placed.position <= np.array([48, 36]) + sizes[:, None]).all()


def test_a_large_target_is_optimised_smaller_and_placed_at_full_size():
    target = picture(200, 150)
    run, _ = finish(problem(target=target, working_size=50))
    assert (run._width, run._height) == (50, 38)
    placed = run.result().placements
    assert placed.position[:, 0].max() > 120 and placed.position[:, 0].max() < 260
    assert placed.scale.max() * 16 > 0.2 * 200


def test_working_target_is_a_premultiplied_average():
    target = picture(40, 30)
    target[::2, :, 3] = 0
    target[::2, :, :3] = np.nan
    small = working_target(target, 20)
    assert small.shape == (4, 15, 20) and small.isfinite().all()
    torch.testing.assert_close(small[3], torch.full((15, 20), 0.5))
    expected = target[1::2, :, :3].reshape(15, 20, 2, 3).mean(2) / 2
    np.testing.assert_allclose(small[:3].permute(1, 2, 0).numpy(), expected, atol=1e-5)


def test_previews_are_small_8_bit_and_straight():
    alpha = torch.full((700, 900), 0.5)
    for channels, expected in ((1, [51] * 3), (3, [51] * 3), (4, [163] * 3)):
        image = preview_image(torch.full((channels, 700, 900), 0.1), 1 - alpha)
        assert image.dtype == np.uint8 and image.shape[2] == 4 and max(image.shape) <= PREVIEW_SIZE
        assert image[3, 5].tolist() == [*expected, 128]
    assert Optimization(problem(steps=1)).result().notes == () or implementation("cpu").name == "reference"
    assert finish(problem(steps=1))[1][-1].preview is not None


def paced(*durations):
    pace = Pace()
    for duration in durations:
        pace.add(duration)
    return pace


def test_nothing_is_said_of_the_time_left_before_something_is_known():
    assert Pace().seconds(9) is None and paced(1.3).seconds(9) is None
    assert paced(1.3, 0.1, 0.1).seconds(9) is None
    assert paced(1.3, 0.1, 0.1, 0.1).seconds(9) == pytest.approx(0.9)
    assert paced(5.0, 0.6).seconds(9) == pytest.approx(5.4), "steps that are slow are known at once"
    assert paced(1.3).seconds(0) == 0


def test_the_time_left_counts_what_recurs_and_not_a_pause_of_the_machine():
    recurring = [0.01] * 9 + [0.05]
    assert paced(1.3, *recurring * 4).seconds(100) == pytest.approx(1.4)
    assert paced(1.3, *recurring * 3, 60.0, *recurring).seconds(100) == pytest.approx(1.4, rel=0.2)
    assert paced(*[9.0] * 9, *[0.2] * optimize.PACE_WINDOW).seconds(10) == pytest.approx(2.0), "the latest steps count"


def test_the_time_left_is_honest_once_it_is_said(monkeypatch):
    """By a clock that the test owns: steps of 20 ms, the first one of 1 s, a tenth of them of 50 ms."""
    steps = 100
    clock = [0.0]
    run = Optimization(problem(steps=steps))
    advance = run._advance

    def timed_advance():
        clock[0] += 1.0 if run._step == 0 else 0.05 if run._step % 10 == 5 else 0.02
        return advance()

    monkeypatch.setattr(run, "_advance", timed_advance)
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    said = [(clock[0], progress.seconds_left) for progress in run]
    end = clock[0]
    assert [left for _, left in said[:3]] == [None] * 3
    for now, left in said[3:-1]:
        assert left is not None and 0.8 * (end - now) - 0.05 < left < 1.25 * (end - now) + 0.05, (now, left, end)


def test_the_time_left_knows_that_later_steps_are_larger():
    run = Optimization(problem(target=picture(300, 260), steps=100, working_size=300))
    assert run._coarse_steps == 30
    run._drawing = {1.0: 0.02, schedule.COARSE: 0.004}  # s
    coarse = 0.01
    whole = coarse + optimize.PASSES * 0.016
    pace, ends = Pace(), [coarse] * 30 + [whole] * 70
    for step, seconds in enumerate(ends, 1):
        left = run._time_left(pace, seconds, step)
        assert step < 4 or left == pytest.approx(sum(ends[step:])), step


def test_no_time_is_left_at_the_end():
    progress = finish(problem(steps=12))[1]
    assert all(p.seconds_left > 0 for p in progress[3:-1]) and progress[-1].seconds_left == 0


def test_without_the_extension_the_reference_runs_and_says_so(monkeypatch):
    absent = extension.Status(False, "the extension is not built: python3 build_ext.py")
    monkeypatch.setattr(extension, "status", lambda: absent)
    run, progress = finish(problem(steps=4))
    (note,) = run.result().notes
    assert "plain PyTorch" in note and "not built" in note and progress[-1].psnr > 5


def test_too_little_to_cover_the_target_is_said_once_the_run_is_over():
    few = problem(instances=4, max_size=0.3, background="noise")
    run = Run(few)
    steps = iter(run)
    next(steps)
    assert run.result().notes == run.notes, "a run that was stopped may have had more to give"
    for _ in steps:
        pass
    (note,) = set(run.result().notes) - set(run.notes)
    assert "is left uncovered" in note
    assert set(finish(replace(few, settings=replace(few.settings, instances=60)))[0].result().notes) == set(run.notes)


def test_tiny_and_strange_bitmaps_work():
    bitmaps = (
        Bitmap("one pixel", np.ones((1, 1, 4), np.float32)),
        Bitmap("line", np.ones((1, 60, 4), np.float32)),
        Bitmap("larger than the canvas", dab(300)),
    )
    assert finish(problem(bitmaps=bitmaps))[1][-1].psnr > 10


@pytest.mark.parametrize("count", [1, 3])
def test_few_instances_and_few_steps(count):
    for steps in (1, 2, 21):
        assert len(finish(problem(instances=count, steps=steps))[1]) == steps


def with_pixel(array, value):
    array = array.copy()
    array[3, 3, 0] = value
    return array


TRANSPARENT = np.zeros((12, 12, 4), np.float32)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"instances": 0}, "number of instances"),
        ({"instances": INSTANCE_LIMIT + 1}, "number of instances"),
        ({"steps": 0}, "number of steps"),
        ({"min_size": 0.3, "max_size": 0.2}, "smallest size"),
        ({"min_size": 0.0}, "greater than 0"),
        ({"max_size": math.nan}, "greater than 0"),
        ({"alpha_max": 0.0}, "maximum opacity"),
        ({"mu_blend": 1.5}, "original colours"),
        ({"working_size": 1}, "working size"),
        ({"background": "pink"}, "background"),
        ({"device": "abacus"}, "device"),
        ({"max_stretch": 0.5}, "stretched 0.5 times"),
        ({"max_stretch": math.nan}, "between 1 and 10"),
        ({"target": np.ones((1, 1, 4), np.float32)}, "1 x 1"),
        ({"target": TRANSPARENT}, "target layer is fully transparent"),
        ({"target": with_pixel(picture(), math.nan)}, "not numbers"),
        ({"target": with_pixel(picture(), math.inf)}, "not numbers"),
        ({"target": np.ones((20, 20, 6), np.float32)}, "colour model"),
        ({"bitmaps": ()}, "no bitmap"),
        ({"bitmaps": (Bitmap("empty one", TRANSPARENT),)}, "“empty one” is fully transparent"),
        (
            {"bitmaps": (Bitmap("faint one", np.full((9, 9, 4), 1e-44, np.float32)),)},
            "“faint one” is fully transparent",
        ),
        ({"bitmaps": (Bitmap("gray one", dab(channels=1)),)}, "“gray one” and the target differ"),
        ({"bitmaps": (Bitmap("broken", with_pixel(np.ones((9, 9, 4), np.float32), math.nan)),)}, "not numbers"),
    ],
)
def test_impossible_problems_get_a_sentence(change, sentence):
    with pytest.raises(DiffBmpError, match=sentence):
        Optimization(problem(**change))


def test_a_hundred_thousand_instances_are_allowed():
    check_problem(problem(instances=INSTANCE_LIMIT))


def test_cuda_that_is_not_there_is_refused_in_words():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(DiffBmpError, match="CUDA cannot be used"):
        Optimization(problem(device="cuda"))
    assert finish(problem(device="auto", steps=2))[1][-1].step == 2


def test_adam_is_torchs():
    generator = torch.Generator().manual_seed(0)
    ours = [
        torch.randn(5, 2, generator=generator).requires_grad_(),
        torch.randn(7, generator=generator).requires_grad_(),
    ]
    theirs = [values.detach().clone().requires_grad_() for values in ours]
    adam = Adam(ours, (0.8, 0.9))
    oracle = torch.optim.Adam([{"params": [values], "lr": 0} for values in theirs], betas=(0.8, 0.9))
    for step in range(20):
        rates = [0.3 / (step + 1), 0.01]
        for group, rate in zip(oracle.param_groups, rates, strict=True):
            group["lr"] = rate
        for mine, its in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator) * 10.0 ** (step % 7 - 3)
            its.grad = mine.grad.clone()
        adam.step(rates)
        oracle.step()
        for mine, its in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, its, rtol=1e-5, atol=1e-6)
            for name, moment in adam.state[mine].items():
                torch.testing.assert_close(moment, oracle.state[its][name])
    assert all(values.grad is None for values in ours)


def test_a_run_does_not_load_torchs_compiler():
    """It takes half a second, most of which Python's lock is held and Krita's window stands still."""
    code = (
        "import sys, numpy as np; from krita_diffbmp.problem import *; from krita_diffbmp.engine.run import Run;"
        "task = Problem(np.ones((16, 16, 4), np.float32), (Bitmap('dab', np.ones((4, 4, 4), np.float32)),),"
        " Settings(instances=3, steps=3, device='cpu'));"
        "assert [p.step for p in Run(task)] == [1, 2, 3]; print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
