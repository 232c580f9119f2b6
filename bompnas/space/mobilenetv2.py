"""The mixed-precision MobileNetV2 family (BOMP-NAS, Table I).

stem conv -> inverted bottlenecks, each repeated -> 1x1 conv -> global average pool -> head. Choices are the kernel,
width, expansion and repetitions of every bottleneck, the filters of the last conv, and the weight bits of every kind of
layer.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from bompnas.errors import InputError
from bompnas.space import levels
from bompnas.space.batch import NetworkBatch
from bompnas.space.distance import INSERT, Stage
from bompnas.space.embedding import Site
from bompnas.space.mobilenetv2_batch import columns
from bompnas.space.network import HEAD, Layer, Network, strided
from bompnas.space.reading import Section
from bompnas.space.space import ARCHITECTURE, BITS, Choices, Gene, NetworkSpace

WEIGHT_BITS = (2, 16)
ACTIVATION_BITS = (2, 8)


@dataclasses.dataclass(frozen=True)
class Stem:
    """The first convolution, fixed.

    Attributes:
        filters: Output channels.
        kernel: Height and width of its kernel.
        stride: Its stride.
    """

    filters: int
    kernel: int
    stride: int


@dataclasses.dataclass(frozen=True)
class Block:
    """The choices of one inverted bottleneck and its repetitions.

    Attributes:
        channels: Output channels at width 1.
        stride: Reduction of the resolution in front of this block; kept when the block itself is absent.
        kernel: Kernels of the depthwise layers.
        width: Multipliers of `channels`.
        expansion: Expansion factors; 1 means no expand conv.
        repetitions: How often the bottleneck is repeated; 0 means absent.
    """

    channels: int
    stride: int
    kernel: Choices
    width: Choices
    expansion: Choices
    repetitions: Choices


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class MobileNetV2Space(NetworkSpace):
    """Inverted bottlenecks with searchable kernel, width, expansion, repetitions and weight bits.

    Attributes:
        stem: The first convolution.
        blocks: The bottlenecks in their order.
        last_filters: Filters of the last (1x1) convolution.
        bits: Weight bits of the blocks; one choice for every kind of layer of a block, shared by its repetitions.
        shared_bits: Whether all layers of a block share one choice.
        own_bits: Weight bits of `stem`, `last_conv` and `dense` where they are not `bits`.
        nested: Whether the grids of `bits` lie in one another (`bompnas.space.levels`), of the blocks and of parts
            without own bits, which choose from `bits` as a block does; own bits have full grids.
        activation_bits: Bits of all activations.
        divisor: Channels of the blocks are multiples of it.
    """

    stem: Stem
    blocks: tuple[Block, ...]
    last_filters: Choices
    bits: Choices
    shared_bits: bool = False
    own_bits: Mapping[str, Choices] = dataclasses.field(default_factory=dict)
    nested: bool = False
    activation_bits: int = 8
    divisor: int = 1

    @functools.cached_property
    def genes(self) -> tuple[Gene, ...]:
        """Architecture genes in the order of the network, then its bit genes."""
        return tuple(gene for gene in self._parameters if len(gene.values) > 1)

    @functools.cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Stem, blocks, last conv and head with the grids of what may differ in them."""
        bits = self.bits.values
        stages = [Stage("stem", 1, 1, {"bits": self._bits_of("stem").values})]
        for group, block in self.groups():
            repetitions, expansion = block.repetitions.values, block.expansion.values
            grids = {
                "kernel": block.kernel.values,
                "channels": tuple(self.channels(block, width) for width in block.width.values),
                "expansion": expansion,
                "depthwise_bits": bits,
                "project_bits": bits,
            }
            if max(expansion) > 1:
                grids["expand_bits"] = bits
            stages.append(Stage(group, min(repetitions), max(repetitions), grids))
        last_bits, dense_bits = self._bits_of("last_conv").values, self._bits_of("dense").values
        stages.append(Stage("last_conv", 1, 1, {"filters": self.last_filters.values, "bits": last_bits}))
        stages.append(Stage(HEAD, 1, 1, {"bits": dense_bits} if self._quantized_head else {}))
        return tuple(stages)

    @functools.cached_property
    def sites(self) -> tuple[Site, ...]:
        """Every attribute of every slot of every stage."""
        return tuple(site for stage in self.stages for site in self._sites(stage))

    def batch(self, codes: np.ndarray) -> NetworkBatch:
        """The networks of codes, shape (n, genes), exactly those that `decode` returns one by one."""
        return columns(self, codes)

    def values(self, codes: np.ndarray, name: str) -> np.ndarray:
        """What a parameter, searched or constant, is in each genotype, shape (n,)."""
        if name in self.places:
            return np.array(self.genes[self.places[name]].values)[codes[:, self.places[name]]]
        return np.full(len(codes), self._constants.get(name, 0))

    def weight_levels(self, bits: int) -> int:
        """Largest integer of a weight of the blocks at a width [bits]."""
        return levels.nested(bits, min(self.bits.values)) if self.nested else levels.full(bits)

    def gene_name(self, stage: str, attribute: str) -> str:
        """The gene that an attribute of a stage shows."""
        if stage == HEAD:
            return "dense.bits"
        if self.shared_bits and attribute.endswith("_bits"):
            return f"{stage}.bits"
        return f"{stage}.{'width' if attribute == 'channels' else attribute}"

    def _sites(self, stage: Stage) -> Iterator[Site]:
        attributes = [(attribute, self.gene_name(stage.name, attribute)) for attribute in stage.varying]
        for slot in range(1, stage.most + 1):
            share = slot**-0.5  # g_j
            present = () if slot <= stage.fewest else (self._rule(f"{stage.name}.repetitions", slot),)
            if present:
                yield Site(f"{stage.name}.{INSERT}", None, presence=present, share=share)
            for attribute, name in attributes:
                presence = present
                if attribute == "expand_bits" and min(stage.grids["expansion"]) == 1:
                    presence = (*present, *self._expanded(stage))
                scaled = stage.scaled(attribute)
                positions = tuple(scaled[self._attribute(stage.name, attribute, value)] for value in self._gene(name))
                yield Site(f"{stage.name}.{attribute}", self.places[name], positions, presence=presence, share=share)

    def _expanded(self, stage: Stage) -> tuple[tuple[int, frozenset[int]], ...]:
        name = f"{stage.name}.expansion"
        return (self._rule(name, 2),) if name in self.places else ()

    def _rule(self, name: str, least: int) -> tuple[int, frozenset[int]]:
        return self.places[name], frozenset(code for code, value in enumerate(self._gene(name)) if value >= least)

    def _gene(self, name: str) -> tuple[float, ...]:
        return self.genes[self.places[name]].values

    def _attribute(self, stage: str, attribute: str, value: float) -> float:
        if attribute != "channels":
            return value
        return self.channels(dict(self.groups())[stage], value)

    @functools.cached_property
    def _parameters(self) -> tuple[Gene, ...]:
        """All genes, those with a single choice included."""
        architecture = []
        bits = [_gene("stem.bits", self._bits_of("stem"), BITS)]
        for group, block in self.groups():
            present = expanded = ()
            if 0 in block.repetitions.values:
                present = expanded = ((f"{group}.repetitions", frozenset(block.repetitions.values) - {0}),)
            if 1 in block.expansion.values:
                expanded = (*present, (f"{group}.expansion", frozenset(block.expansion.values) - {1}))
            architecture += [
                _gene(f"{group}.kernel", block.kernel, ARCHITECTURE, present),
                _gene(f"{group}.width", block.width, ARCHITECTURE, present),
                _gene(f"{group}.expansion", block.expansion, ARCHITECTURE, present),
                _gene(f"{group}.repetitions", block.repetitions, ARCHITECTURE),
            ]
            if self.shared_bits:
                bits.append(_gene(f"{group}.bits", self.bits, BITS, present))
                continue
            if max(block.expansion.values) > 1:
                bits.append(_gene(f"{group}.expand_bits", self.bits, BITS, expanded))
            bits += [
                _gene(f"{group}.depthwise_bits", self.bits, BITS, present),
                _gene(f"{group}.project_bits", self.bits, BITS, present),
            ]
        architecture.append(_gene("last_conv.filters", self.last_filters, ARCHITECTURE))
        bits.append(_gene("last_conv.bits", self._bits_of("last_conv"), BITS))
        if self._quantized_head:
            bits.append(_gene("dense.bits", self._bits_of("dense"), BITS))
        return (*architecture, *bits)

    def _bits_of(self, part: str) -> Choices:
        return self.own_bits.get(part, self.bits)

    @functools.cached_property
    def _quantized_head(self) -> bool:
        """Whether the head has a layer that dense bits are for."""
        return any(layer.kind != "float" for layer in self.head(max(self.last_filters.values)))

    @functools.cached_property
    def _constants(self) -> dict[str, int | float]:
        return {gene.name: gene.default for gene in self._parameters if len(gene.values) == 1}

    def groups(self) -> list[tuple[str, Block]]:
        """The blocks with the names of their layers' groups."""
        return [(f"block{number}", block) for number, block in enumerate(self.blocks, start=1)]

    def channels(self, block: Block, width: float) -> int:
        """Output channels of a block at a width."""
        return max(1, round(width * block.channels / self.divisor)) * self.divisor

    def _build(self, genes: Mapping[str, int | float]) -> Network:
        values = {**self._constants, **genes}
        layers = [self._stem(values["stem.bits"])]
        stride = 1
        for group, block in self.groups():
            stride *= block.stride  # an absent block leaves its stride to the next one
            expansion = values[f"{group}.expansion"]
            for repetition in range(1, values[f"{group}.repetitions"] + 1):
                layers += _bottleneck(
                    group=group,
                    repetition=repetition,
                    entry=layers[-1].name,
                    in_channels=layers[-1].out_channels,
                    size=layers[-1].output_size,
                    kernel=values[f"{group}.kernel"],
                    channels=self.channels(block, values[f"{group}.width"]),
                    expansion=expansion,
                    stride=stride,
                    expand_bits=values[self.gene_name(group, "expand_bits")] if expansion > 1 else 0,
                    depthwise_bits=values[self.gene_name(group, "depthwise_bits")],
                    project_bits=values[self.gene_name(group, "project_bits")],
                    activation_bits=self.activation_bits,
                    smallest_bits=min(self.bits.values) if self.nested else None,
                )
                stride = 1
        last_conv = self._last_conv(layers[-1], values["last_conv.filters"], stride, values["last_conv.bits"])
        head = [
            layer
            if layer.kind == "float"
            else dataclasses.replace(layer, **self._widths("dense", values["dense.bits"]))
            for layer in self.head(last_conv.out_channels)
        ]
        return Network(self.input_size, self.input_channels, (*layers, last_conv, *head))

    def _widths(self, part: str, weight_bits: int) -> dict[str, int | None]:
        """Width and levels of the weights of a part that is no block."""
        nested = self.nested and part not in self.own_bits
        return {"weight_bits": weight_bits, "weight_levels": self.weight_levels(weight_bits) if nested else None}

    def _stem(self, weight_bits: int) -> Layer:
        return Layer(
            name="stem",
            kind="conv",
            kernel=self.stem.kernel,
            stride=self.stem.stride,
            in_channels=self.input_channels,
            out_channels=self.stem.filters,
            input_size=self.input_size,
            output_size=strided(self.input_size, self.stem.stride),
            **self._widths("stem", weight_bits),
            activation_bits=self.activation_bits,
            activation="relu6",
            group="stem",
        )

    def _last_conv(self, entry: Layer, filters: int, stride: int, weight_bits: int) -> Layer:
        return Layer(
            name="last_conv",
            kind="conv",
            kernel=1,
            stride=stride,
            in_channels=entry.out_channels,
            out_channels=filters,
            input_size=entry.output_size,
            output_size=strided(entry.output_size, stride),
            **self._widths("last_conv", weight_bits),
            activation_bits=self.activation_bits,
            activation="relu6",
            group="last_conv",
        )


def _gene(
    name: str, choices: Choices, part: str, conditions: tuple[tuple[str, frozenset[int | float]], ...] = ()
) -> Gene:
    return Gene(name, tuple(sorted(choices.values)), choices.seed, part, conditions)


@functools.lru_cache(maxsize=16384)  # candidates of a search share most of their bottlenecks
def _bottleneck(
    group: str,
    repetition: int,
    entry: str,
    in_channels: int,
    size: int,
    kernel: int,
    channels: int,
    expansion: int,
    stride: int,
    expand_bits: int,
    depthwise_bits: int,
    project_bits: int,
    activation_bits: int,
    smallest_bits: int | None,
) -> tuple[Layer, ...]:
    place = {"activation_bits": activation_bits, "group": group, "repetition": repetition}
    expanded, output_size = in_channels * expansion, strided(size, stride)

    def widths(bits: int) -> dict[str, int | None]:
        nested = bits and smallest_bits
        return {"weight_bits": bits, "weight_levels": levels.nested(bits, smallest_bits) if nested else None}

    expand = Layer(
        name=f"{group}_{repetition}_expand",
        kind="conv",
        kernel=1,
        stride=1,
        in_channels=in_channels,
        out_channels=expanded,
        input_size=size,
        output_size=size,
        **widths(expand_bits),
        activation="relu6",
        **place,
    )
    depthwise = Layer(
        name=f"{group}_{repetition}_depthwise",
        kind="depthwise",
        kernel=kernel,
        stride=stride,
        in_channels=expanded,
        out_channels=expanded,
        input_size=size,
        output_size=output_size,
        **widths(depthwise_bits),
        activation="relu6",
        **place,
    )
    project = Layer(
        name=f"{group}_{repetition}_project",
        kind="conv",
        kernel=1,
        stride=1,
        in_channels=expanded,
        out_channels=channels,
        input_size=output_size,
        output_size=output_size,
        **widths(project_bits),
        activation="linear",
        residual=entry if stride == 1 and in_channels == channels else None,
        **place,
    )
    return (expand, depthwise, project) if expansion > 1 else (depthwise, project)


def parse(section: Section, head: Callable[[int], tuple[Layer, ...]], bits: int | None) -> MobileNetV2Space:
    """The space that a file of this family describes; `bits` replaces all its bit choices.

    Raises:
        InputError: A key is unknown, missing or has a wrong value.
    """
    section.only(
        *("family", "name", "input", "bits", "bits_per", "levels", "activation_bits", "divisor"),
        *("stem", "blocks", "last_conv", "dense", "seed"),
    ).section("seed").only("bits")
    image = section.section("input").only("size", "channels")
    stem = section.section("stem").only("filters", "kernel", "stride", "bits", "seed")
    last_conv = section.section("last_conv").only("filters", "bits", "seed")
    dense = section.section("dense").only("bits", "seed")
    last_conv.section("seed").only("filters", "bits")
    for part in (stem, dense):
        part.section("seed").only("bits")
    bit_choices = section.choices("bits", *WEIGHT_BITS)
    if bits is not None:
        if not WEIGHT_BITS[0] <= bits <= WEIGHT_BITS[1]:
            raise InputError(f"bits: {bits} found, expected a whole number from {WEIGHT_BITS[0]} to {WEIGHT_BITS[1]}")
        bit_choices = Choices((bits,), bits)

    parts = {"stem": stem, "last_conv": last_conv, "dense": dense}
    own_bits = {name: part.choices("bits", *WEIGHT_BITS) for name, part in parts.items() if "bits" in part.values}
    return MobileNetV2Space(
        name=section.text("name"),
        input_size=image.integer("size", 1),
        input_channels=image.integer("channels", 1),
        head=head,
        stem=Stem(stem.integer("filters", 1), stem.integer("kernel", 1), stem.integer("stride", 1, default=1)),
        blocks=tuple(_block(block) for block in section.sections("blocks")),
        last_filters=last_conv.choices("filters", 1),
        bits=bit_choices,
        shared_bits=_shared(section),
        own_bits=own_bits if bits is None else {},
        nested=_nested(section, bit_choices) and bits is None,
        activation_bits=section.integer("activation_bits", *ACTIVATION_BITS, default=8),
        divisor=section.integer("divisor", 1, default=1),
    )


def _shared(section: Section) -> bool:
    found = section.values.get("bits_per", "layer")
    if found not in ("layer", "block"):
        raise section.error("bits_per", f"{found!r} found, expected layer or block")
    return found == "block"


def _nested(section: Section, bits: Choices) -> bool:
    found = section.values.get("levels", "full")
    if found not in ("full", "nested"):
        raise section.error("levels", f"{found!r} found, expected full or nested")
    smallest = min(bits.values)
    unfit = [width for width in bits.values if not levels.doubles(width, smallest)]
    if found == "nested" and unfit:
        raise section.error(
            "bits",
            f"{unfit[0]} found, expected {smallest} times a power of 2, as `levels: nested` has grids in one another",
        )
    return found == "nested"


def _block(section: Section) -> Block:
    searched = ("kernel", "width", "expansion", "repetitions")
    section.only("channels", "stride", *searched, "seed").section("seed").only(*searched)
    repetitions = section.choices("repetitions", 0)
    if max(repetitions.values) == 0:
        raise section.error("repetitions", "only 0 found, expected a choice above 0, or the block left out")
    return Block(
        channels=section.integer("channels", 1),
        stride=section.integer("stride", 1, default=1),
        kernel=section.choices("kernel", 1),
        width=section.choices("width", 0, real=True),
        expansion=section.choices("expansion", 1),
        repetitions=repetitions,
    )
