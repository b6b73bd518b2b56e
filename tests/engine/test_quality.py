"""The benchmark of quality: its measures are what they are called, and it repeats itself."""

import numpy as np
import pytest
import torch

from benchmarks import quality
from benchmarks.charts import save_curves, save_side_by_side
from benchmarks.scenes import all_cases, photo, straight
from krita_diffbmp.engine import schedule
from krita_diffbmp.engine.optimize import Optimization


def small(**settings):
    case = all_cases()["photo-dots"]
    problem = case.problem(**{"instances": 40, "steps": 20, "working_size": 128, "device": "cpu", **settings})
    return problem


def test_every_case_is_a_problem():
    cases = all_cases()
    assert len(cases) >= 15
    for case in cases.values():
        problem = case.problem()
        assert problem.target.ndim == 3 and problem.target.shape[2] == 4 and np.isfinite(problem.target).all()
        assert all(bitmap.pixels[..., 3].max() > 0.5 for bitmap in problem.bitmaps)


def test_a_seed_gives_the_same_figures():
    first, again, other = (quality.run(small(seed=seed)) for seed in (1, 1, 2))
    assert (first.psnr, first.ssim, first.uncovered) == (again.psnr, again.ssim, again.uncovered)
    assert first.psnr != other.psnr and 0 < first.ssim < 1 and 0 < first.uncovered < 1
    assert [step for step, _ in first.curve][-1] == 20


def test_what_is_written_has_eight_bits():
    problem = small(alpha_max=0.7)
    run = Optimization(problem)
    for _ in run:
        pass
    scene = quality.written(problem, run.result().placements)
    opacity = 0.7 * torch.sigmoid(scene.instances.opacity.double())
    for values in (opacity, scene.instances.color):
        assert (values * 255 - (values * 255).round()).abs().max() < 1e-3


def test_likeness_is_one_for_the_same_and_that_of_scikit_image():
    picture = torch.from_numpy(straight(photo().resize((90, 60)))).permute(2, 0, 1)[:3]
    noisy = (picture + 0.1 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    assert quality.ssim(picture, picture) == pytest.approx(1, abs=1e-5)
    metrics = pytest.importorskip("skimage.metrics")
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected = metrics.structural_similarity(picture.numpy(), noisy.numpy(), channel_axis=0, **options)
    assert quality.ssim(picture, noisy) == pytest.approx(expected, abs=2e-3)


def test_an_ablation_leaves_the_engine_as_it_was():
    before = schedule.BLUR_STAGES, schedule.RECYCLED
    for changes in quality.ABLATION.values():
        with quality.changed(changes):
            quality.run(small(steps=4))
    assert before == (schedule.BLUR_STAGES, schedule.RECYCLED)


def test_pictures_are_saved(tmp_path):
    outcome = quality.run(small(steps=3))
    quality.save_pictures(tmp_path, "one", outcome)
    save_side_by_side(tmp_path / "two.png", [("a", outcome.target), ("b", outcome.picture)])
    save_curves(tmp_path / "curves.png", {"x": [(100, 20.0), (1000, 25.0)], "y": [(100, 21.0)]}, "N", "dB", True)
    assert {path.name for path in tmp_path.iterdir()} == {"one.png", "two.png", "curves.png"}
