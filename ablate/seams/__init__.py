"""What a trick is handed at its seam: settings, batches, draws, lane tensors. The contract's nouns."""
