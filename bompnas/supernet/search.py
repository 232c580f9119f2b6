"""HQNAS, Algorithm 1: the weights of a supernet and the thresholds of its decisions, learned in turns.

An epoch is a pass over the images for the weights, each step on another random network, then one over the images held
out for the thresholds, each step an estimate of the reward's gradient from N random networks on the same batch. In the
first epochs subsets of the kernels are dropped at Single-Path NAS' rate whatever the thresholds say, and the thresholds
rest, as norms and accuracies mean nothing yet. Where the paper leaves open whether turns are steps or epochs, they are
epochs here.
"""

import dataclasses
import math
import time
from collections.abc import Sequence

import keras
import numpy as np

from bompnas.errors import InputError
from bompnas.experiment.sections import check_share
from bompnas.networks.heads import HeadSource
from bompnas.problem import Problem
from bompnas.supernet import checkpoint, structure, thresholds
from bompnas.supernet.checkpoint import Knowledge
from bompnas.supernet.rewards import Judge
from bompnas.supernet.settings import HqnasSettings
from bompnas.supernet.single_path import Supernet
from bompnas.supernet.thresholds import Thresholds
from bompnas.supernet.weights import SharedWeights
from bompnas.training import state
from bompnas.training.data import stratified
from bompnas.training.loop import DivergedError, Phase
from bompnas.training.loss import Criterion
from bompnas.training.state import State
from bompnas.trials.events import SEARCH, Checkpoint, Epoch, Note, Values
from bompnas.trials.executors.contract import Shared, Tell, ignore

KEEP = 0.6
"""Share of subsets kept in the first epochs; Single-Path NAS drops 40 %."""
RELAXED = 0.5
"""What is left of a checkpoint's logits: a later search explores anew (ours)."""
_ATTEMPTS = 1000  # random networks among which one within the limits is looked for
_THRESHOLDS, _SAMPLES, _GROWTH = 1, 3, 4  # streams of random numbers; 2 orders the images


@dataclasses.dataclass(frozen=True)
class SearchTask:
    """What a worker needs to search.

    Attributes:
        problem: What is searched.
        settings: Of the method.
        phase: How the supernet's weights are trained.
        head: Where the head comes from.
        data: The data set, as an executor shares it.
        class_names: Of the data set.
        seed: Of weights, splits, order, augmentation and sampling.
        begin: Knowledge to start from, the content of a checkpoint file; None for none.
        checkpoint: What an earlier attempt at this task told last, to go on from; None to begin.
    """

    problem: Problem
    settings: HqnasSettings
    phase: Phase
    head: HeadSource
    data: Shared
    class_names: tuple[str, ...]
    seed: int
    begin: bytes | None = None
    checkpoint: bytes | None = None

    def run(self, tell: Tell = ignore) -> "SearchResult":
        """Carries out the search; see `search`."""
        return search(self, tell)


@dataclasses.dataclass(frozen=True)
class Found:
    """A network that the search ends with.

    Attributes:
        genotype: Its genes.
        metrics: Measured in the supernet on the validation part, without training, by batch statistics.
    """

    genotype: dict[str, int]
    metrics: dict[str, float]


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        decided: What the thresholds decided; None if no network was found that keeps the experiment's limits.
        sampled: Further networks, sampled last, the latest first.
        seconds: Wall time of all attempts [s].
        knowledge: The supernet, for later searches: the content of a checkpoint file.
    """

    decided: Found | None
    sampled: tuple[Found, ...]
    seconds: dict[str, float]
    knowledge: bytes


def search(task: SearchTask, tell: Tell = ignore) -> SearchResult:
    """Carries out Algorithm 1.

    Args:
        task: What to do.
        tell: Takes an `Epoch`, `Values` and a `Checkpoint` after every epoch.

    Raises:
        DivergedError: The training's loss is not finite.
        InputError: The checkpoint to start from does not fit.
    """
    keras.backend.clear_session()
    keras.utils.set_random_seed(task.seed)
    learner = _Learner(task, tell)
    learner.learn(tell)
    decided, sampled = learner.found()
    return SearchResult(decided, sampled, {SEARCH: learner.seconds}, checkpoint.pack(learner.knowledge()))


class _Learner:
    """A search while it goes on."""

    def __init__(self, task: SearchTask, tell: Tell):
        self._begin = time.perf_counter()
        self._before = 0.0  # seconds of earlier attempts
        self._task = task
        settings = task.settings
        self._structure = structure.read(task.problem.space)
        self._chains = self._structure.chains
        self._judge = Judge(task.problem, settings, self._chains)
        head = task.head.head()
        self._supernet = Supernet(self._structure, head, settings.literal)
        criterion = Criterion.of(head, self._supernet.head)
        generator = np.random.default_rng([task.seed, _THRESHOLDS])
        self._thresholds = Thresholds.begin(self._norms(), generator)
        self._warm_up = settings.warm_up
        self._searches = (0,) * len(task.class_names)
        if task.begin is not None:
            self._continue(checkpoint.unpack(task.begin))
        arrays = task.data.load()
        self._validation, (images, labels) = arrays["validation"], arrays["train"]
        for_weights, self._for_thresholds = divided(labels, settings.reward_images, task.seed, self._searches)
        self._weights = SharedWeights(
            self._supernet, criterion, images, labels, for_weights, task.phase, settings.samples, task.seed
        )
        self._losses: list[float] = []
        self._recent = np.zeros((0, self._chains.gates), np.float32)
        if task.checkpoint is not None:
            self._resume(task.checkpoint, tell)

    @property
    def seconds(self) -> float:
        """Wall time of this and earlier attempts [s]."""
        return self._before + time.perf_counter() - self._begin

    def learn(self, tell: Tell) -> None:
        """Alternates until the last epoch."""
        epochs = self._task.phase.epochs
        for number in range(len(self._losses), epochs):
            generator = np.random.default_rng([self._task.seed, _SAMPLES, number])
            gates = self._chains.draw(self._sampling(number, self._norms()), self._weights.steps, generator)
            self._losses.append(self._weights.train(number, gates))
            if not math.isfinite(self._losses[-1]):
                raise DivergedError(
                    f"the supernet's loss became {self._losses[-1]} in epoch {number + 1}; try a lower learning rate"
                )
            values = self._learn_thresholds(number, generator)
            tell(Epoch(SEARCH, 0, number + 1, epochs, self._losses[-1]))
            tell(Values(number + 1, {"loss": self._losses[-1], **values}))
            tell(Checkpoint(state.pack({SEARCH: self._reached()})))

    def found(self) -> tuple[Found | None, tuple[Found, ...]]:
        """What the thresholds decide, and the networks sampled last; only those that keep the limits, none twice."""
        probabilities = self._thresholds.probabilities(self._norms(), self._chains)
        decided = (probabilities >= 0.5).astype(np.float32)[None]
        if self._judge.costs(decided)[1][0] > 0:
            decided = self._most_probable(probabilities)
        chosen = self._within_limits(np.concatenate([decided, self._recent[::-1]]))
        chosen = chosen[: self._task.settings.candidates + len(decided)]
        measured = self._weights.metrics(*self._validation, chosen)
        found = [
            Found(genotype, {f"val_{name}": value for name, value in metrics.items()})
            for genotype, metrics in zip(self._genotypes(chosen), measured, strict=True)
        ]
        return (found[0] if len(decided) else None), tuple(found[len(decided) :])

    def knowledge(self) -> Knowledge:
        """What a later search may start from."""
        decided = checkpoint.decisions(self._chains)
        classes = self._task.class_names
        return Knowledge(self._supernet.arrays, decided, self._thresholds.values, classes, self._searches)

    def _learn_thresholds(self, number: int, generator: np.random.Generator) -> dict[str, float]:
        """A pass over the images for the thresholds, only its first step while they rest; returns what was seen."""
        settings, resting = self._task.settings, number < self._warm_up
        norms = self._norms()
        accuracies, costs, rewards = [], [], []
        order = generator.permutation(self._for_thresholds)
        size = min(self._task.phase.batch_size, len(order))
        for first in range(0, (1 if resting else len(order) // size) * size, size):
            places = np.sort(order[first : first + size])
            probabilities = self._sampling(number, norms)
            gates = self._chains.draw(probabilities, settings.samples, generator)
            reached = self._weights.accuracies(places, gates)
            cost, excess = self._judge.costs(gates)
            reward = self._judge.rewards(reached, cost, excess)
            accuracies, costs, rewards = [*accuracies, *reached], [*costs, *cost], [*rewards, *reward]
            self._recent = np.concatenate([self._recent, gates])[-_kept(settings) :]
            if not resting:
                gradient = thresholds.reward_gradient(self._chains, probabilities, gates, reward)
                rate = settings.threshold_learning_rate
                self._thresholds = self._thresholds.ascend(gradient, rate, norms, self._chains)
        return {
            "val_accuracy": float(np.mean(accuracies)),
            settings.cost: float(np.mean(costs)),
            "reward": math.nan if resting else float(np.mean(rewards)),
            **self._chains.shares(self._thresholds.probabilities(norms, self._chains)),
        }

    def _norms(self) -> np.ndarray:
        return thresholds.relative_norms(self._structure, self._supernet.arrays)

    def _sampling(self, number: int, norms: np.ndarray) -> np.ndarray:
        """Probabilities that networks are drawn with: in the first epochs parts are dropped whatever they are."""
        probabilities = self._thresholds.probabilities(norms, self._chains)
        if number >= self._warm_up:
            return probabilities
        return np.where(self._chains.signs > 0, KEEP, probabilities)

    def _most_probable(self, probabilities: np.ndarray) -> np.ndarray:
        """The most probable of many random networks that keep the limits, shape (1 or 0, gates)."""
        generator = np.random.default_rng([self._task.seed, _SAMPLES])
        gates = self._chains.draw(probabilities, _ATTEMPTS, generator)
        gates = gates[self._judge.costs(gates)[1] == 0]
        best = np.argsort(-self._chains.log_probability(probabilities, gates), kind="stable")
        return gates[best[:1]]

    def _within_limits(self, gates: np.ndarray) -> np.ndarray:
        """The networks that keep the experiment's limits, none twice."""
        space, kept, taken = self._task.problem.space, [], set()
        for each, genotype, excess in zip(gates, self._genotypes(gates), self._judge.costs(gates)[1], strict=True):
            key = space.decode(genotype).key
            if not excess and key not in taken:
                taken.add(key)
                kept.append(each)
        return np.array(kept, np.float32).reshape(-1, self._chains.gates)

    def _genotypes(self, gates: np.ndarray) -> list[dict[str, int]]:
        return [self._task.problem.space.canonical(genotype) for genotype in self._chains.genotypes(gates)]

    def _continue(self, known: Knowledge) -> None:
        """Starts from what an earlier search learned: no dropping, and decisions half way back to open ones."""
        generator = np.random.default_rng([self._task.seed, _GROWTH])
        shapes, classes = self._supernet.shapes, self._task.class_names
        checkpoint.check(known, self._chains, shapes, classes)
        self._supernet.restore(checkpoint.grown(known, shapes, classes, generator))
        norms = self._norms()
        self._thresholds = Thresholds.relaxed(known.thresholds, norms, RELAXED)
        self._warm_up = 0
        self._searches = known.searches_of(classes)

    def _reached(self) -> State:
        rule = self._thresholds
        numbers = (rule.values, rule.first, rule.second, np.asarray((rule.steps, self.seconds)), self._recent)
        return State(tuple(self._losses), (*numbers, *self._weights.arrays))

    def _resume(self, content: bytes, tell: Tell) -> None:
        """Takes up what an earlier attempt at this task told last."""
        try:
            reached = state.unpack(content)[SEARCH]
        except (ValueError, KeyError) as error:
            tell(Note(f"its checkpoint is damaged, the search begins anew: {error}"))
            return
        values, first, second, (steps, seconds), recent, *arrays = reached.arrays
        if not self._weights.fits(arrays) or len(values) != self._chains.gates:
            tell(Note("its checkpoint is of another version, the search begins anew"))
            return
        self._losses = list(reached.losses)
        self._thresholds = Thresholds(values, first, second, int(steps))
        self._before = float(seconds)
        self._recent = recent
        self._weights.restore(arrays)


def divided(
    labels: np.ndarray, share: float | int, seed: int, searches: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Places of the training images for the weights and of those for the thresholds, of every class its part.

    Classes that the same search met first are divided together: in a search that goes on, weights have never seen the
    images that reward them, in the searches before neither.

    Args:
        labels: Class ids, shape (n,).
        share: Share or number of images for the thresholds.
        seed: Fixes the division.
        searches: Number of the search that met each class first.
    """
    count = share if isinstance(check_share(share), int) else max(1, round(share * len(labels)))
    if count >= len(labels):
        raise InputError(
            f"method.reward_images: {count} of {len(labels)} training images leave none for the weights; expected fewer"
        )
    ratio = share if isinstance(share, float) else share / len(labels)
    first, chosen = np.asarray(searches)[labels], []
    for search in np.unique(first):
        places = np.flatnonzero(first == search)
        size = min(max(1, round(ratio * len(places))), len(places) - 1)
        chosen.append(places[stratified(labels[places], size, np.random.default_rng([seed, 0]))])
    rewarding = np.sort(np.concatenate(chosen))
    return np.delete(np.arange(len(labels)), rewarding), rewarding


def _kept(settings: HqnasSettings) -> int:
    """How many sampled networks are remembered: some of them may be equal."""
    return 4 * max(1, settings.candidates)
