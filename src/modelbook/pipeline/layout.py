"""Where a project's files are, as paths in the project."""

PIPELINE = "dvc.yaml"
LOCK = "dvc.lock"
PACKAGES = "config/packages.yaml"

INGESTED = "data/interim/ingested.parquet"
VALIDATED = "data/interim/validated.parquet"
REJECTED = "data/processed/rejected.parquet"
VALIDATION = "data/processed/validation.json"
TRAIN = "data/processed/train.parquet"
TEST = "data/processed/test.parquet"

MODELS = "models"
FEATURE_ENGINEER = "models/feature_engineer.skops"
METADATA = "models/metadata.json"
METRICS = "models/metrics.json"
PREDICTIONS = "models/test_predictions.parquet"

PLOTS = "reports/plots"
FEATURE_REPORT = "reports/plots/feature_report.csv"
REPORT = "reports/report.html"

LOGS = "logs"
EVALUATION = "logs/evaluation_report.json"
RUNS = "logs/runs"
