"""Roles that stand in a trick's own record."""

from __future__ import annotations

from dataclasses import replace

from ablate.catalogue.registry import registry
from ablate.records.recipe import Recipe
from ablate.records.study_rank import RankSection
from ablate.study.ranking.factors import array


def test_a_record_may_name_the_trick_without_which_it_does_nothing():
    catalogue = dict(registry())
    catalogue["dropout"] = replace(catalogue["dropout"], roles=("conditional(skip_connection)",))
    baseline = Recipe.of(catalogue, {"momentum": {"lr": 0.1}})
    candidates = ["dropout", "skip_connection", "ema"]
    laid = array(catalogue, baseline, baseline, candidates, RankSection(design="screening"), {})
    roles = {factor.name: (factor.role, factor.parent) for factor in laid.factors}
    assert roles["dropout"] == ("conditional", "skip_connection")
    alone = array(catalogue, baseline, baseline, ["dropout", "ema"], RankSection(design="screening"), {})
    assert "acts only with skip_connection" in alone.left_out["dropout"]
    always = baseline.with_trick(catalogue, "skip_connection")
    beside = array(catalogue, always, always, ["dropout", "ema"], RankSection(design="screening"), {})
    assert {factor.name: factor.role for factor in beside.factors}["dropout"] == "ordinary"
