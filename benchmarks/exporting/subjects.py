"""The networks that are measured: a real front of digits, and a full-sized network trained on CIFAR-10.

A work folder holds what was trained, and what it holds is not trained again.
"""

import dataclasses
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import keras
import numpy as np

from bompnas import experiment as experiments
from bompnas.candidate import Candidate
from bompnas.errors import InputError
from bompnas.experiment.sections import DataSettings
from bompnas.networks import float_model
from bompnas.networks.heads import HeadSource
from bompnas.networks.layers import IntegerInference
from bompnas.space import loader
from bompnas.space.network import Network
from bompnas.space.space import BITS, NetworkSpace
from bompnas.training import data, loop
from bompnas.training.loop import Phase
from bompnas.training.loss import Criterion
from bompnas.trials import setup, trial
from bompnas.trials.executors.contract import Arrays
from bompnas.trials.executors.shared import Held, Mapped
from bompnas.trials.record import Record, views
from bompnas.whole_files import replacing

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "experiments" / "digits.yaml"
CIFAR10 = ROOT / "search_spaces" / "mobilenetv2_cifar10.yaml"

CIFAR10_IMAGES = 2_048
CIFAR10_TRAIN_IMAGES = 4_000
CIFAR10_PHASES = Phase(4, 0.005, "cosine", 64), Phase(1, 0.0005, "cosine", 64)
FEWEST_CHANNELS = 8  # of a layer that some are set to zero of
CIFAR10_BLOCKS: dict[int, dict[str, float]] = {
    1: {"kernel": 2, "width": 0.01, "repetitions": 1},
    2: {"kernel": 4, "width": 0.01, "expansion": 1, "repetitions": 2},
    3: {"kernel": 6, "width": 0.3, "expansion": 6, "repetitions": 2},
    4: {"kernel": 2, "width": 0.2, "expansion": 4, "repetitions": 3},
    5: {"kernel": 4, "width": 0.2, "expansion": 3, "repetitions": 2},
    6: {"repetitions": 0},
    7: {"kernel": 6, "width": 0.2, "expansion": 3, "repetitions": 1},
}
"""By number, how blocks of Table I differ from the seed network; a width of 0.01 is a single channel."""


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A quantized model and its data.

    Attributes:
        name: What results call it.
        network: What it was built from.
        model: Where it is saved.
        images: Pixels to compare engines on, uint8; those of the test part come first.
        labels: Of the test part.
        train_images: Pixels of the training part.
        float_model: Where the float model is saved that it was quantized from, with its batch normalization; or None.
    """

    name: str
    network: Network
    model: Path
    images: np.ndarray
    labels: np.ndarray
    train_images: np.ndarray
    float_model: Path | None = None

    @property
    def test_images(self) -> np.ndarray:
        """Pixels of the test part."""
        return self.images[: len(self.labels)]

    def load(self) -> keras.Model:
        """The quantized model."""
        return keras.models.load_model(self.model)


def all_of(work: Path, file: Path | None) -> Iterator[Subject]:
    """The networks of digits, then that of CIFAR-10, whose .npz is needed once."""
    yield from digits(work)
    yield cifar10(work, file)


# --- Digits -----------------------------------------------------------------------------------------------------------


def digits(work: Path) -> list[Subject]:
    """The finally trained networks of `experiments/digits.yaml`, which is run first if it has not been; small first.

    They are compared on all images of digits and on copies that are shifted by a pixel.
    """
    folder = work / "digits"
    if not (folder / "report.html").exists():
        command = [sys.executable, "-m", "bompnas.run", str(DIGITS), "--out", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True)
    prepared = setup.prepare(experiments.load(DIGITS, []))
    parts = setup.parts(prepared.dataset)
    everything = np.concatenate([parts[part][0] for part in ("test", "validation", "train")])
    with Record(folder / "run.db", read_only=True) as record:
        trained = sorted(views.finally_trained(record), key=lambda candidate: candidate.values["size_bits"])
    return [
        Subject(
            name=f"digits {candidate.id}",
            network=candidate.network,
            model=folder / "models" / f"{candidate.id}.keras",
            images=np.concatenate([everything, shifted(everything)]),
            labels=parts["test"][1],
            train_images=parts["train"][0],
            float_model=_float_model(prepared, candidate, folder),
        )
        for candidate in trained
    ]


def shifted(images: np.ndarray) -> np.ndarray:
    """Images moved right by a pixel, with a column of zeros."""
    return np.pad(images[:, :, :-1], ((0, 0), (0, 0), (1, 0), (0, 0)))


def _float_model(prepared: setup.Setup, candidate: Candidate, folder: Path) -> Path:
    """What the run does not keep: the final training is repeated up to the quantization."""
    path = folder / "models" / f"{candidate.id}_float.keras"
    if not path.exists():
        parts = Held(setup.parts(prepared.dataset))
        task = prepared.final_task([candidate], parts)
        task = dataclasses.replace(task, qaft=dataclasses.replace(task.qaft, epochs=0), test=False, keep_models=False)
        built, build = capturing(float_model.build)
        trial.train_quantized(task, parts.load(), build=build)
        with replacing(path) as draft:
            built[0].save(draft)
    return path


def capturing(build: Callable[..., keras.Model]) -> tuple[list[keras.Model], Callable[..., keras.Model]]:
    """A list, and a function that builds as the given one does and appends to the list what it has built."""
    built: list[keras.Model] = []

    def captured(*arguments):
        built.append(build(*arguments))
        return built[-1]

    return built, captured


# --- CIFAR-10 ---------------------------------------------------------------------------------------------------------


def cifar10(work: Path, file: Path | None) -> Subject:
    """A full-sized network of Table I, trained briefly.

    Some of its output channels are then set to zero, the others fine-tuned for an epoch, and the same ones set to zero
    again. It is compared on the first images of the test part.

    Args:
        work: Where the model and arrays are kept.
        file: CIFAR-10 as .npz; needed once.
    """
    space = loader.load(CIFAR10)
    network = space.decode(genotype(space, CIFAR10_BLOCKS))
    parts = _arrays(work / "cifar10", space, file)
    path = work / "cifar10" / "even_kernels.keras"
    if not path.exists():
        _train(network, parts, path)
    images, labels = (array[:CIFAR10_IMAGES] for array in parts["test"])
    return Subject("CIFAR-10", network, path, images, labels, parts["train"][0])


def _arrays(folder: Path, space: NetworkSpace, file: Path | None) -> Arrays:
    if not (folder / "test_labels.npy").exists():
        if file is None:
            raise InputError("--data: expected CIFAR-10 as an .npz file")
        folder.mkdir(parents=True, exist_ok=True)
        settings = DataSettings(dataset="cifar10", path=str(file), train_images=CIFAR10_TRAIN_IMAGES)
        dataset = data.load(settings, space.input_size, space.input_channels, seed=0)
        Mapped.write(setup.parts(dataset), folder)
    return Mapped(folder).load()


def _train(network: Network, parts: Arrays, path: Path) -> None:
    early, qaft = CIFAR10_PHASES
    head = HeadSource("classification", 10)
    task = trial.TrialTask((network,), head, data=None, early=early, qaft=qaft, seed=0, keep_models=True)
    (outcome,) = trial.train_quantized(task, parts).outcomes
    if outcome.error is not None:
        raise RuntimeError(f"{path.stem}: {outcome.error}")
    with replacing(path) as draft:
        draft.write_bytes(outcome.model)
        model = keras.models.load_model(draft)
        zero_channels(model, np.random.default_rng(0))
        loop.train(model, Criterion.of(head.head(), model), *parts["train"], qaft, seed=1)
        zero_channels(model, np.random.default_rng(0))
        model.save(draft)


def genotype(space: NetworkSpace, blocks: Mapping[int, Mapping[str, float]]) -> dict[str, float]:
    """The seed's genotype with some blocks changed, and bits 4, 5, 6, 7, 8, 4, ... for one kind of layer after another.

    Args:
        space: A MobileNetV2 space.
        blocks: By number, the genes of a block without its name.
    """
    changed = {f"block{number}.{gene}": value for number, genes in blocks.items() for gene, value in genes.items()}
    bits = [gene.name for gene in space.genes if gene.part == BITS]
    return space.canonical({**space.seed, **changed, **dict(zip(bits, itertools.cycle((4, 5, 6, 7, 8))))})


def zero_channels(model: keras.Model, generator: np.random.Generator) -> int:
    """Sets output channels to zero, in every larger layer one with its bias and one without it; not the last layer's.

    Returns:
        Number of channels set to zero.
    """
    count = 0
    for layer in model.layers:
        if isinstance(layer, IntegerInference):
            kernel, bias = layer.get_weights()
            along = np.moveaxis(kernel, layer.weight_quantizer.axis, -1)
            if along.shape[-1] >= FEWEST_CHANNELS and layer is not model.layers[-1]:
                dead, biased = generator.choice(along.shape[-1], 2, replace=False)
                along[..., [dead, biased]] = 0.0
                bias[dead] = 0.0
                layer.set_weights([kernel, bias])
                count += 2
    return count
