import pytest

from krita_diffbmp.engine import schedule


def test_the_blur_only_shrinks_and_ends_sharp():
    sigmas = [schedule.blur(step / 1000) for step in range(1000)]
    assert sigmas == sorted(sigmas, reverse=True)
    assert sigmas[0] > 0 and sigmas[-1] == 0 and len(set(sigmas)) <= 4


def test_the_rate_only_falls():
    rates = [schedule.rate(step / 100) for step in range(100)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 1 and 0 < rates[-1] < 0.05


@pytest.mark.parametrize("total", [1, 2, 7, 20, 100, 333])
def test_recycling_ends_in_time_for_the_last_to_settle(total):
    fractions = [schedule.recycled(step, total) for step in range(1, total + 1)]
    assert all(0 <= fraction <= schedule.RECYCLED for fraction in fractions)
    assert not any(fractions[int(schedule.RECYCLING_END * total) + 1 :])
    assert fractions[-1] == 0
