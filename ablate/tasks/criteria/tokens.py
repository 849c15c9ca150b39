"""A class for every token: y int64 `[N, T]`, logits `[B, T, V]`. Token classification, and language modelling."""

from __future__ import annotations

from ablate.tasks.criteria.dense import Dense, macro_f1, perplexity

FORM = "0 … V-1 for every token, [N, T], with -100 at tokens that do not count (padding)"
of_classes = Dense(class_axis=-1, dims=1, form=FORM, per_class=True, also={"f1": macro_f1})
of_language = Dense(class_axis=-1, dims=1, form=FORM, per_class=False, also={"perplexity": perplexity})
