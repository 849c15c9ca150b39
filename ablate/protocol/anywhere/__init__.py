"""`ablate.lr_find`: a learning rate for any module, loader and torch optimizer, without a task."""
