"""Every trick, one file each, in a folder per seam. `registry.registry()` finds them."""
