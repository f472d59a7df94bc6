"""The synthetic table of the classification example: machines, some of which failed within a week."""

import numpy as np
import polars as pl

_ROWS = 1_000
_SEED = 42
_FAILED_SHARE = 0.4
_MISSING_SHARE = 0.03
# mean of the machines that kept running, standard deviation, standard deviations that failing ones lie above
_READINGS: dict[str, tuple[float, float, float]] = {
    "temperature_c": (62.0, 6.0, 3.0),
    "vibration_mm_s": (3.2, 0.7, 2.8),
    "pressure_bar": (8.4, 0.9, -2.8),
    "current_a": (14.0, 1.8, 2.7),
    "hours_since_service": (900.0, 180.0, 2.7),
}
_DIGITS = 2


def draw_machines(rows: int = _ROWS, *, seed: int = _SEED) -> pl.DataFrame:
    """Return a made-up table of `rows` machines with seven features and the target `failed` (0 or 1).

    The readings of failing machines are shifted, each by three standard deviations at most: no column
    tells the classes apart alone, all of them together do. Some readings and some sites are missing.

    Example:
        >>> draw_machines(3).columns[-2:]
        ['site', 'failed']
    """
    random = np.random.default_rng(seed)
    failed = random.random(rows) < _FAILED_SHARE
    columns = {
        name: np.round(random.normal(mean + shift * spread * failed, spread), _DIGITS)
        for name, (mean, spread, shift) in _READINGS.items()
    }
    older = random.random(rows) < np.where(failed, 0.7, 0.3)
    table = pl.DataFrame(columns).with_columns(
        pl.Series("machine_type", np.where(older, "press", random.choice(["lathe", "mill"], rows))),
        pl.Series("site", random.choice(["Aachen", "Brno", "Malmö", "Porto"], rows)),
    )
    gaps = [
        pl.when(pl.Series(random.random(rows) >= _MISSING_SHARE)).then(pl.col(name)).alias(name)
        for name in ("vibration_mm_s", "current_a", "site")
    ]
    return table.with_columns(*gaps, pl.Series("failed", failed.astype(np.int64)))
