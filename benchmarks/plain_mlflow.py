"""The same work with MLflow put in by hand, as its documentation shows: params, metrics, plots, the model.

    python benchmarks/plain_mlflow.py TABLE FOLDER

Prints its metrics and the seconds of each part as JSON.
"""

import time

clock = [time.perf_counter()]

import json  # noqa: E402 (the time that imports take is part of the figure)
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import matplotlib as mpl  # noqa: E402

mpl.use("agg")

import matplotlib.pyplot as plt  # noqa: E402
import mlflow  # noqa: E402
import mlflow.sklearn  # noqa: E402
import pandas as pd  # noqa: E402
from sklearn.ensemble import RandomForestRegressor  # noqa: E402
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error  # noqa: E402
from sklearn.model_selection import train_test_split  # noqa: E402

clock.append(time.perf_counter())

source, folder = Path(sys.argv[1]), Path(sys.argv[2]).resolve()
mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
if mlflow.get_experiment_by_name("housing") is None:
    mlflow.create_experiment("housing", artifact_location=(folder / "mlruns").as_uri())
mlflow.set_experiment("housing")
clock.append(time.perf_counter())

table = pd.read_csv(source) if source.suffix == ".csv" else pd.read_parquet(source)
X, y = pd.get_dummies(table.drop(columns="median_house_value")), table["median_house_value"]
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=42)
clock.append(time.perf_counter())

settings = {"n_estimators": 300, "max_depth": 20, "n_jobs": 2, "random_state": 42}
with mlflow.start_run():
    model = RandomForestRegressor(**settings)
    model.fit(X_train, y_train)
    clock.append(time.perf_counter())

    predicted = model.predict(X_test)
    metrics = {
        "rmse": root_mean_squared_error(y_test, predicted),
        "mae": mean_absolute_error(y_test, predicted),
        "r2_score": r2_score(y_test, predicted),
    }
    mlflow.log_params(settings)
    mlflow.log_metrics(metrics)
    clock.append(time.perf_counter())

    residuals = y_test - predicted
    importances = pd.Series(model.feature_importances_, index=X.columns).sort_values()
    drawings = {
        "feature_importance": lambda axes: axes.barh(importances.index, importances),
        "predicted_vs_actual": lambda axes: axes.scatter(y_test, predicted, s=4),
        "residuals": lambda axes: axes.scatter(predicted, residuals, s=4),
        "residuals_histogram": lambda axes: axes.hist(residuals, bins=50),
        "target_histogram": lambda axes: axes.hist(y_test, bins=50),
        "largest_errors": lambda axes: axes.plot(residuals.abs().sort_values().to_numpy()),
    }
    for name, draw in drawings.items():
        figure, axes = plt.subplots()
        draw(axes)
        figure.savefig(folder / f"{name}.png")
        plt.close(figure)
        mlflow.log_artifact(str(folder / f"{name}.png"))
    clock.append(time.perf_counter())

    mlflow.sklearn.log_model(
        model, name="model", serialization_format="cloudpickle", input_example=X_train.head()
    )
clock.append(time.perf_counter())

parts = ("import", "open store", "read", "fit", "evaluate", "plots", "log model")
seconds = {part: round(end - start, 3) for part, start, end in zip(parts, clock, clock[1:], strict=False)}
print(json.dumps({"metrics": metrics, "seconds": seconds}))
