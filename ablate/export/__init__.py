"""Exports: the winner as a script of plain PyTorch, the ablation as text and tables, runs for other trackers."""
