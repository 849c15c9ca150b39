"""Study files: there and back again, and every mistake with its line."""

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.catalogue.registry import registry
from ablate.records import toml
from ablate.records.errors import InputError
from ablate.records.study import (
    SearchSection,
    SpaceSection,
    StudyFile,
    default,
    parse,
)
from ablate.records.study_rank import ConfirmSection, RankSection
from ablate.records.study_space import Override
from ablate.records.trick import Parameter, Trick

TRICKS = (
    Trick("momentum", "", "optimizer", (), "optimizer", (Parameter("lr", 0.05, 1e-4, 10.0, log=True), Parameter("momentum", 0.9, 0.0, 0.99), Parameter("nesterov", False))),
    Trick("adam", "", "optimizer", (), "optimizer", (Parameter("lr", 0.001, 1e-5, 1.0, log=True),)),
    Trick("dropout", "", "model", (), None, (Parameter("p", 0.5, 0.0, 0.8, neutral=0.0), Parameter("profile", "flat", choices=("flat", "rising")))),
    Trick("cosine", "", "schedule", (), "schedule"),
    Trick("cutout", "", "data", (), None, (Parameter("size", 4, 1, 8),)),
    Trick("strange [x]", "", "data", (), None, (Parameter("p", 0.5, 0.0, 1.0),)),
)  # fmt: skip
CATALOGUE = {one.name: one for one in TRICKS}
PRODUCT = """\
task = "digits"              # or "my_task.py:task"
metric = "validation/accuracy"
epochs = 20
seed = 0
[baseline]                   # what every recipe starts from
optimizer = { name = "momentum", lr = "lr-find", momentum = 0.9 }
[space]
include = ["*"]
exclude = ["adam"]
[space.dropout]
p = { low = 0.0, high = 0.6 }
[search]
trials = 100
sampler = "tpe"
pruner = "successive-halving"
[rank]
design = "screening"
margin = 0.005
must_have = ["dropout"]
"""


def read(text):
    return parse(text, "s.toml", catalogue=CATALOGUE)


def test_the_file_of_the_handbook():
    study = read(PRODUCT)
    assert (study.task, study.metric, study.epochs) == ("digits", "validation/accuracy", 20)
    assert study.space.overrides == {"dropout": {"p": Override(0.0, 0.6)}}
    assert study.rank == RankSection(design="screening", margin=0.005, must_have=("dropout",))
    assert study.confirm.seeds is None
    assert study.needs_lr_find
    recipe = study.baseline_recipe(CATALOGUE, 0.25)
    assert dict(recipe["momentum"]) == {"lr": 0.25, "momentum": 0.9, "nesterov": False}
    with pytest.raises(InputError, match="lr is 'lr-find'"):
        study.baseline_recipe(CATALOGUE)


def test_a_trick_or_a_slot_that_is_off_is_not_in_the_baseline():
    study = read('[baseline]\nmomentum = true\ndropout = false\nschedule = "none"')
    assert set(study.baseline_recipe(CATALOGUE, 0.1)) == {"momentum"}


def test_the_empty_file_is_the_default():
    assert read("") == default()
    assert parse(default("wine").to_toml(), "s", catalogue=registry()) == default("wine")


def test_a_baseline_without_an_optimizer_gets_one():
    study = read("[baseline]\ndropout.p = 0.2")
    assert dict(study.baseline_recipe(CATALOGUE, 0.1)["dropout"])["p"] == 0.2
    assert study.baseline_recipe(CATALOGUE, 0.1).slot(CATALOGUE, "optimizer") == "momentum"
    assert "adam" in read("[baseline]\nadam = true").baseline


MISTAKES = [
    ('\ntsk = "x"', 2, "did you mean 'task'"),
    ("[search]\n\ntrails = 3", 3, "did you mean 'trials'"),
    ("[search]\ntrials = 0", 2, "from 1 to"),
    ("[search]\ntrials = true", 2, "whole number"),
    ("[search]\ntrials = 1e3", 2, "whole number"),
    ('[search]\nsampler = "tpee"', 2, "did you mean 'tpe'"),
    ('[search]\npruner = "medain"', 2, "did you mean 'median'"),
    ("search = 3", 1, "must be a table"),
    ("[[search]]\ntrials = 3", 1, "must be a table"),
    ("task = 3", 1, "must be text"),
    ('task = " "', 1, "must be text"),
    ("epochs = 0", 1, "from 1 to"),
    ("seed = -1", 1, "from 0 to"),
    ('[space]\ninclude = [\n  "*",\n  "dropuot",\n]', 4, "did you mean 'dropout'"),
    ('[space]\ninclude = "dropout"', 2, "must be a list"),
    ("[space]\nexclude = [3]", 2, "must contain text"),
    ("[space.dropuot]\np = { low = 0.1 }", 1, "did you mean 'dropout'"),
    ("[space.dropout]\n# why\nq = { low = 0.1 }", 3, "parameter of dropout 'q'"),
    ("[space.dropout]\np = 0.3", 2, "choices = [0.5]"),
    ("[space.dropout]\np = { low = 0.9 }", 2, "low 0.9 is not below high 0.8"),
    ("[space.dropout.p]\nlow = 0.1\nhigh = nan", 3, "finite number"),
    ("[space.dropout]\np = { lo = 0.1 }", 2, "did you mean 'low'"),
    ("[space.dropout]\np = { low = -0.1 }", 2, "dropout.p.low must"),
    ("[space.dropout]\nprofile = { low = 1 }", 2, "not a number"),
    ('[space.dropout]\nprofile = { choices = ["flat",\n"rissing"] }', 3, "did you mean 'rising'"),
    ("[space.dropout]\np = { choices = [] }", 2, "list of values"),
    ("[space.dropout]\np = { choices = [0.1, 0.1] }", 2, "twice"),
    ("[space.dropout]\np = { low = 0.1, choices = [0.1] }", 2, "both a range and choices"),
    ("[space.momentum]\nlr = { low = 0.0 }", 2, "log scale"),
    ("[space.cutout]\nsize = { low = 1.5 }", 2, "whole number"),
    ('[baseline]\noptimizer = { name = "momentm" }', 2, "did you mean 'momentum'"),
    ('[baseline.optimizer]\nname = "momentum"\nlr = "lr-fid"', 3, "must be a number"),
    ('[baseline.optimizer]\nname = "momentum"\nmomentm = 1', 3, "did you mean 'momentum'"),
    ("[baseline]\ndropuot = true", 2, "did you mean 'dropout'"),
    ("[baseline]\ndropout = 3", 2, "must be a table"),
    ("[baseline]\ndropout.p = true", 2, "dropout.p must be a number, not True"),
    ("[baseline.momentum]\nnesterov = 1", 2, "momentum.nesterov must be true or false, not 1"),
    ("[baseline.schedule]\nepochs = 3", 2, 'the slot \'schedule\' needs a name; schedule = { name = "…" }'),
    ('[baseline]\nmomentum = true\noptimizer = "momentum"', 1, "'momentum' is set twice"),
    ("\n[baseline]\nmomentum = true\nadam = true", 2, "both fill the slot"),
    ('[baseline]\noptimizer = "none"', 1, "no optimizer"),
    ("[rank]\nmargin = -1", 2, "above zero"),
    ("[rank]\nwaves = 9", 2, "from 1 to 3"),
    ('[rank]\nmust_have = ["dropout",\n "bach_norm"]', 3, "unknown trick 'bach_norm'"),
    ("[rank]\nretune = 2", 2, "odd number from 3"),
    ("[rank]\nretune = 6", 2, "own rate is among"),
    ('[rank]\ndesign = "factoral"', 2, "did you mean 'factorial'"),
    ('[rank.levels]\noptimiser = ["adam", "momentum"]', 2, "did you mean 'optimizer'"),
    ('[rank]\nlevels = { optimizer = ["momentum",\n"adm"] }', 3, "did you mean 'adam'"),
    ('[rank.levels]\noptimizer = ["adam", "none"]', 2, "unknown trick of the slot optimizer 'none'"),
    ('[rank.levels]\n\noptimizer = ["adam"]', 3, "two or more"),
    ('[rank.levels]\noptimizer = ["adam", "adam"]', 2, "two or more"),
    ('[rank.conditional]\ndropuot = "cutout"', 2, "did you mean 'dropout'"),
    ('[rank.conditional]\ndropout = "cutuot"', 2, "did you mean 'cutout'"),
    ('[rank.conditional]\ndropout = "cutout"\ncutout = "dropout"', 3, "its own parent"),
    ("[confirm]\nseeds = 1", 2, "from 2 to"),
    ("a = [1,\n 2", 2, "Unclosed array"),
    ("task = \"a\"\ntask = \"b\"", 2, "overwrite"),
    ("epochs = 99999999999999999999", 1, "64 bits"),
    ("1979-05-27 = 3\nk = 'a\nb'", 2, ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "what"), MISTAKES)
def test_mistakes_are_named_with_their_line(text, line, what):
    with pytest.raises(InputError) as error:
        read(text)
    assert str(error.value).startswith(f"s.toml, line {line}: ")
    assert what in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    "text", ["x = " + "[" * 5000, "x = " + "1" * 5000, "# " * 600_000, "x = [" * 400 + "]" * 400]
)
def test_monsters_are_refused(text):
    with pytest.raises(InputError):
        read(text)


HOSTILE = ["\x1b[31mred", "a\u202eb", "<script>", "../../etc", "[/bold]", "x" * 5000, "\n\n", "%s{0}"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_come_back_harmless(name):
    for text in (
        f"{toml.value(name)} = 1",
        f"[space.{toml.value(name)}]",
        f"[search]\nsampler = {toml.value(name)}",
        f"[space]\ninclude = [{toml.value(name)}]",
        f"[baseline]\noptimizer = {{ name = {toml.value(name)} }}",
        f"[baseline.dropout]\n{toml.value(name)} = 1",
        f"[baseline.dropout]\nprofile = {toml.value(name)}",
    ):
        with pytest.raises(InputError) as error:
            read(text)
        assert str(error.value).isprintable()
        assert len(str(error.value)) < 600


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_study_or_one_line(text):
    message = ""
    try:
        read(text)
    except InputError as error:
        message = str(error)
    assert "\n" not in message


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
plain = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(words, plain, max_size=4))
def test_written_values_are_read_back(data):
    text = "".join(f"{toml.key(name)} = {toml.value(item)}\n" for name, item in data.items())
    assert tomllib.loads(text) == data
    values, lines = toml.read(text, "x")
    assert values == data
    assert [lines[(name,)] for name in data] == list(range(1, len(data) + 1))


unit = st.floats(0.01, 0.7, allow_subnormal=False)
studies = st.builds(
    StudyFile,
    task=words.filter(str.strip),
    metric=st.just("") | words.filter(str.strip).map("validation/{}".format),
    epochs=st.none() | st.integers(1, 1000),
    seed=st.integers(0, 2**31 - 1),
    baseline=st.builds(
        lambda lr, p: {"optimizer": {"name": "adam", "lr": lr}, **({"dropout": {"p": p}} if p else {})},
        st.just("lr-find") | unit,
        st.none() | unit,
    ),
    space=st.builds(
        SpaceSection,
        st.sampled_from([("*",), ("model", "optimizer"), ("drop*", "momentum")]),
        st.sampled_from([(), ("data",), ("strange *", "cutout")]),
        st.fixed_dictionaries(
            {},
            optional={
                "dropout": st.fixed_dictionaries({}, optional={"p": st.builds(Override, st.none() | unit), "profile": st.just(Override(choices=("rising",)))}),
                "strange [x]": st.fixed_dictionaries({"p": st.builds(Override, choices=st.lists(unit, min_size=1, unique=True).map(tuple))}),
            },
        ),
    ),
    search=st.builds(SearchSection, st.integers(1, 999), st.sampled_from(["tpe", "gp"]), st.sampled_from(["none", "median"])),
    rank=st.builds(RankSection, st.sampled_from(["tuned", "screening", "drop-one"]), words.filter(str.strip), st.none() | unit, st.integers(1, 3), st.sampled_from([(), ("dropout", "strange [x]")]), st.sampled_from([{}, {"optimizer": ("adam", "momentum")}]), st.sampled_from([{}, {"cutout": "strange [x]"}, {"dropout": "optimizer"}]), st.sampled_from([0, 3, 31]), st.sampled_from(["", "10m", "2000runs"])),
    confirm=st.builds(ConfirmSection, st.none() | st.integers(2, 20)),
)  # fmt: skip


@settings(deadline=None)
@given(studies)
def test_studies_go_to_toml_and_back(study):
    assert read(study.to_toml()) == study
    assert read(study.to_toml()).to_toml() == study.to_toml()


def test_lines_of_everything_that_toml_allows():
    text = '''\
a.b = 1 # one
"c d".'e' = """
x
""" # multi
f = [
  1, # [
  { g = "}", h = \'\'\'
'\'\'\' },
]
[ t . "u.v" ]
w = 1979-05-27 07:32:00
[[z]]
y = """"quoted""""
x = ""
'''
    data, lines = toml.read(text, "x")
    expected = {("a", "b"): 1, ("c d", "e"): 2, ("f",): 5, ("f", 0): 6, ("f", 1): 7, ("f", 1, "h"): 7}
    expected |= {("t",): 10, ("t", "u.v", "w"): 11, ("z",): 12, ("z", "y"): 13, ("z", "x"): 14}
    assert {path: lines[path] for path in expected} == expected
    assert data["z"][0]["y"] == '"quoted"'
