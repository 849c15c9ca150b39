"""How K lanes are computed: lowering rules keyed by layer type."""
