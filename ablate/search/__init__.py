"""Search: space, samplers, pruning, importances. The only package that imports optuna."""
