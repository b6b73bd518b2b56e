"""Which instances go first, and what that costs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from krita_diffbmp.engine import losses, thin
from krita_diffbmp.engine.run import Run
from krita_diffbmp.engine.thin import cheapest, psnr_without
from krita_diffbmp.problem import Bitmap, DiffBmpError, Freeze, Placements, Problem, Settings, Start

WIDTH, HEIGHT, COUNT = 96, 72, 120
SETTINGS = Settings(instances=COUNT, steps=120, min_size=0.06, max_size=0.35, device="cpu")


def picture():
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    waves = [0.5 + 0.4 * np.sin(x * (0.1 + 0.05 * c) + y * 0.13 + c) for c in range(3)]
    return np.stack([*waves, np.ones_like(waves[0])], 2).astype(np.float32)


def dab(side=20):
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side - 0.5
    return np.stack([*[np.ones_like(x)] * 3, np.clip(2 - 4 * np.hypot(x, y), 0, 1)], 2).astype(np.float32)


@pytest.fixture(scope="module")
def trained():
    """A problem that starts with what a first run has found."""
    task = Problem(picture(), (Bitmap("dab", dab()),), SETTINGS)
    run = Run(task)
    for _ in run:
        pass
    return replace(task, start=Start(run.result().placements, np.zeros(COUNT, np.uint8)))


def with_frozen(problem, frozen):
    return replace(problem, start=replace(problem.start, frozen=frozen))


def taken(placed, which):
    there = {name: values for name, values in vars(placed).items() if values is not None}
    return replace(placed, **{name: values[which] for name, values in there.items()})


@pytest.mark.parametrize("share", [0.05, 0.1, 0.25, 0.5])
def test_it_costs_less_than_chance_and_than_the_faintest_first(trained, share):
    count = int(COUNT * share)
    found = cheapest(trained, count)
    assert len(set(found.order.tolist())) == count and len(found.psnr_after) == count + 1
    ours = psnr_without(trained, found.order)
    assert ours == pytest.approx(found.psnr_after[-1], abs=1e-3)
    faintest = np.argsort(trained.start.placements.opacity).astype(np.int32)
    assert ours > psnr_without(trained, faintest[:count])
    random = [np.random.default_rng(seed).permutation(COUNT).astype(np.int32) for seed in range(5)]
    assert ours > max(psnr_without(trained, order[:count]) for order in random)


def test_the_psnr_is_that_of_a_refinement_of_what_is_left(trained):
    found = cheapest(trained, 30)
    start = Run(trained).result()
    assert found.psnr_after[0] == pytest.approx(start.start_psnr, abs=1e-2)
    rest = np.setdiff1d(np.arange(COUNT), found.order)
    fewer = replace(trained, start=Start(taken(trained.start.placements, rest), np.zeros(len(rest), np.uint8)))
    assert Run(fewer).result().start_psnr == pytest.approx(found.psnr_after[30], abs=1e-2)


def test_cancelled_it_ends_between_two_rounds(trained):
    answers = iter([False, False, True])
    found = cheapest(trained, 40, lambda: next(answers))
    assert 0 < len(found.order) < 20 and len(found.psnr_after) == len(found.order) + 1
    assert len(cheapest(trained, 40, lambda: True).order) == 0


def test_the_whole_order_ends_with_an_empty_canvas(trained):
    found = cheapest(trained)
    assert sorted(found.order.tolist()) == list(range(COUNT))
    empty = float(((picture()[..., :3] - 1) ** 2).mean())
    assert found.psnr_after[-1] == pytest.approx(losses.psnr(empty), abs=1e-3)
    assert (np.diff(found.psnr_after[:: COUNT // 4]) < 0).all()


def test_what_a_single_one_costs_is_exact(trained):
    canvas = thin._Canvas(trained, 1024)
    generator = torch.Generator().manual_seed(0)
    change, square = canvas.terms(torch.arange(COUNT), 400, generator)

    def error(removed):
        return 10 ** (-psnr_without(trained, np.array(removed, np.int32)) / 10)

    whole = error([])
    exact = torch.tensor([error([i]) - whole for i in range(COUNT)])
    torch.testing.assert_close(change + square, exact.float(), rtol=0.2, atol=float(exact.max()) * 0.02)


def test_what_is_locked_stays_and_what_is_selected_counts(trained):
    frozen = np.zeros(COUNT, np.uint8)
    frozen[::2] = Freeze.ALL
    frozen[1::4] = Freeze.COLOR
    found = cheapest(with_frozen(trained, frozen))
    assert sorted(found.order.tolist()) == list(range(1, COUNT, 2))
    weight = np.zeros((HEIGHT, WIDTH), np.float32)
    weight[:, : WIDTH // 2] = 1
    placed = trained.start.placements
    selected = cheapest(replace(trained, weight=weight))
    assert 0 < len(selected.order) < COUNT
    assert (placed.position[selected.order, 0] - placed.scale[selected.order] * 15 < WIDTH / 2 + 2).all()


def test_hidden_ones_go_first(trained):
    placed = trained.start.placements
    outside = replace(placed, position=placed.position.copy())
    outside.position[17] = (-500, -500)
    problem = replace(trained, start=replace(trained.start, placements=outside))
    found = cheapest(problem, 12)
    assert 17 in found.order
    assert psnr_without(problem, np.array([17], np.int32)) == pytest.approx(found.psnr_after[0], abs=1e-4)


def test_of_two_that_lie_over_each_other_one_goes_first():
    """Either is dispensable as long as the other is there."""
    x, y = np.meshgrid(np.arange(12, WIDTH, 24), np.arange(12, HEIGHT, 24))
    places = np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)
    pairs = len(places)
    twins = Placements(
        position=np.concatenate([places, places]),
        rotation=np.zeros(2 * pairs, np.float32),
        scale=np.ones(2 * pairs, np.float32),
        opacity=np.full(2 * pairs, 0.9998, np.float32),
        color=np.full((2 * pairs, 3), 0.3, np.float32),
        bitmap=np.zeros(2 * pairs, np.int32),
    )
    target = np.full((HEIGHT, WIDTH, 4), 0.3, np.float32)
    target[..., 3] = 1
    hard = np.ones((20, 20, 4), np.float32)
    problem = Problem(target, (Bitmap("square", hard),), SETTINGS, Start(twins, np.zeros(2 * pairs, np.uint8)))
    gone = cheapest(problem, pairs)
    assert sorted((gone.order % pairs).tolist()) == list(range(pairs))
    assert gone.psnr_after[-1] == pytest.approx(gone.psnr_after[0], abs=0.01)


def test_nothing_to_thin_out_gets_a_sentence(trained):
    with pytest.raises(DiffBmpError, match="no instances"):
        cheapest(replace(trained, start=None))
    with pytest.raises(DiffBmpError, match="no instances"):
        cheapest(replace(trained, start=Start(taken(trained.start.placements, slice(0)), np.zeros(0, np.uint8))))
    with pytest.raises(DiffBmpError, match="locked"):
        cheapest(with_frozen(trained, np.full(COUNT, Freeze.ALL, np.uint8)))


def test_the_order_is_the_same_every_time(trained):
    first, again = cheapest(trained, 40), cheapest(trained, 40)
    np.testing.assert_array_equal(first.order, again.order)
