"""The CUDA kernels against the float64 reference and the CPU. They need an NVIDIA GPU and the extension for it."""

import gc
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from strategies import MARGINS, Kind, relative_error, scene_of, smooth_pixels, stretches, weights

import build_ext
from krita_diffbmp.engine import extension, gpu, optimize, pyramid, reference, schedule
from krita_diffbmp.engine import run as run_module
from krita_diffbmp.engine.fused import FusedOptimization
from krita_diffbmp.engine.optimize import Optimization
from krita_diffbmp.engine.render import implementation, render
from krita_diffbmp.engine.run import Run
from krita_diffbmp.engine.scene import Bitmaps, Instances, Scene
from krita_diffbmp.problem import Bitmap, Freeze, Placements, Problem, Settings, Start

NAMES = ("position", "rotation", "scale", "opacity", "color")
KINK = 1e-3  # texels: nearer to a texel line, float32 and float64 may disagree on which side a sample lies


def why_not():
    if not torch.cuda.is_available():
        return "no NVIDIA GPU, or a torch without CUDA"
    return implementation("cuda").reason


needs_cuda = pytest.mark.skipif(bool(why_not()), reason=f"CUDA kernels not tested: {why_not()}")


def random_scene(seed, *, count=None, size=None, scale=(0.05, 3.0), alpha_max=0.95):
    """On the CPU, in float64 numbers that are float32 numbers."""
    rng = np.random.default_rng(seed)
    channels, mu_blend = (1, 3, 4)[seed % 3], (0.0, 0.4, 1.0)[seed // 3 % 3]
    height, width = size or rng.integers(1, 120, 2).tolist()
    count = int(rng.choice([1, 7, 60, 300])) if count is None else count
    sizes = rng.integers(1, 60, (rng.integers(1, 6), 2)).tolist()
    pictures = []
    for w, h in sizes:
        picture = rng.random((h, w, channels + 1), dtype=np.float32)
        if rng.random() < 0.5:  # a support box smaller than the bitmap
            picture[: h // 3, :, -1] = 0
            picture[:, w - w // 4 :, -1] = 0
        picture[0, 0, -1] = max(picture[0, 0, -1], 0.1)
        pictures.append(picture)

    def f(values):
        return torch.from_numpy(np.asarray(values)).float().double()

    instances = Instances(
        position=f(rng.uniform(-0.1, 1.1, (count, 2)) * [width, height]),
        rotation=f(rng.uniform(-7, 7, count)),
        scale=f(np.exp(rng.uniform(np.log(scale[0]), np.log(scale[1]), count))),
        opacity=f(rng.uniform(-4, 4, count)),
        color=f(rng.uniform(0, 1, (count, channels))),
        bitmap=torch.from_numpy(rng.integers(0, len(sizes), count).astype(np.int32)),
        stretch=stretches(rng, count) if seed // 9 % 2 == 1 else None,
        mu_blend=f(rng.uniform(-0.5, 1.5, count).clip(0, 1)) if seed // 18 % 2 == 1 else None,
    )
    bitmaps = pyramid.pack(pictures)
    return Scene(Bitmaps(bitmaps.texels.double(), bitmaps.levels), instances, height, width, alpha_max, mu_blend)


def moved(scene, device, dtype=torch.float32, *, differentiable=False):
    values = {name: getattr(scene.instances, name).to(device, dtype) for name in NAMES}
    if differentiable:
        values = {name: value.clone().requires_grad_() for name, value in values.items()}
    for name in ("stretch", "mu_blend"):
        given = getattr(scene.instances, name)
        values[name] = None if given is None else given.to(device, dtype)
    instances = Instances(**values, bitmap=scene.instances.bitmap.to(device))
    bitmaps = Bitmaps(scene.bitmaps.texels.to(device, dtype), scene.bitmaps.levels)
    return Scene(bitmaps, instances, scene.height, scene.width, scene.alpha_max, scene.mu_blend)


def smooth(scene):
    """[H, W] where no sample lies so near to a texel line that rounding decides about its gradient."""
    level = reference.mip_levels(scene.bitmaps, scene.instances)
    y, x = torch.meshgrid(torch.arange(scene.height), torch.arange(scene.width), indexing="ij")
    pixels = torch.stack([x.flatten(), y.flatten()], 1).double() + 0.5
    keep = torch.ones(len(pixels), dtype=torch.bool)
    for i in range(len(scene.instances.scale)):
        u, v = reference.texel_coordinates(scene.bitmaps, scene.instances, level, torch.tensor([i]), pixels)
        _, width, height = level[i, :3].tolist()
        inside = (u > -1.1) & (u < width + 0.1) & (v > -1.1) & (v < height + 0.1)
        near = ((u - u.round()).abs() < KINK) | ((v - v.round()).abs() < KINK)
        keep &= ~(inside & near)[0]
    return keep.view(scene.height, scene.width)


def relative(value, exact):
    return float((value.cpu().double() - exact).norm() / exact.norm().clamp(min=1e-12))


def gradients(scene, by_color, by_transmittance, use=None):
    drawn = render(scene, use)
    loss = (drawn.color * by_color).sum() + (drawn.transmittance * by_transmittance).sum()
    return drawn, torch.autograd.grad(loss, [getattr(scene.instances, name) for name in NAMES])


@needs_cuda
@pytest.mark.cuda
@pytest.mark.parametrize("batch", range(10))
def test_pictures_and_gradients_are_those_of_the_reference(batch):
    for seed in range(30 * batch, 30 * batch + 30):
        exact = moved(random_scene(seed), "cpu", torch.float64, differentiable=True)
        keep = smooth(exact)
        generator = torch.Generator().manual_seed(seed)
        by_color = torch.randn(exact.bitmaps.channels, *keep.shape, generator=generator, dtype=torch.float64) * keep
        by_transmittance = torch.randn(keep.shape, generator=generator, dtype=torch.float64) * keep
        wanted, exact_gradients = gradients(exact, by_color, by_transmittance, "reference")
        scene = moved(exact, "cuda", differentiable=True)
        drawn, found = gradients(scene, by_color.float().cuda(), by_transmittance.float().cuda())
        # The slope of a bilinear surface of random texels is some ten per px where an instance is drawn small.
        torch.testing.assert_close(drawn.color.double().cpu(), wanted.color, atol=3e-5, rtol=0)
        torch.testing.assert_close(drawn.transmittance.double().cpu(), wanted.transmittance, atol=3e-5, rtol=0)
        for name, value, reference_value in zip(NAMES, found, exact_gradients, strict=True):
            assert relative(value, reference_value) < 1e-4, (seed, name)


@needs_cuda
@pytest.mark.cuda
@pytest.mark.parametrize("mu_blend", [0.0, 0.5])
@pytest.mark.parametrize("seed", range(16))
def test_gradients_of_an_opaque_stack_beside_pixels_that_are_open(seed, mu_blend):
    kind = Kind(seed, width=64, height=32, count=60, mu_blend=mu_blend, solid=True, sides=(8, 8), scale=(1.0, 2.5))
    scene = scene_of(replace(kind, opacity=(-2.0, 20.0), spread=0.4))
    where = smooth_pixels(scene, MARGINS[torch.float32])
    losses = [weights(scene, where, turn) for turn in range(4)]
    exact = moved(scene, "cpu", torch.float64, differentiable=True)
    truth = [gradients(exact, color, through, "reference")[1] for color, through in losses]
    on_gpu = moved(scene, "cuda", differentiable=True)
    found = [gradients(on_gpu, color.float().cuda(), through.float().cuda())[1] for color, through in losses]
    for index, name in enumerate(NAMES):
        wanted, got = (torch.stack([values[index].cpu().double() for values in each]) for each in (truth, found))
        assert relative_error(got, wanted, 1e-2) < 1e-4, name


@needs_cuda
@pytest.mark.cuda
@pytest.mark.parametrize("seed", range(40))
def test_the_cpu_draws_the_same(seed):
    scene = random_scene(seed, size=(97, 133))
    on_cpu, on_gpu = render(moved(scene, "cpu"), "extension"), render(moved(scene, "cuda"))
    assert (on_gpu.color.cpu() - on_cpu.color).abs().max() < 1e-5
    assert (on_gpu.transmittance.cpu() - on_cpu.transmittance).abs().max() < 1e-5


@needs_cuda
@pytest.mark.cuda
def test_nothing_draws_nothing():
    scene = moved(random_scene(1, count=0), "cuda", differentiable=True)
    drawn, found = gradients(scene, 1.0, 1.0)
    assert (drawn.color == 0).all() and (drawn.transmittance == 1).all()
    assert all(value.numel() == 0 for value in found)


@needs_cuda
@pytest.mark.cuda
@pytest.mark.parametrize("count", [8191, 8192, 8225, 100_000])
def test_many_instances_of_either_strategy(count):
    scene = random_scene(3, count=count, size=(300, 517), scale=(0.02, 0.2))
    on_cpu = moved(scene, "cpu", differentiable=True)
    on_gpu = moved(scene, "cuda", differentiable=True)
    wanted, exact = gradients(on_cpu, 1.0, 0.5, "extension")
    drawn, found = gradients(on_gpu, 1.0, 0.5)
    assert (drawn.color.cpu() - wanted.color).abs().max() < 1e-4  # hundreds of layers over each pixel
    for name, value, other in zip(NAMES, found, exact, strict=True):
        assert relative(value, other.double()) < 3e-3, name  # two float32s, kinks included


@needs_cuda
@pytest.mark.cuda
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 70_000), (40_000, 3), (8192, 8192)])
def test_canvases_of_any_shape(height, width):
    scene = random_scene(4, count=60, size=(height, width), scale=(1.0, 40.0))
    on_gpu = moved(scene, "cuda", differentiable=True)
    drawn, found = gradients(on_gpu, 1.0, 1.0)
    wanted = render(moved(scene, "cpu"), "extension")
    assert (drawn.color.cpu() - wanted.color).abs().max() < 1e-3  # coordinates of thousands of px in float32
    assert all(value.isfinite().all() for value in found)


@needs_cuda
@pytest.mark.cuda
def test_instances_that_are_not_finite_draw_nothing():
    scene = moved(random_scene(5, count=60, size=(60, 60)), "cuda")
    for name in NAMES:
        value = getattr(scene.instances, name)
        value.view(60, -1)[NAMES.index(name), 0] = float("nan")
        value.view(60, -1)[NAMES.index(name) + 10, 0] = float("inf")
    scene.instances.scale[30], scene.instances.scale[31] = 0, -1
    scene.instances.scale[32], scene.instances.scale[33] = 1e-38, 1e30
    bad = [*range(5), *range(10, 15), 30, 31]
    good = torch.ones(60, dtype=torch.bool)
    good[bad] = False
    there = {name: value for name, value in vars(scene.instances).items() if value is not None}
    rest = Instances(**{name: value[good] for name, value in there.items()})
    drawn = render(scene)
    wanted = render(Scene(scene.bitmaps, rest, scene.height, scene.width, scene.alpha_max, scene.mu_blend))
    assert drawn.color.isfinite().all() and torch.equal(drawn.color, wanted.color)
    values = {name: value.clone().requires_grad_() for name, value in vars(scene.instances).items() if name in NAMES}
    full = Instances(**values, bitmap=scene.instances.bitmap)
    _, found = gradients(Scene(scene.bitmaps, full, 60, 60, 0.95, scene.mu_blend), 1.0, 1.0)
    for value in found:
        assert value.isfinite().all() and (value[bad] == 0).all()


@needs_cuda
@pytest.mark.cuda
def test_opaque_stacks_keep_their_gradients():
    """Pixels that are closed long before the backmost instance: nothing underflows on the way back."""
    scene = random_scene(0, count=300, size=(64, 64), scale=(3.0, 6.0), alpha_max=1.0)
    scene.instances.opacity.fill_(15.0)
    exact = moved(scene, "cpu", torch.float64, differentiable=True)
    keep = smooth(exact).double()
    _, wanted = gradients(exact, keep, keep, "extension")
    _, found = gradients(moved(scene, "cuda", differentiable=True), keep.float().cuda(), keep.float().cuda())
    for name, value, other in zip(NAMES, found, wanted, strict=True):
        assert relative(value, other) < 1e-3, name


def operator_arguments(scene):
    cells, levels = scene.bitmaps.color_cells
    values = [getattr(scene.instances, name) for name in (*NAMES, "bitmap")]
    look = [scene.height, scene.width, scene.alpha_max, scene.mu_blend]
    return [cells, levels, *values, *look, scene.instances.stretch, scene.instances.mu_blend]


@needs_cuda
@pytest.mark.cuda
@pytest.mark.parametrize("seed", [7, 34])
def test_torch_accepts_the_operators(seed):
    scene = moved(random_scene(seed, count=20, size=(30, 40)), "cuda", differentiable=True)
    arguments = operator_arguments(scene)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.diffbmp.render.default, tuple(arguments), test_utils=checks)
    drawn = torch.ops.diffbmp.render(*arguments)
    backward = [torch.ones_like(drawn[0]), torch.ones_like(drawn[1]), *drawn]
    detached = [value.detach() if isinstance(value, torch.Tensor) else value for value in [*backward, *arguments]]
    del detached[14:16]  # height and width
    torch.library.opcheck(torch.ops.diffbmp.render_backward.default, tuple(detached), test_utils=checks)


@needs_cuda
@pytest.mark.cuda
def test_bad_arguments_are_refused_or_draw_nothing():
    scene = moved(random_scene(1, count=20, size=(30, 40)), "cuda")
    arguments = operator_arguments(scene)

    def with_(index, value):
        return [*arguments[:index], value, *arguments[index + 1 :]]

    draw = torch.ops.diffbmp.render
    for index, value, error in [
        (0, scene.bitmaps.texels, ValueError),
        (0, arguments[0].double(), TypeError),
        (1, scene.bitmaps.levels, ValueError),
        (1, arguments[1].long(), TypeError),
        (2, arguments[2][:5], ValueError),
        (2, arguments[2].cpu(), ValueError),
        (3, arguments[3].double(), TypeError),
        (7, arguments[7].long(), TypeError),
        (8, 0, ValueError),
        (9, -5, ValueError),
        (10, 1.5, ValueError),
        (11, -0.1, ValueError),
    ]:
        with pytest.raises(error, match="diffbmp"):
            draw(*with_(index, value))
    with pytest.raises(ValueError, match="planes of cells"):
        draw(scene.bitmaps.mask_cells[0], scene.bitmaps.mask_cells[1], *arguments[2:11], 0.5)
    with pytest.raises(ValueError, match="planes of cells"):
        draw(*scene.bitmaps.mask_cells, *arguments[2:11], 0.0, None, torch.zeros(20, device="cuda"))
    with pytest.raises(ValueError, match="stretch has shape"):
        draw(*arguments[:12], torch.zeros(20, 4, device="cuda"), None)
    with pytest.raises(ValueError, match="no gradient by stretch"):
        stretch = torch.eye(2, device="cuda").repeat(20, 1, 1).requires_grad_()
        render(replace(scene, instances=replace(scene.instances, stretch=stretch)))
    drawn = draw(*arguments)
    gradient = torch.ones_like(drawn[0]), torch.ones_like(drawn[1])
    for kept in (drawn[3][:-1], drawn[3].cpu(), drawn[3].char()):
        with pytest.raises(ValueError, match="kept is not"):
            torch.ops.diffbmp.render_backward(*gradient, *drawn[:3], kept, *arguments[:8], *arguments[10:])
    # What only the device can see is not read: a bitmap that is not there draws nothing.
    lost = with_(7, torch.full_like(arguments[7], 99))
    assert (draw(*lost)[1] == 1).all()
    assert (draw(*with_(1, arguments[1] + 2**28))[1] == 1).all()
    with pytest.raises(RuntimeError, match="float32"):
        render(moved(random_scene(1), "cuda", torch.float64), "extension")
    assert implementation("cuda", torch.float64).name == "reference"


@needs_cuda
@pytest.mark.cuda
def test_memory_returns_to_the_start():
    def job(seed):
        scene = moved(random_scene(seed, count=50 * seed), "cuda", differentiable=True)
        gradients(scene, 1.0, 1.0)

    job(20)
    gc.collect()  # what an earlier test left behind must not go in between
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for seed in range(1, 25):
        job(seed)
    gc.collect()
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() == before


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="CUDA kernels not compiled: nvcc was not found")
@pytest.mark.parametrize("arch", ["7.5", "9.0+PTX"])
def test_the_kernels_compile_without_a_gpu_and_without_warnings(arch, tmp_path):
    nvcc = shutil.which("nvcc")
    assert nvcc is not None
    assert len(build_ext.compile_kernels(nvcc, arch, tmp_path)) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("diffbmp: CUDA error: no kernel image is available for execution on the device", "no kernels for this GPU"),
        ("CUDA out of memory. Tried to allocate 2.00 GiB", "memory is full"),
        ("CUDA error: CUDA driver version is insufficient for CUDA runtime version", "driver is too old"),
        ("diffbmp: CUDA error: an illegal memory access was encountered", "Krita is restarted"),
        ("CUDA error: unknown error", "driver does not answer"),
    ],
)
def test_errors_of_the_gpu_in_plain_words(text, words):
    error = RuntimeError(text)
    assert gpu.is_cuda_error(error) and words in gpu.explain(error)


def let_the_gpu_fail(monkeypatch, text):
    """Without a GPU: every run on one ends with an error of this text."""
    monkeypatch.setattr(run_module, "choose_device", lambda device: (torch.device("cuda"), ()))
    monkeypatch.setattr(gpu, "card", lambda: None)

    def failing(self, wanted):
        raise RuntimeError(text)

    monkeypatch.setattr(FusedOptimization, "__init__", failing)


def test_a_failing_gpu_leads_to_the_cpu(monkeypatch):
    let_the_gpu_fail(monkeypatch, "diffbmp: CUDA error: an illegal memory access was encountered")
    run = Run(problem(steps=3))
    assert [progress.step for progress in run] == [1, 2, 3]
    assert run.device_name == "CPU" and "On the processor instead of the GPU, because the GPU failed" in run.notes[0]


def test_a_mistake_in_the_program_is_not_taken_for_the_gpu(monkeypatch):
    let_the_gpu_fail(monkeypatch, "the size of tensor a must match")
    with pytest.raises(RuntimeError, match="tensor a"):
        Run(problem(steps=3))


def test_a_torch_without_cuda_says_so():
    status = extension.status()
    if status.available and not status.cuda:
        assert implementation("cuda").name == "reference"
        assert "without kernels for cuda" in implementation("cuda").reason


def problem(size=(96, 128), channels=3, **settings):
    rng = np.random.default_rng(1)
    y, x = np.mgrid[: size[0], : size[1]] / 20
    waves = [0.5 + 0.5 * np.sin(x * (1 + c) + y * (2 - c) + c) for c in range(channels)]
    target = np.stack([*waves, np.clip(1.5 - np.hypot(x - 3, y - 2) / 3, 0, 1)], 2).astype(np.float32)
    v, u = np.mgrid[-1:1:24j, -1:1:33j]
    pictures = [rng.random((24, 33, channels + 1)).astype(np.float32) for _ in range(3)]
    for index, picture in enumerate(pictures):
        picture[..., -1] = np.clip(1.2 - np.hypot(u, v * (1 + index)), 0, 1)
    bitmaps = tuple(Bitmap(str(index), picture) for index, picture in enumerate(pictures))
    return Problem(target, bitmaps, Settings(**{"instances": 80, "max_size": 0.3, "seed": 5} | settings))


@needs_cuda
@pytest.mark.cuda
@pytest.mark.parametrize("background", ["noise", "white", "transparent"])
@pytest.mark.parametrize(("channels", "mu_blend"), [(1, 0.0), (3, 0.0), (3, 0.4), (4, 1.0)])
def test_fifty_steps_are_those_of_autograd(background, channels, mu_blend, monkeypatch):
    monkeypatch.setattr(schedule, "recycled", lambda step, total: 0.0)
    # Adam turns the sign of a gradient that is all rounding into a whole step: with small ones the two stay together.
    for name in ("POSITION_RATE", "ROTATION_RATE", "SIZE_RATE", "OPACITY_RATE", "COLOR_RATE"):
        monkeypatch.setattr(optimize, name, getattr(optimize, name) / 20)
    wanted = problem(channels=channels, mu_blend=mu_blend, background=background, device="cuda", steps=50)
    plain, fused = Optimization(wanted), FusedOptimization(wanted)
    losses = [plain._advance()[0] for _ in range(50)]
    progress = list(fused)
    assert progress[-1].step == 50
    for shown in progress:
        assert shown.loss == pytest.approx(losses[shown.step - 1], rel=1e-3)
    moved, exact = fused._parameters.to("cpu"), plain._parameters.copy().to("cpu")
    for name in ("position", "rotation", "log_size", "opacity", "color"):
        difference = (getattr(moved, name) - getattr(exact, name)).abs()
        assert difference.median() < 2e-3 and difference.quantile(0.9) < 0.05, (name, difference.flatten().sort()[0])


@needs_cuda
@pytest.mark.cuda
def test_weights_count_in_the_fused_loss():
    wanted = problem(device="cuda", background="white")
    run = FusedOptimization(wanted)
    generator = torch.Generator().manual_seed(0)
    weight = torch.rand(run._height, run._width, generator=generator).cuda()
    rendering = render(run._scene(run._bitmaps(schedule.blur(0))))
    white = rendering.over(1.0) - run._target_color - run._target_transmittance
    run._steps.aim(run._steps._target, weight)
    run._steps.advance(1)
    assert run._steps.report().wait()[1] == pytest.approx(float((weight * white.square()).mean()), rel=1e-5)


@needs_cuda
@pytest.mark.cuda
def test_steps_on_a_smaller_picture_are_those_of_autograd(monkeypatch):
    monkeypatch.setattr(schedule, "recycled", lambda step, total: 0.0)
    for name in ("POSITION_RATE", "ROTATION_RATE", "SIZE_RATE", "OPACITY_RATE", "COLOR_RATE"):
        monkeypatch.setattr(optimize, name, getattr(optimize, name) / 20)
    wanted = problem(size=(257, 301), background="noise", device="cuda", steps=30)
    plain, fused = Optimization(wanted), FusedOptimization(wanted)
    assert plain._ratio(0) < 1 and plain._ratio(29) == 1
    losses = [plain._advance()[0] for _ in range(30)]
    for shown in fused:
        assert shown.loss == pytest.approx(losses[shown.step - 1], rel=1e-3)
    moved, exact = fused._parameters.to("cpu"), plain._parameters.copy().to("cpu")
    assert (moved.position - exact.position).abs().median() < 2e-3


@needs_cuda
@pytest.mark.cuda
def test_holes_count_in_the_fused_loss():
    wanted = problem(device="cuda", background="noise")
    plain, fused = Optimization(wanted), FusedOptimization(wanted)
    for run in (plain, fused):
        run._set_hole_weight(3.0)
    fused._steps.advance(1)
    assert fused._steps.report().wait()[1] == pytest.approx(plain._advance()[0], rel=1e-4)


@needs_cuda
@pytest.mark.cuda
@pytest.mark.parametrize("count", [1, 6, 600, 3000, 9000])
def test_steps_with_any_number_of_instances_are_those_of_autograd(count, monkeypatch):
    monkeypatch.setattr(schedule, "recycled", lambda step, total: 0.0)
    wanted = problem(instances=count, max_size=0.5, device="cuda", steps=5)
    plain, fused = Optimization(wanted), FusedOptimization(wanted)
    losses = [plain._advance()[0] for _ in range(5)]
    for shown in fused:
        assert shown.loss == pytest.approx(losses[shown.step - 1], rel=1e-3)


@needs_cuda
@pytest.mark.cuda
@pytest.mark.parametrize("background", ["noise", "white", "transparent"])
def test_a_run_on_the_gpu_repeats_itself_bit_for_bit(background):
    first, second = (Run(problem(device="cuda", background=background, steps=63)) for _ in range(2))
    steps = [[(shown.loss, shown.psnr) for shown in run if shown.step % 10 == 0] for run in (first, second)]
    assert steps[0] and steps[0][-1] == steps[1][-1]
    for name, values in vars(first.result().placements).items():
        assert np.array_equal(values, getattr(second.result().placements, name)), name


def refinement(size=(96, 128), channels=3, count=60, added=0, **settings):
    """Instances of every shape and share of colours, some of them frozen in part or whole, and a soft selection."""
    rng = np.random.default_rng(4)
    frozen = rng.integers(0, Freeze.ALL, count, endpoint=True).astype(np.uint8)
    frozen[::4] = Freeze.ALL
    given = Placements(
        position=(rng.uniform(0, 1, (count, 2)) * size[::-1]).astype(np.float32),
        rotation=rng.uniform(-7, 7, count).astype(np.float32),
        scale=np.exp(rng.uniform(-1, 1, count)).astype(np.float32),
        opacity=rng.uniform(0, 1, count).round(1).astype(np.float32),
        color=rng.random((count, channels), dtype=np.float32),
        bitmap=rng.integers(0, 3, count).astype(np.int32),
        stretch=stretches(rng, count).numpy().astype(np.float32),
        mu_blend=rng.uniform(-0.5, 1.5, count).clip(0, 1).astype(np.float32),
    )
    weight = rng.random(size, dtype=np.float32)
    weight[: size[0] // 3] = 0
    return replace(problem(size, channels, **settings), start=Start(given, frozen, added, primitives=2), weight=weight)


@needs_cuda
@pytest.mark.cuda
@pytest.mark.parametrize("background", ["noise", "white", "transparent"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_refinements_steps_are_those_of_autograd(background, channels, monkeypatch):
    monkeypatch.setattr(schedule, "REFINEMENT", 0.02)
    wanted = refinement(channels=channels, background=background, device="cuda", steps=50)
    plain, fused = Optimization(wanted), FusedOptimization(wanted)
    before = plain.result()
    assert fused.result().psnr == pytest.approx(before.psnr, abs=1e-3)
    losses = [plain._advance()[0] for _ in range(50)]
    for shown in fused:
        assert shown.loss == pytest.approx(losses[shown.step - 1], rel=1e-3)
    moved, exact = fused._parameters.to("cpu"), plain._parameters.copy().to("cpu")
    for name in ("position", "rotation", "log_size", "opacity", "color"):
        difference = (getattr(moved, name) - getattr(exact, name)).abs()
        assert difference.median() < 2e-3 and difference.quantile(0.9) < 0.05, (name, difference.flatten().sort()[0])


@needs_cuda
@pytest.mark.cuda
def test_a_refinement_on_the_gpu_leaves_what_is_frozen_and_never_makes_it_worse():
    wanted = refinement(device="cuda", added=12, steps=120)
    begun = Run(wanted).result()
    assert wanted.start is not None and begun.step == 0 and begun.psnr == begun.start_psnr
    on_cpu = Run(replace(wanted, settings=replace(wanted.settings, device="cpu"))).result()
    assert begun.psnr == pytest.approx(on_cpu.psnr, abs=1e-2)
    for name, values in vars(wanted.start.placements).items():
        assert np.array_equal(getattr(begun.placements, name), values), name
    run = Run(wanted)
    for _ in run:
        pass
    result = run.result()
    assert result.source is not None and (result.source < 0).sum() == 12
    assert result.psnr > begun.psnr + 1
    kept = result.source >= 0
    bits = {"position": 1, "rotation": 2, "scale": 4, "opacity": 8, "color": 16}
    for name, bit in bits.items():
        held = (wanted.start.frozen & bit) != 0
        before, after = getattr(wanted.start.placements, name), getattr(result.placements, name)[kept]
        assert np.array_equal(after[held], before[held]), name
        assert not np.array_equal(after[~held], before[~held]), name


@needs_cuda
@pytest.mark.cuda
def test_a_small_part_of_the_canvas_is_refined_on_the_gpu():
    wanted = refinement((700, 900), count=600, device="cuda", steps=80)
    weight = np.zeros((700, 900), np.float32)
    weight[300:420, 400:550] = 1
    wanted = replace(wanted, weight=weight)
    run = FusedOptimization(wanted)
    assert run._beginning is not None and run._beginning.window.width < 900
    shown = list(run)
    assert shown[0].preview is not None and shown[0].preview.shape == (350, 450, 4)
    on_cpu = Run(replace(wanted, settings=replace(wanted.settings, device="cpu"))).result()
    assert on_cpu.start_psnr is not None and run.result().start_psnr == pytest.approx(on_cpu.start_psnr, abs=1e-2)
    assert run.result().psnr > on_cpu.start_psnr + 1


@needs_cuda
@pytest.mark.cuda
def test_the_gpu_does_as_well_as_the_cpu():
    means = []
    for device in ("cpu", "cuda"):
        found = []
        for seed in range(16):
            run = Run(problem(device=device, steps=120, instances=150, seed=seed))
            for _ in run:
                pass
            found.append(run.result().psnr)
        means.append(np.mean(found))
    assert means[1] > means[0] - 0.5  # another noise, another trajectory; single runs differ by a decibel


@needs_cuda
@pytest.mark.cuda
def test_a_run_can_be_left_and_taken_up_again():
    run = Run(problem(device="cuda", steps=77))
    first = next(iter(run))
    assert 1 <= first.step <= 10 and first.preview is not None and first.total == 77
    early = run.result()
    assert early.step <= 30
    last = list(run)[-1]
    assert last.step == 77 and last.preview is not None and last.seconds_left == 0
    assert run.result().psnr >= early.psnr


@needs_cuda
@pytest.mark.cuda
def test_every_preview_shows_all_instances():
    """Those of the first steps, too, which draw softened bitmaps in a smaller picture."""
    task = problem((300, 400), steps=60, min_size=0.2)
    large = tuple(
        replace(bitmap, pixels=np.kron(bitmap.pixels, np.ones((8, 8, 1), np.float32))) for bitmap in task.bitmaps
    )
    shown = []
    for device in ("cpu", "cuda"):
        run = Run(replace(task, bitmaps=large, settings=replace(task.settings, device=device)))
        previews = [progress.preview for progress in run if progress.preview is not None]
        shown.append(previews[0][..., 3].mean())
    assert shown[1] > 0.8 * shown[0]


@needs_cuda
@pytest.mark.cuda
def test_a_full_gpu_leads_to_a_smaller_working_size(monkeypatch):
    begun = []

    def full(self, wanted, begin=FusedOptimization.__init__):
        begun.append(wanted.settings.working_size)
        if len(begun) == 1:
            torch.empty(2**50, device="cuda")
        begin(self, wanted)

    monkeypatch.setattr(FusedOptimization, "__init__", full)
    run = Run(problem((600, 700), device="cuda", steps=10))
    assert list(run)[-1].step == 10 and begun == [1024, 350]
    assert any("GPU's memory was full" in note for note in run.result().notes)


@needs_cuda
@pytest.mark.cuda
def test_a_run_that_would_not_fit_says_so_before(monkeypatch):
    card = gpu.card()
    assert card is not None and card.memory > card.usable and "GB" in Run(problem(device="cuda")).device_name
    needed = gpu.estimate(problem((900, 1000), device="cuda"))
    monkeypatch.setattr(gpu, "card", lambda: gpu.Card(card.name, card.memory, gpu.RESERVE + needed / 2))
    run = Run(problem((900, 1000), device="cuda", steps=10))
    assert list(run)[-1].step == 10
    assert any("of the GPU's memory" in note and "500 pixels" in note for note in run.result().notes)


@needs_cuda
@pytest.mark.cuda
@pytest.mark.parametrize(("size", "mu_blend"), [(300, 0.0), (1000, 0.0), (1000, 0.5)])
def test_the_estimate_of_memory_is_near(size, mu_blend):
    wanted = problem((size, size), device="cuda", steps=12, mu_blend=mu_blend)
    gc.collect()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    for _ in Run(wanted):
        pass
    used = (torch.cuda.max_memory_allocated() - before) / 1e6
    assert used < 1.3 * gpu.estimate(wanted) + 5 and gpu.estimate(wanted) < 4 * used + 20


@needs_cuda
@pytest.mark.cuda
def test_after_a_failure_of_the_gpu_the_cpu_goes_on():
    """In a process of its own: nothing can use the GPU after an error that stays."""
    script = """
import sys
sys.path.insert(0, "tests/engine")
from test_cuda import Run, problem, torch
run = Run(problem(device="cuda", steps=200))
for progress in run:
    if progress.step >= 20 and run._device.type == "cuda":
        torch.tensor([1.0], device="cuda")[torch.tensor([9], device="cuda")]  # out of bounds: an assertion on the GPU
result = run.result()
assert progress.step == 200 and any("On the processor instead" in note for note in result.notes), result.notes
print("went on", result.notes)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "went on" in done.stdout, done.stdout + done.stderr


@needs_cuda
@pytest.mark.cuda
def test_runs_leave_no_memory_behind():
    def job(seed):
        run = Run(problem((40 + 8 * seed, 90), device="cuda", instances=10 * seed, steps=12, seed=seed))
        for _ in run:
            pass
        run.result()

    job(9)
    gc.collect()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for seed in range(1, 10):
        job(seed)
    gc.collect()
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() == before
