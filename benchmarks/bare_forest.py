"""The work alone: read the housing table, split, fit the forest, evaluate, dump. Nothing is on the record.

    python benchmarks/bare_forest.py TABLE FOLDER

Prints its metrics and the seconds of each part as JSON.
"""

import time

clock = [time.perf_counter()]

import json  # noqa: E402 (the time that imports take is part of the figure)
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import joblib  # noqa: E402
import pandas as pd  # noqa: E402
from sklearn.ensemble import RandomForestRegressor  # noqa: E402
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error  # noqa: E402
from sklearn.model_selection import train_test_split  # noqa: E402

clock.append(time.perf_counter())

source, folder = Path(sys.argv[1]), Path(sys.argv[2])
table = pd.read_csv(source) if source.suffix == ".csv" else pd.read_parquet(source)
X, y = pd.get_dummies(table.drop(columns="median_house_value")), table["median_house_value"]
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=42)
clock.append(time.perf_counter())

model = RandomForestRegressor(n_estimators=300, max_depth=20, n_jobs=2, random_state=42)
model.fit(X_train, y_train)
clock.append(time.perf_counter())

predicted = model.predict(X_test)
metrics = {
    "rmse": root_mean_squared_error(y_test, predicted),
    "mae": mean_absolute_error(y_test, predicted),
    "r2_score": r2_score(y_test, predicted),
}
clock.append(time.perf_counter())

joblib.dump(model, folder / "model.joblib")
clock.append(time.perf_counter())

parts = ("import", "read", "fit", "evaluate", "dump")
seconds = {part: round(end - start, 3) for part, start, end in zip(parts, clock, clock[1:], strict=False)}
print(json.dumps({"metrics": metrics, "seconds": seconds}))
