"""What a search space must be like to be searched by one single-path supernet, read as groups of nested choices."""

import dataclasses
import functools

from bompnas.errors import InputError
from bompnas.space.mobilenetv2 import Block, MobileNetV2Space
from bompnas.space.network import Layer, Network
from bompnas.space.space import NetworkSpace
from bompnas.supernet.chains import Chain, Chains


@dataclasses.dataclass(frozen=True)
class Group:
    """An inverted bottleneck of the supernet, as large as its choices allow.

    Attributes:
        name: Of the block in the space (`block2`).
        expand: The expansion at its largest.
        depthwise: The depthwise convolution with its largest kernel.
        project: The projection; its `residual` says whether the input is added.
        kernels: Choices of the depthwise kernel, ascending.
        expansions: Choices of the expansion factor, ascending.
        bits: Choices of the weight bits, descending.
        levels: The largest integer of a weight for each of the bits.
        skippable: Whether the group may be left out.
    """

    name: str
    expand: Layer
    depthwise: Layer
    project: Layer
    kernels: tuple[int, ...]
    expansions: tuple[int, ...]
    bits: tuple[int, ...]
    levels: tuple[int, ...]
    skippable: bool

    @property
    def chains(self) -> tuple[Chain, ...]:
        """The group's decisions; what has a single value is none."""
        skip = f"{self.name}.repetitions" if self.skippable else None
        chains = [Chain(skip, (0, 1))] if skip else []
        chains += [
            Chain(f"{self.name}.kernel", self.kernels, needs=skip),
            Chain(f"{self.name}.expansion", self.expansions, needs=skip),
            Chain(f"{self.name}.bits", self.bits, sign=-1, needs=skip),
        ]
        return tuple(chain for chain in chains if chain.gates)


@dataclasses.dataclass(frozen=True)
class Structure:
    """A supernet's parts.

    Attributes:
        network: The largest network of the space.
        groups: Its searched bottlenecks, in their order.
    """

    network: Network
    groups: tuple[Group, ...]

    @functools.cached_property
    def chains(self) -> Chains:
        """All decisions."""
        return Chains(tuple(chain for group in self.groups for chain in group.chains))

    @property
    def stem(self) -> Layer:
        """The first convolution."""
        return self.network.layers[0]

    @property
    def last_conv(self) -> Layer:
        """The last convolution before the head."""
        return self.network.backbone[-1]


def read(space: NetworkSpace) -> Structure:
    """The supernet of a space.

    Raises:
        InputError: One supernet cannot hold the space; says which key of the space file stands in the way.
    """
    if not isinstance(space, MobileNetV2Space):
        raise InputError(
            f"space {space.name}: found a {type(space).__name__}; method hqnas searches the family mobilenetv2"
        )
    for name, block in space.groups():
        _check(space, name, block)
    searched = {gene.name for gene in space.genes}
    largest = {gene.name: max(gene.values) for gene in space.genes}
    network = space.decode(largest)
    groups = tuple(_group(space, network, name, block) for name, block in space.groups())
    structure = Structure(network, groups)
    left = searched - {chain.gene for chain in structure.chains.chains}
    if left:
        raise _unfit(space, f"{min(left)} is searched", "one choice there; hqnas searches blocks alone")
    if not structure.chains.gates:
        raise _unfit(space, "no block has a choice", "at least one")
    return structure


def _check(space: MobileNetV2Space, name: str, block: Block) -> None:
    if len(block.width.values) > 1:
        raise _unfit(space, f"{name}.width has {len(block.width.values)} choices", "one: hqnas searches no widths")
    if tuple(sorted(block.repetitions.values)) not in ((1,), (0, 1)):
        raise _unfit(
            space,
            f"{name}.repetitions are {list(block.repetitions.values)}",
            "1, or [0, 1] for a group that may be skipped: repeated groups are blocks of their own, with own choices",
        )
    even = [kernel for kernel in block.kernel.values if kernel % 2 == 0]
    if even:
        raise _unfit(space, f"{name}.kernel {even[0]} is even", "odd ones, which are centred in one another")
    if min(block.expansion.values) < 2:
        raise _unfit(space, f"{name}.expansion is {min(block.expansion.values)}", "2 or more")
    if len(space.bits.values) > 1 and not (space.shared_bits and space.nested):
        raise _unfit(
            space, f"{name} has {len(space.bits.values)} choices of bits", "`bits_per: block` and `levels: nested`"
        )


def _group(space: MobileNetV2Space, network: Network, name: str, block: Block) -> Group:
    expand, depthwise, project = (layer for layer in network.layers if layer.group == name)
    skippable = 0 in block.repetitions.values
    if skippable and project.residual is None:
        raise _unfit(
            space,
            f"{name} may be skipped, but changes {'resolution' if depthwise.stride > 1 else 'channels'}",
            "repetitions: 1 there",
        )
    bits = tuple(sorted(space.bits.values, reverse=True))
    return Group(
        name,
        expand,
        depthwise,
        project,
        tuple(sorted(block.kernel.values)),
        tuple(sorted(block.expansion.values)),
        bits,
        tuple(map(space.weight_levels, bits)),
        skippable,
    )


def _unfit(space: NetworkSpace, found: str, expected: str) -> InputError:
    return InputError(f"space {space.name}: {found}; expected {expected}")
