"""The rank stage of a study."""
