"""The networks, data and settings that both sides train; read from the experiment files."""

import dataclasses
import functools
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SAMPLED = 1
"""Seed of the random networks."""


@dataclasses.dataclass(frozen=True)
class Case:
    """An experiment file, perhaps shortened.

    Attributes:
        name: Key of `CASES`.
        overrides: Keys of the experiment that are replaced.
        networks: The seed network, and so many random feasible ones less one.
        whole: Training images and epochs of the file itself, where the case is shortened; else None.
    """

    name: str
    overrides: tuple[str, ...]
    networks: int
    whole: tuple[int, int] | None = None

    @property
    def file(self) -> Path:
        """The experiment."""
        return ROOT / "experiments" / f"{self.name}.yaml"

    def of_all_epochs(self) -> "Case":
        """The same with as many epochs as the file has."""
        kept = tuple(override for override in self.overrides if not override.startswith("training.epochs="))
        return dataclasses.replace(self, overrides=kept)


CASES = {
    "digits": Case("digits", (), networks=3),
    "cifar10": Case(
        "cifar10",
        ("data.train_images=1920", "data.validation=640", "training.epochs=4", "training.augmentation=none"),
        networks=1,
        whole=(45_000, 20),
    ),
}
QUICK = {
    "digits": Case("digits", ("training.epochs=3",), networks=1),
    "cifar10": Case(
        "cifar10",
        ("data.train_images=128", "data.validation=64", "training.epochs=2", "training.augmentation=none"),
        networks=1,
        whole=(45_000, 20),
    ),
}
"""To see that everything works."""


@functools.lru_cache(maxsize=2)
def prepared(case: Case, data: str | None):
    """The case's `bompnas.trials.setup.Setup`; loads TensorFlow.

    Args:
        case: Which.
        data: An .npz file in place of the experiment's data.
    """
    from bompnas import experiment as experiments
    from bompnas.trials import setup

    given = [] if data is None else [f"data.path={data}"]
    return setup.prepare(experiments.load(case.file, [*case.overrides, *given]))


def networks(case: Case, data: str | None) -> dict[str, dict[str, str]]:
    """`networks`: name -> JSON of each network of a case, which are the seed network and random feasible ones."""
    from bompnas.search import feasible

    problem = prepared(case, data).problem
    space = problem.space
    codes = feasible.sample(problem, np.random.default_rng(SAMPLED), max(1, case.networks - 1))
    found = {"seed": space.decode(space.seed)}
    for number, code in enumerate(codes[: case.networks - 1], start=1):
        found[f"random {number}"] = space.decode(*space.genotypes(code[None]))
    return {"networks": {name: network.to_json() for name, network in found.items()}}


def smallest(case: Case, data: str | None) -> str:
    """JSON of the network of the first choices everywhere."""
    space = prepared(case, data).problem.space
    codes = space.canonical_codes(np.zeros_like(space.sizes)[None])
    return space.decode(*space.genotypes(codes)).to_json()


def policies(network, count: int) -> tuple:
    """The network, and the same one under random policies: each layer with 4 to 8 bits for its weights."""
    generator = np.random.default_rng(SAMPLED)
    others = [
        dataclasses.replace(
            network,
            layers=tuple(
                dataclasses.replace(layer, weight_bits=int(generator.integers(4, 9))) for layer in network.layers
            ),
        )
        for _ in range(count - 1)
    ]
    return (network, *others)


def facts(case: Case, data: str | None) -> dict[str, int]:
    """How much a trial of a case does."""
    from bompnas.trials import setup

    found = prepared(case, data)
    arrays, training = setup.parts(found.dataset), found.experiment.training
    return {
        "images": len(arrays["train"][0]),
        "validation": len(arrays["validation"][0]),
        "batch": training.batch_size,
        "epochs": training.epochs,
        "qaft_epochs": training.qaft_epochs,
    }
