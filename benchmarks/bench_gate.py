"""How often the gate promotes whom, and what it costs.

python benchmarks/bench_gate.py [--draws N] [--seed N]

Whom: two real models, gradient boosting and ridge regression, are fitted on one half of the housing table
and predict the other half, the pool. The residuals of the first are production's. A challenger's are a
mixture of both, (1 - t) a + t b, with t such that its squared errors correlate over the pool with those of
production as wanted, rescaled so that its RMSE over the pool is exactly production's, or exactly 2 % below.
The pool is then the population, where the truth is known; each draw takes 4,128 rows of it with replacement,
as many as the example tests on, and asks the gate as `promote` does. So the errors keep the shape that real
ones have: heavy tails, the cap at 500,001, hard rows that are hard for both.

Cost: 100,000 rows and 10,000 resamples in a process of its own. Beyond that the gate approximates; the last
lines hold the width of its intervals against that without the approximation.
"""

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import modelbook
from harness import Row, environment, show
from modelbook.config import MetricName, PromotionConfig
from modelbook.evaluation import resampling
from modelbook.evaluation.challenge import challenge
from modelbook.evaluation.difference import LEVEL, RESAMPLES
from modelbook.evaluation.weighted import SumMeasure
from modelbook.records import GateCheck

Floats = NDArray[np.float64]

TABLE = Path(modelbook.__file__).parent / "scaffold" / "examples" / "housing.parquet"
TARGET = "median_house_value"
TEST_ROWS = 4_128
DRAWS = 1_000
BETTER = 0.02
CLAIMED = 0.97
CORRELATIONS = (0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99)
ASKED = 3
ROWS = 100_000
MOST_S = 5
MOST_MB = 1_024
SEED = 20_261_122


def main() -> None:
    """Measure, print the tables and say by the exit code whether the limits are kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--time", choices=("rmse", "log_loss", "accuracy", "roc_auc"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.time:
        print(*timed(given.time, ROWS, given.seed))
        return
    print(f"seed {given.seed}, {given.draws} draws\n")
    rows = promoted(given.draws, given.seed)
    sys.exit(not show([*rows, *costs(given.seed), *errors_of_approximation(given.seed)]))


def promoted(draws: int, seed: int) -> list[Row]:
    """Print the table of power, and return the shares that have limits."""
    actual, production, other = residuals(seed)
    print("| correlation | promoted if 2 % better | promoted if equal |\n| --- | --- | --- |")
    shares: dict[float, list[float]] = {}
    for correlation in CORRELATIONS:
        shares[correlation] = [
            share_promoted(actual, production, made, draws=draws, seed=seed)
            for made in (
                challenger(production, other, correlation=correlation, better=better)
                for better in (BETTER, 0.0)
            )
        ]
        better, equal = shares[correlation]
        print(f"| {correlation} | {100 * better:.1f} % | {100 * equal:.1f} % |", flush=True)
    print()
    missed = 100 - 100 * min(better for key, (better, _) in shares.items() if key >= CLAIMED)
    equal = 100 * max(equal for _, equal in shares.values())
    return [
        Row("equal challengers promoted, at most", equal, "%", 5, beside=f"{draws} draws each"),
        Row("2 % better and not promoted, at most", missed, "%", 10, beside=f"from correlation {CLAIMED} on"),
    ]


def residuals(seed: int) -> tuple[Floats, Floats, Floats]:
    """Return the pool's actual values, and the residuals of gradient boosting and of ridge regression."""
    table = pd.read_parquet(TABLE).sample(frac=1, random_state=seed).dropna()
    half = len(table) // 2
    X, y = table.drop(columns=TARGET).select_dtypes("number"), table[TARGET].to_numpy()
    models = (
        HistGradientBoostingRegressor(random_state=0),
        make_pipeline(StandardScaler(), RidgeCV()),
    )
    fitted = [model.fit(X.iloc[:half], y[:half]) for model in models]
    first, second = (model.predict(X.iloc[half:]) - y[half:] for model in fitted)
    return y[half:], first, second


def challenger(production: Floats, other: Floats, *, correlation: float, better: float) -> Floats:
    """Return residuals of a known RMSE whose squares correlate with those of production as wanted.

    Raises:
        SystemExit: The other model is too much like production for that.
    """
    least, most = 0.0, 1.0
    if correlation_of(production, other) > correlation:
        sys.exit(f"the two models' squared errors correlate above {correlation}")
    for _ in range(50):
        share = (least + most) / 2
        mixed = (1 - share) * production + share * other
        least, most = (share, most) if correlation_of(production, mixed) > correlation else (least, share)
    return mixed * (1 - better) * np.sqrt((production**2).mean() / (mixed**2).mean())


def correlation_of(first: Floats, second: Floats) -> float:
    """Return the correlation of the squares."""
    return float(np.corrcoef(first**2, second**2)[0, 1])


def share_promoted(actual: Floats, production: Floats, made: Floats, *, draws: int, seed: int) -> float:
    """Return the share of draws of test rows by which the gate promotes the challenger.

    The gate's own draws of weights are the same for every test table, for its seed is fixed. So they are made
    once, and all tables are measured on them; some go through the gate itself, which has to say the same.

    Raises:
        SystemExit: The gate says something else.
    """
    rows = np.random.default_rng(seed).integers(0, len(actual), (draws, TEST_ROWS))
    squares = np.column_stack([*(production[rows] ** 2), *(made[rows] ** 2), np.ones(TEST_ROWS)])
    rmses = SumMeasure(squares, lambda sums: np.sqrt(sums[:, :-1] / sums[:, -1:]))
    drawn = resampling.resample(TEST_ROWS, [rmses], resamples=RESAMPLES, seed=0, threads=2)
    ends = resampling.percentiles(drawn[:, draws:] - drawn[:, :draws], LEVEL)
    for (_, upper), chosen in zip(ends[:ASKED], rows, strict=False):
        check = asked_itself(actual[chosen], production[chosen], made[chosen])
        if not np.isclose(check.upper, upper) or check.passed != (upper < 0):
            sys.exit(f"the gate says {check}, and not {upper}")
    return float(np.mean([upper < 0 for _, upper in ends]))


def asked_itself(actual: Floats, production: Floats, made: Floats) -> GateCheck:
    """Return what the gate says of one table."""
    first, second = (
        pd.DataFrame({"actual": actual, "predicted": actual + errors}) for errors in (production, made)
    )
    return challenge(first, second, PromotionConfig(), task="regression", threads=2)


def costs(seed: int) -> list[Row]:
    """Return the seconds and the memory that the gate takes for many rows, by metric."""
    found = []
    for metric in ("rmse", "log_loss", "accuracy", "roc_auc"):
        words = [sys.executable, __file__, "--time", metric, "--seed", str(seed)]
        done = subprocess.run(words, env=environment(), stdout=subprocess.PIPE, check=True, text=True)
        seconds, processor_s, peak_mb = map(float, done.stdout.split())
        beside = f"10,000 resamples; {processor_s:.1f} s of processor time"
        found += [
            Row(f"{metric}, {ROWS:,} rows", seconds, "s", MOST_S, beside=beside),
            Row(f"{metric}, peak of the process", peak_mb, "MB", MOST_MB),
        ]
    return found


def timed(metric: MetricName, rows: int, seed: int) -> tuple[float, float, float]:
    """Return the seconds of one challenge by the clock and of the processor, and the peak in MB."""
    ask = asked(metric, rows, seed)
    start, started = time.perf_counter(), time.process_time()
    ask()
    return time.perf_counter() - start, time.process_time() - started, peak_mb()


def peak_mb() -> float:
    """Return the most memory that this process held; `getrusage` would count what its parent held, too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return float(re.findall(r"VmHWM:\s*(\d+) kB", status)[0]) / 1024


def asked(metric: MetricName, rows: int, seed: int) -> Callable[[], GateCheck]:
    """Return a challenge over simulated rows that is ready to be asked."""
    random = np.random.default_rng(seed)
    hidden = random.normal(size=rows)
    if metric == "rmse":
        first, second = (
            pd.DataFrame({"actual": hidden, "predicted": hidden + random.normal(size=rows)}) for _ in range(2)
        )
        return partial(challenge, first, second, PromotionConfig(), task="regression", threads=2)
    actual = hidden + random.normal(size=rows) > 0
    first, second = (labelled(actual, hidden + 0.3 * random.normal(size=rows)) for _ in range(2))
    return partial(
        challenge,
        first,
        second,
        PromotionConfig(metric=metric),
        task="classification",
        classes=(False, True),
        threads=2,
    )


def labelled(actual: Floats, score: Floats) -> pd.DataFrame:
    """Return predictions of two classes from a score."""
    share = 1 / (1 + np.exp(-1.5 * score))
    return pd.DataFrame(
        {
            "actual": actual,
            "predicted": share > 0.5,
            "probability_False": 1 - share,
            "probability_True": share,
        }
    )


def errors_of_approximation(seed: int) -> list[Row]:
    """Return how much wider or narrower the intervals of both approximations are than without them."""
    return [
        Row(
            "roc_auc to first order, 20,000 rows",
            width_off("roc_auc", 20_000, seed=seed, limit="_EXACT_AREA_ROWS"),
            "% of width",
            beside="used beyond 10,000 rows",
        ),
        Row(
            "blocks of rows, rmse, 200,000 rows",
            width_off("rmse", 200_000, seed=seed, limit="_MOST_UNITS"),
            "% of width",
            beside="used beyond 100,000 rows",
        ),
    ]


def width_off(metric: MetricName, rows: int, *, seed: int, limit: str) -> float:
    """Return by how many percent the approximation changes the width of an interval."""
    ask = asked(metric, rows, seed)
    approximate, usual = ask(), getattr(resampling, limit)
    setattr(resampling, limit, rows)
    exact = ask()
    setattr(resampling, limit, usual)
    return 100 * abs(width(approximate) / width(exact) - 1)


def width(check: GateCheck) -> float:
    """Return the width of a check's interval."""
    return (check.upper or 0.0) - (check.lower or 0.0)


if __name__ == "__main__":
    main()
