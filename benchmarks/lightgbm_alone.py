"""Print the seconds that LightGBM itself takes to predict on rows that are features already.

python benchmarks/lightgbm_alone.py MODEL TABLE ROWS, in the project's folder
"""

import sys
import time

import pandas as pd

from modelbook import load_model
from modelbook.models.estimators import usable_cores


def main() -> None:
    """Predict on the features of a table, over and over, until there are enough rows."""
    model = load_model(sys.argv[1])
    features = model[:-1].transform(pd.read_parquet(sys.argv[2]))
    rows = int(sys.argv[3])
    start = time.perf_counter()
    for first in range(0, rows, len(features)):
        model[-1].booster_.predict(features[: rows - first], num_threads=usable_cores())
    print(time.perf_counter() - start)


if __name__ == "__main__":
    main()
