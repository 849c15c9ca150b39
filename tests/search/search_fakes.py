"""Small catalogues made of records alone: nothing here can train."""

from ablate.records.recipe import Recipe
from ablate.records.study import StudyFile
from ablate.records.trick import Parameter, Trick
from ablate.search.space import Space


def trick(name, *parameters, seam="data", slot=None, **more):
    return Trick(name, name, seam, (), slot, parameters, **more)


def optimizer(name, default, *parameters):
    lr = Parameter("lr", default, low=1e-5, high=10.0, log=True)
    return trick(name, lr, *parameters, seam="optimizer", slot="optimizer")


TRICKS = (
    optimizer("momentum", 0.05, Parameter("momentum", 0.9, low=0.0, high=0.99), Parameter("nesterov", False)),
    optimizer("adam", 0.001, Parameter("beta2", 0.999, low=0.9, high=0.9999)),
    trick("batch_norm", Parameter("momentum", 0.1, low=0.01, high=1.0, log=True), seam="model", slot="norm"),
    trick("group_norm", Parameter("groups", 8, low=2, high=32, log=True), seam="model", slot="norm"),
    trick("dropout", Parameter("p", 0.5, low=0.0, high=0.8, neutral=0.0), seam="model"),
    trick("weight_decay", Parameter("strength", 1e-4, low=1e-6, high=1e-1, log=True, neutral=0.0)),
    trick("mixup", Parameter("alpha", 0.2, low=0.1, high=1.0), conflicts=("cutout",)),
    trick("cutout", Parameter("size", 4, low=1, high=8)),
    trick("batch_size", Parameter("size", 64, choices=(16, 64, 256), lane=False)),
    trick("sam", Parameter("rho", 0.05, low=0.01, high=0.5), seam="objective", lane=False),
    trick("placebo"),
    trick("amp", Parameter("dtype", "bf16", choices=("bf16", "fp16")), seam="precision", searched=False),
)
CATALOGUE = {one.name: one for one in TRICKS}
BASELINE = Recipe.of(CATALOGUE, {"momentum": {"lr": 0.1}})


def space(catalogue=CATALOGUE, baseline=BASELINE, study=None, applicable=None, **more):
    return Space.of(catalogue, study or StudyFile(), applicable or {}, baseline, **more)
