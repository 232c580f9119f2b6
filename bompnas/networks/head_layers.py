"""Search spaces whose networks end in a head: its layers are counted, priced and given bits as all others."""

import dataclasses

from bompnas.errors import InputError
from bompnas.networks import heads
from bompnas.networks.heads import Head, HeadSource
from bompnas.space.network import Layer
from bompnas.space.space import NetworkSpace


def with_head(space: NetworkSpace, source: HeadSource, outputs: int) -> NetworkSpace:
    """The space with the head's layers behind its features.

    Raises:
        InputError: The head's output does not have the shape of `outputs` classes or targets.
    """
    head = source.head()
    last = space.decode(space.seed).backbone[-1]
    found = heads.output_shape(head, _shape(head, last.output_size, last.out_channels))
    expected = {(outputs,), (1,)} if head.task == heads.CLASSIFICATION and outputs == 2 else {(outputs,)}
    if found not in expected:
        what = "classes" if head.task == heads.CLASSIFICATION else "targets"
        raise InputError(
            f"head: its output has shape {found} for an image, but the data has {outputs} {what}; expected ({outputs},)"
        )
    return dataclasses.replace(space, head=_HeadLayers(source, last.output_size))


@dataclasses.dataclass(frozen=True)
class _HeadLayers:
    """The head's layers behind so many features; can be sent to another process."""

    source: HeadSource
    size: int
    known: dict[int, tuple[Layer, ...]] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    def __call__(self, features: int) -> tuple[Layer, ...]:
        if features not in self.known:
            head = self.source.head()
            self.known[features] = heads.layers(head, _shape(head, self.size, features))
        return self.known[features]


def _shape(head: Head, size: int, features: int) -> tuple[int, ...]:
    """Of what the head takes, without the batch axis."""
    return (size, size, features) if head.features == "map" else (features,)
