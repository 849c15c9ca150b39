"""The argument types of ports: settings, batches, random draws, lane tensors."""
