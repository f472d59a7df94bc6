"""The work alone: read the housing table, split, fit four forests and score each. Nothing is on the record.

    python benchmarks/bare_forests.py TABLE

Prints the RMSE and the seconds of each forest as JSON.
"""

import json
import sys
import time
from pathlib import Path

import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import train_test_split

TREES = (100, 150, 200, 300)

source = Path(sys.argv[1])
table = pd.read_csv(source) if source.suffix == ".csv" else pd.read_parquet(source)
X, y = pd.get_dummies(table.drop(columns="median_house_value")), table["median_house_value"]
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=42)
forests = []
for trees in TREES:
    start = time.perf_counter()
    model = RandomForestRegressor(n_estimators=trees, n_jobs=2, random_state=42)
    model.fit(X_train, y_train)
    fitted = time.perf_counter()
    rmse = root_mean_squared_error(y_test, model.predict(X_test))
    forests.append({"trees": trees, "rmse": rmse, "fit_s": fitted - start})
print(json.dumps(forests))
