"""The claims suite: claims of the literature as paired experiments."""
