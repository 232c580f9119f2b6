"""TensorBoard logs of a run: losses as they come, what was measured, and the table of its HParams tab.

What is finished is a view of the record, written whole, so that a run that is interrupted and resumed tells nothing
twice. Needs the package `tensorboard`, not TensorFlow.
"""

import dataclasses
import itertools
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bompnas.candidate import Candidate, State
from bompnas.errors import InputError
from bompnas.space.space import Gene
from bompnas.trials.events import SEARCH, Epoch, Values
from bompnas.trials.record import Record
from bompnas.trials.record.entries import probability_of
from bompnas.trials.record.views import finally_trained
from bompnas.whole_files import naming

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event

FOLDER = "tensorboard"
"""Where the logs lie in a run's folder."""

_FINISHED = "events.out.tfevents.finished"
_RUNNING = "events.out.tfevents.running"


def require() -> None:
    """Makes sure that logs can be written.

    Raises:
        InputError: The package is not installed.
    """
    try:
        import tensorboard.compat.proto.event_pb2
        import tensorboard.plugins.hparams.metadata
        import tensorboard.summary.writer.record_writer  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"tensorboard: true needs the package of that name ({error}); install it by "
            "pip install 'bompnas[tensorboard]', or leave the key out"
        ) from error


class TensorBoard:
    """Writes the logs of a run: `trial 3` for its trials, `final 3` for its final trainings, `search` for a supernet.

    A trial's further policies lie in `trial 3/policy 2` and so on. What candidates come from is a supernet where the
    record has curves of the source `search`; the rows of the table are then `candidate 1` and so on.

    Args:
        folder: Where to write; made if it is missing.
        genes: What the genotypes choose.
        metrics: What the table shows besides.
    """

    def __init__(self, folder: Path, genes: Sequence[Gene], metrics: Sequence[str]):
        self._folder = folder
        self._heard: dict[Path, _Heard] = {}
        for leftover in folder.rglob(f"{_RUNNING}*"):
            leftover.unlink()
        self._written = {path.parent for path in folder.rglob(_FINISHED)}
        if folder not in self._written:
            self._write(folder, [_hparams(experiment=_experiment(genes, metrics))])

    def hear(self, job: str, event: Epoch | Values) -> None:
        """Logs an epoch of a job that runs, or what it measured in it."""
        place = self._place(job, event.policy if isinstance(event, Epoch) else 0)
        heard = self._heard.setdefault(place, _Heard())
        if place in self._written:  # what was finished is done again
            (place / _FINISHED).unlink(missing_ok=True)
            self._written.discard(place)
        if isinstance(event, Values):
            heard.add(place, _points(event.number, event.values))
        elif event.phase != SEARCH:  # whose loss is among its values
            heard.add(place, [_Point(f"loss/{event.phase}", event.number, event.loss, time.time())])

    def follow(self, record: Record) -> None:
        """Logs what the record holds and the logs do not."""
        candidates = record.candidates
        searched = record.curves(SEARCH)
        for trial, group in itertools.groupby(candidates, key=lambda candidate: candidate.trial):
            for policy, candidate in enumerate(group):
                if candidate.state is not State.PENDING:
                    job = (f"candidate {candidate.id}", 0) if searched else (f"trial {trial}", policy)
                    self._finish(record, *job, candidate, _session(candidate))
        for candidate in finally_trained(record):
            self._finish(record, f"final {candidate.id}", 0, candidate, [])
        if searched:
            self._follow_search(searched, done=any(item.state is not State.PENDING for item in candidates))

    def _follow_search(self, curves: Mapping[str, Sequence[float]], done: bool) -> None:
        place = self._place(SEARCH, 0)
        if place in self._written:
            return
        if done:
            heard = self._heard.pop(place, _Heard())
            self._write(place, _merged(_searched(curves), heard))
            heard.forget(place)
        elif place not in self._heard:  # it goes on with that of an earlier session
            self._heard[place] = _Heard()
            self._heard[place].add(place, _searched(curves))

    def _finish(self, record: Record, job: str, policy: int, candidate: Candidate, session: Sequence["Event"]) -> None:
        place = self._place(job, policy)
        if place in self._written:
            return
        heard = self._heard.pop(place, _Heard())
        curves = {} if policy else record.curves(job)  # those of the other policies are not recorded
        self._write(place, [*session, *_merged(_losses(curves), heard), *_measured(candidate)])
        heard.forget(place)

    def _write(self, place: Path, events: Iterable["Event"]) -> None:
        place.mkdir(parents=True, exist_ok=True)
        draft = place / "draft"  # a name that TensorBoard does not take for a log
        _append(draft, events, anew=True)
        os.replace(draft, place / _FINISHED)
        self._written.add(place)

    def _place(self, job: str, policy: int) -> Path:
        return self._folder / job / f"policy {policy + 1}" if policy else self._folder / job


@dataclasses.dataclass(frozen=True)
class _Point:
    tag: str
    epoch: int
    value: float
    when: float  # [s since 1970]

    @property
    def key(self) -> tuple[str, int]:
        return self.tag, self.epoch

    @property
    def event(self) -> "Event":
        return _scalar(self.tag, self.epoch, self.value, self.when)


class _Heard:
    """What a job has told so far, in a file of its own."""

    def __init__(self):
        self.points: dict[tuple[str, int], _Point] = {}
        self._files = 0

    def add(self, place: Path, points: Sequence[_Point]) -> None:
        known = next((point.key for point in points if point.key in self.points), None)
        if known is not None:  # the job was started again: what it told from here on is void
            earlier = itertools.takewhile(lambda key: key != known, self.points)
            points = [*(self.points[key] for key in earlier), *points]
            self.points = {}
            self.forget(place)
            self._files += 1
        self.points |= {point.key: point for point in points}
        place.mkdir(parents=True, exist_ok=True)
        path = place / f"{_RUNNING}.{self._files}"
        _append(path, [point.event for point in points], anew=not path.exists())

    def forget(self, place: Path) -> None:
        (place / f"{_RUNNING}.{self._files}").unlink(missing_ok=True)


def _search_tag(name: str) -> str:
    """Where a curve of a search is shown: probabilities by the part of the network that they are of."""
    probability = probability_of(name)
    if probability is None:
        return f"loss/{SEARCH}" if name == "loss" else name
    gene, value = probability
    part, _, choice = gene.rpartition(".")
    return f"{part}/p({choice}={value})" if part else name


def _points(epoch: int, values: Mapping[str, float]) -> list[_Point]:
    """What was measured in an epoch, as far as it has a value."""
    now = time.time()
    return [_Point(_search_tag(name), epoch, value, now) for name, value in values.items() if math.isfinite(value)]


def _losses(curves: Mapping[str, Sequence[float]]) -> list[_Point]:
    """The curves of a trial, which are losses."""
    now = time.time()
    return [
        _Point(f"loss/{name.removesuffix('_loss')}", epoch, value, now)
        for name, values in curves.items()
        for epoch, value in enumerate(values, start=1)
    ]


def _searched(curves: Mapping[str, Sequence[float]]) -> list[_Point]:
    """The curves of a search, epoch by epoch."""
    epochs = zip(*curves.values(), strict=False)
    return [
        point
        for number, values in enumerate(epochs, start=1)
        for point in _points(number, dict(zip(curves, values, strict=True)))
    ]


def _merged(recorded: Iterable[_Point], heard: _Heard) -> list["Event"]:
    """What is recorded, at the time when it was heard of if it was, and what was only heard of."""
    points = dict(heard.points)
    for point in recorded:
        known = points.get(point.key, point)
        points[point.key] = dataclasses.replace(point, when=known.when)
    return [points[key].event for key in sorted(points)]


def _measured(candidate: Candidate) -> list["Event"]:
    values = dict(candidate.values)
    if candidate.score is not None:
        values["score"] = candidate.score
    values |= {f"seconds/{phase}": seconds for phase, seconds in candidate.seconds.items()}
    return [_scalar(name, 0, value, time.time()) for name, value in values.items()]


def _session(candidate: Candidate) -> list["Event"]:
    """What makes the candidate a row of the table."""
    from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

    end = time.time()
    start = plugin_data_pb2.SessionStartInfo(start_time_secs=end - sum(candidate.seconds.values()))
    for name, value in (candidate.genotype or {}).items():
        kind = {bool: "bool_value", str: "string_value"}.get(type(value), "number_value")
        setattr(start.hparams[name], kind, value)
    status = api_pb2.STATUS_FAILURE if candidate.state is State.FAILED else api_pb2.STATUS_SUCCESS
    return [
        _hparams(session_start_info=start),
        _hparams(session_end_info=plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=end)),
    ]


def _experiment(genes: Sequence[Gene], metrics: Sequence[str]) -> Any:
    """What the columns of the table are."""
    from tensorboard.plugins.hparams import api_pb2

    columns = []
    for gene in genes:
        kinds = {bool: api_pb2.DATA_TYPE_BOOL, str: api_pb2.DATA_TYPE_STRING}
        column = api_pb2.HParamInfo(name=gene.name, type=kinds.get(type(gene.values[0]), api_pb2.DATA_TYPE_FLOAT64))
        column.domain_discrete.extend(gene.values)
        columns.append(column)
    measured = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=metric)) for metric in metrics]
    return api_pb2.Experiment(hparam_infos=columns, metric_infos=measured, time_created_secs=time.time())


def _hparams(**data: Any) -> "Event":
    """What the HParams tab reads: an experiment, or the start or end of a session."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    (kind,) = data
    tag = getattr(metadata, f"{kind.upper()}_TAG")
    described = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(**data))
    value = Summary.Value(tag=tag, metadata=described, tensor=metadata.NULL_TENSOR)
    return Event(wall_time=time.time(), summary=Summary(value=[value]))


def _scalar(tag: str, step: int, value: float, when: float) -> "Event":
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Event(wall_time=when, step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))


def _append(path: Path, events: Iterable["Event"], anew: bool) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    with naming(path), path.open("wb" if anew else "ab") as file:
        writer = RecordWriter(file)
        if anew:
            writer.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        for event in events:
            writer.write(event.SerializeToString())
