import copy
import dataclasses

import pytest

from bompnas.report.comparison import runs
from bompnas.trials.record import Final, Record, StoredProposal, create


@pytest.fixture
def make_run(tmp_path, make_view, experiment):
    """Writes the record of a run of (quality, kilobytes) pairs; keys of the experiment as `method__name="random"`."""

    def make(name, pairs=((0.5, 10), (0.6, 2), (0.9, 8)), final=None, **settings):
        document = copy.deepcopy({**experiment, "name": name})
        changes = settings.pop("changes", None)
        fingerprint = settings.pop("fingerprint", "00")
        for place, value in settings.items():
            *parents, key = place.split("__")
            section = document
            for parent in parents:
                section = section.setdefault(parent, {})
            section[key] = value
        view = make_view(pairs)
        candidates = view.candidates if changes is None else changes(view.candidates)
        identity = {key: value for key, value in document.items() if key != "workers"}
        identity["data"] = {**document["data"], "fingerprint": fingerprint}
        identity["space"] = {"name": "toy", "input": {"size": 8, "channels": 1}}
        meta = {"experiment": document, "identity": identity, "versions": {"keras": "3.15.0"}, "seed_network": "none"}
        folder = tmp_path / name
        folder.mkdir()
        create(folder / "run.db", meta)
        with Record(folder / "run.db") as record:
            record.add(candidates)
            if final is not None:
                record.finish_finals(
                    "final 1",
                    [
                        Final(number, {"val_accuracy": val, "test_accuracy": test}, {"train": 90.0}, 1.0, "models/x")
                        for number, (val, test) in final.items()
                    ],
                )
        return folder

    return make


@pytest.fixture
def make_supernet(make_run):
    """Writes the record of a search of a supernet: 3 epochs in 50 s, and a network for each (quality, kilobytes)."""

    def shared(candidates):
        seconds = [{"search": 50.0}, *({} for _ in candidates[1:])]
        return tuple(
            dataclasses.replace(candidate, trial=1, seconds=spent)
            for candidate, spent in zip(candidates, seconds, strict=True)
        )

    def make(name, pairs=((0.5, 10), (0.6, 2), (0.9, 8)), final=None, **settings):
        method = {"name": "hqnas", "cost": "size_kb"}
        folder = make_run(name, pairs, final, changes=shared, method=method, training={"epochs": 3}, **settings)
        with Record(folder / "run.db") as record:
            for epoch in range(3):
                record.log("search", epoch, {"loss": 1.0, "reward": -1.0, "p(block1.bits=4)": 0.5})
            for index, source in enumerate(("decided", *["sampled"] * (len(pairs) - 1))):
                record.add([], StoredProposal(index, 1, ({"block1.bits": 4},), (), (), {"source": source}))
        return folder

    return make


@pytest.fixture
def compared(make_run):
    """Two seeds of one experiment, and a random search with final training."""
    return runs.read(
        [
            make_run("bomp-0", [(0.5, 10), (0.6, 2), (0.9, 8)], seed=0),
            make_run("random", [(0.4, 4), (0.8, 3)], {2: (0.85, 0.82)}, method__name="random"),
            make_run("bomp-1", [(0.7, 2), (None, 3), (0.8, 8)], seed=1),
        ]
    )


@pytest.fixture(scope="session")
def share():
    """Makes neighbours in a sequence of candidates share trials of so many."""

    def make(count):
        def changed(candidates):
            return tuple(
                dataclasses.replace(
                    candidate,
                    trial=1 + index // count,
                    seconds=candidate.seconds if index % count == 0 else {"qaft": 2.0},
                )
                for index, candidate in enumerate(candidates)
            )

        return changed

    return make
