"""`python -m modelbook`, as dvc.yaml calls it."""

from modelbook.cli.main import main

main()
