"""How features are scaled before a penalty falls on their weights."""

import numpy as np
import pytest

from headstart.heads._scaling import PSEUDO, SCALINGS, scales, standardised


def features(count: int, *deviations: float, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.normal(size=(count, len(deviations))) * deviations + 7).astype(np.float32)


def test_of_many_pictures_each_feature_gets_its_own_deviation():
    X = features(20_000, 0.5, 1.5, 4.0)
    np.testing.assert_allclose(standardised(X).std(axis=0), [1, 1, 1], rtol=0.02)
    own = 20_000 / (20_000 + PSEUDO)
    pooled = (X.std(axis=0, dtype=np.float64) ** 2).mean()
    wanted = np.sqrt(own * X.std(axis=0, dtype=np.float64) ** 2 + (1 - own) * pooled)
    np.testing.assert_allclose(scales(X)[1], wanted, rtol=1e-4)
    np.testing.assert_allclose(standardised(X).mean(axis=0), 0, atol=1e-3)


def test_of_few_pictures_the_deviations_of_an_output_are_drawn_together_and_not_those_of_another():
    """Four pictures cannot tell a deviation of 1 from one of 3, so most is what all features of the output say."""
    X = features(4, *[1.0] * 200, *[100.0] * 200)
    _, divisor = scales(X, (200, 200))
    raw = X.std(axis=0)
    for part in (slice(0, 200), slice(200, 400)):
        assert divisor[part].std() / divisor[part].mean() < 0.3 * raw[part].std() / raw[part].mean()
        assert divisor[part].mean() == pytest.approx(np.sqrt((raw[part] ** 2).mean()), rel=0.05)
    together = scales(X)[1]
    assert together[:200].mean() > 20 * divisor[:200].mean(), "as one output the small ones are held for noise"


@pytest.mark.parametrize("count", [6, 5000])
def test_scaled_by_layers_every_output_has_the_same_total_variance(count):
    X = np.c_[features(count, *[3.0] * 4), features(count, *[0.1] * 60, seed=1), features(count, *[9.0] * 16, seed=2)]
    parts = (slice(0, 4), slice(4, 64), slice(64, 80))
    by_layers, by_features = (
        [standardised(X, (4, 60, 16), scaling)[:, part].var(axis=0).sum() for part in parts]
        for scaling in ("layers", "features")
    )
    assert max(by_layers) / min(by_layers) < 1.15
    assert sum(by_layers) == pytest.approx(80, rel=0.2), "as much in all as without"
    assert by_features[1] / by_features[0] == pytest.approx(60 / 4, rel=0.2), "otherwise the widest has most to say"


def test_one_output_is_scaled_the_same_either_way():
    X = features(50, 1.0, 2.0, 3.0)
    for given in ((), (3,)):
        np.testing.assert_allclose(standardised(X, given, "layers"), standardised(X), rtol=1e-6)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_constant_features_are_nought_and_stay_small_on_new_pictures(scaling, kind):
    X = np.c_[features(40, 2.0, 0.5), np.full(40, 1000.0), np.zeros(40)].astype(kind)
    out = standardised(X, (3, 1), scaling)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out[:, 2:], 0, atol=1e-3)
    assert np.isfinite(out).all()
    mean, divisor = scales(X, (3, 1), scaling)
    assert abs((1001 - mean[2]) / divisor[2]) < 2, (
        "a feature that moves for the first time does not overwhelm the others"
    )
    every = standardised(np.ones((5, 3), kind), (2, 1), scaling)
    np.testing.assert_array_equal(every, 0)


def test_constant_features_do_not_change_the_scale_of_the_others():
    X = features(40, 2.0, 0.5, 1.5)
    padded = np.c_[X, np.full((40, 5), 3.0, np.float32)]
    for scaling in SCALINGS:
        np.testing.assert_allclose(
            standardised(padded, (8,), scaling)[:, :3] / standardised(X, (3,), scaling),
            np.full((40, 3), 1.0 if scaling == "features" else (8 / 3) ** 0.5), rtol=1e-3,
        )  # fmt: skip


def test_one_picture_is_no_trouble():
    assert np.isfinite(standardised(features(1, 1.0, 2.0))).all()


def test_half_precision_is_not_lost():
    X = features(3000, 30.0, 0.3).astype(np.float16)
    np.testing.assert_array_equal(standardised(X), standardised(X.astype(np.float32)))
