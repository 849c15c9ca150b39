"""What the runs of a ledger show: the declared designs matched to the runs."""
