"""The only importer of optuna: recipe space and suggestions, samplers, pruning, importances."""
