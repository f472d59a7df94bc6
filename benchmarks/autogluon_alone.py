"""Fit AutoGluon on training rows and score it on test rows, in an environment of its own.

    python -m venv autogluon
    autogluon/bin/pip install "autogluon.tabular[lightgbm,catboost,xgboost]==1.6.3"
    autogluon/bin/python benchmarks/autogluon_alone.py TRAIN TEST TARGET SECONDS

Prints its RMSE, that of its best single model, and its seconds as JSON.
"""

import json
import sys
import tempfile
import time

from autogluon.tabular import TabularDataset, TabularPredictor


def main() -> None:
    """Fit, score and print."""
    train, test = (TabularDataset(path) for path in sys.argv[1:3])
    target, seconds = sys.argv[3], int(sys.argv[4])
    with tempfile.TemporaryDirectory() as folder:
        predictor = TabularPredictor(label=target, path=folder, eval_metric="root_mean_squared_error")
        start = time.perf_counter()
        predictor.fit(train, presets="best_quality", time_limit=seconds)
        taken = time.perf_counter() - start
        board = predictor.leaderboard(test)
        rmse = -predictor.evaluate(test)["root_mean_squared_error"]
    singles = board[~board["model"].str.contains("Ensemble")]
    print(json.dumps({"rmse": rmse, "best_single": float(-singles["score_test"].max()), "seconds": taken}))


if __name__ == "__main__":
    main()
