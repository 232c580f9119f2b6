"""The sections of an experiment file, each a frozen pydantic model that refuses unknown keys."""

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, ValidationInfo

from bompnas.errors import InputError
from bompnas.experiment import files
from bompnas.experiment.errors import describe, unknown
from bompnas.hardware.model import Quantity
from bompnas.hardware.quantities import OBJECTIVES, named
from bompnas.objectives import Objective


def check_share(value: Any) -> int | float:
    """A part of the images to hold out: the value itself.

    Raises:
        InputError: It is neither a fraction between 0 and 1 nor a whole number from 1.
    """
    if isinstance(value, float) and 0 < value < 1:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise InputError(
        f"expected a fraction between 0 and 1, or a number of images, to hold out; found {describe(value)}"
    )


def check_classes(value: Any) -> int | tuple[str, ...]:
    """Which classes of the data to use: how many of the first ones, or their names, whole numbers as text.

    Raises:
        InputError: It is neither, or these are fewer than 2, or one is named twice.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 2:
        return value
    names = value if isinstance(value, list | tuple) else ()
    wrong = [name for name in names if not isinstance(name, str | int) or isinstance(name, bool)]
    if wrong:
        raise InputError(f"expected names of classes; found {describe(wrong[0])}; put it in quotes if it is a name")
    texts = tuple(map(str, names))
    twice = [name for name in texts if texts.count(name) > 1]
    if twice:
        raise InputError(f"expected different classes; found {twice[0]!r} twice")
    if len(texts) < 2:
        raise InputError(
            f"expected how many classes to use, or a list of their names, and at least 2; found {describe(value)}"
        )
    return texts


def _interval(value: Any) -> tuple[float, float]:
    if isinstance(value, list | tuple) and len(value) == 2:
        numbers = [number for number in value if isinstance(number, int | float) and not isinstance(number, bool)]
        if len(numbers) == 2 and all(map(math.isfinite, numbers)) and numbers[0] < numbers[1]:
            return float(numbers[0]), float(numbers[1])
    raise ValueError(f"expected the pixel values of black and of white, such as [0.0, 1.0]; found {describe(value)}")


def _workers(value: Any) -> int | str:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError(f"expected a whole number from 1, or auto; found {describe(value)}")


Share = Annotated[int | float, PlainValidator(check_share)]
Classes = Annotated[int | tuple[str, ...], BeforeValidator(check_classes)]
Interval = Annotated[tuple[float, float], PlainValidator(_interval)]
Workers = Annotated[int | Literal["auto"], PlainValidator(_workers)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Schedule = Literal["constant", "cosine"]


class Settings(pydantic.BaseModel):
    """What all parts of an experiment share: frozen, no unknown keys, no silent conversion of types."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)


class LocatedSettings(Settings):
    """Settings with a path in them: they remember the folder that relative paths start from."""

    _directory: Path = pydantic.PrivateAttr(default_factory=Path.cwd)

    def model_post_init(self, context: Any) -> None:
        """Keeps the folder given as the validation's context."""
        if context is not None:
            self._directory = context

    @property
    def resolved(self) -> dict[str, Any]:
        """Keys whose values have to be resolved, with what they stand for: of files absolute `Path`s."""
        return {}


class DataSettings(LocatedSettings):
    """Where the images come from and how they are split.

    Attributes:
        dataset: Built-in data set, `npz` or `folder`.
        path: File of arrays (`npz`; optional for the CIFARs) or folder with one subfolder per class, as given.
        validation: Share or number of images held out to score candidates.
        test: The same for the final numbers, where the data has no test part of its own; 0.2 if not given.
        train_images: Shortens the training part to so many images.
        range: Pixel values of black and white, for images that are neither 0..255 nor 0..1.
        stream: Whether a folder's images stay in their files and are decoded when they are needed.
        classes: Number of the first classes to use, or names of some; None for all.
    """

    dataset: Literal["digits", "cifar10", "cifar100", "npz", "folder"]
    path: str | None = Field(None, validate_default=True)
    validation: Share = 0.2
    test: Share | None = None
    train_images: Count | None = None
    range: Interval | None = None
    stream: bool = False
    classes: Classes | None = None

    @property
    def file(self) -> Path | None:
        """The absolute path of the file or folder, or None where none is given."""
        return None if self.path is None else files.find(self.path, self._directory)

    @pydantic.field_validator("path")
    @classmethod
    def _path_fits(cls, path: str | None, info: ValidationInfo) -> str | None:
        dataset = info.data.get("dataset")
        if path is None:
            if dataset in ("npz", "folder"):
                content = {"npz": "an .npz file", "folder": "a folder with one subfolder per class"}[dataset]
                raise ValueError(f"this key is missing; dataset {dataset} needs the path of {content}")
            return None
        if dataset == "digits":
            raise ValueError("dataset digits comes with scikit-learn and has no path; remove it, or use dataset npz")
        found = files.find(path, info.context)
        if dataset == "folder" and not found.is_dir():
            raise ValueError(f"expected a folder with one subfolder per class; {path} is a file")
        if dataset in ("npz", "cifar10", "cifar100") and not found.is_file():
            raise ValueError(f"expected an .npz file; {path} is a folder")
        return path

    @pydantic.field_validator("test")
    @classmethod
    def _test_is_free(cls, test: int | float | None, info: ValidationInfo) -> int | float | None:
        dataset = info.data.get("dataset")
        if test is not None and dataset in ("cifar10", "cifar100"):
            raise ValueError(f"{dataset} has a test part of its own; remove this key")
        return test

    @pydantic.field_validator("range")
    @classmethod
    def _range_is_free(cls, interval: tuple | None, info: ValidationInfo) -> tuple | None:
        dataset = info.data.get("dataset")
        if interval is not None and dataset in ("digits", "folder"):
            raise ValueError(f"the range of dataset {dataset} is known; remove this key")
        return interval

    @pydantic.field_validator("stream")
    @classmethod
    def _stream_is_of_files(cls, stream: bool, info: ValidationInfo) -> bool:
        dataset = info.data.get("dataset")
        if stream and dataset not in (None, "folder"):
            raise ValueError(f"only the image files of dataset folder can be streamed, not {dataset}; remove this key")
        return stream


class TrainingSettings(Settings):
    """The early training of a trial: what a candidate gets before it is scored."""

    epochs: Count = 20
    qaft_epochs: Count = 1
    batch_size: Count = 64
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: Positive = 0.01
    qaft_learning_rate: Positive = 0.001
    schedule: Schedule = "cosine"
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    augmentation: Literal["none", "shift", "standard"] = "none"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"


class FinalSettings(Settings):
    """The final training of the Pareto front; batch size, optimizer and augmentation are those of the trials."""

    epochs: Count = 200
    qaft_epochs: Count = 5
    learning_rate: Positive = 0.01
    qaft_learning_rate: Positive = 0.001
    schedule: Schedule = "cosine"


class QuantizationSettings(Settings):
    """How trials and finally trained networks are quantized.

    Attributes:
        mode: `qaft` fine-tunes quantized networks in the trial, `ptq` only quantizes them, `none` scores float networks
            of 32-bit size and quantizes afterwards.
        bits: One weight width for all layers instead of the space's bit genes [bits]; 8 if the mode is `none`.
        final: `qaft` or `ptq` of the finally trained networks.
    """

    mode: Literal["qaft", "ptq", "none"] = "qaft"
    bits: int | None = Field(default_factory=lambda settings: 8 if settings.get("mode") == "none" else None)
    final: Literal["qaft", "ptq"] = Field(
        default_factory=lambda settings: "qaft" if settings.get("mode") == "qaft" else "ptq"
    )

    @pydantic.field_validator("bits")
    @classmethod
    def _deployable(cls, bits: int | None, info: ValidationInfo) -> int | None:
        if bits is None and info.data.get("mode") == "none":
            raise ValueError("expected 2 to 16 bits, because mode none searches no bits; found nothing")
        if bits is not None and not 2 <= bits <= 16:
            raise ValueError(f"expected 2 to 16 bits; found {bits}")
        return bits


class ExportSettings(Settings):
    """The files that are made of the finally trained networks; no part of what a run is, so they may change later.

    Attributes:
        format: `tflite` writes LiteRT and packed files and checks them, `none` writes nothing.
        io: What a LiteRT file takes and gives: `int8`, or `float` with the conversions inside.
        int4: Whether 4-bit weights are stored as INT4, which is smaller, slower and not exact.
        float_head: Whether layers at the end that integers cannot express stay in float.
    """

    format: Literal["tflite", "none"] = "tflite"
    io: Literal["int8", "float"] = "int8"
    int4: bool = False
    float_head: bool = False


def _gpus(value: float) -> float:
    if value > 1 and not value.is_integer():
        raise ValueError(f"expected a whole number, or a fraction of one GPU below 1; found {value:g}")
    return value


class ClusterSettings(Settings):
    """Machines that trials run on.

    Attributes:
        engine: What connects them.
        address: Of a running cluster; `auto` finds the one that this machine belongs to, `local` starts one on it.
        cpus: Cores of a trial.
        gpus: GPUs of a trial; a fraction lets trials share one.
        memory_gb: Memory that is set aside for a trial [GB]; None for none.
    """

    engine: Literal["ray"] = "ray"
    address: str = "auto"
    cpus: Positive = 1.0
    gpus: Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(_gpus)] = 0.0
    memory_gb: Positive | None = None


METRICS = {
    "accuracy": Objective("accuracy", "val_accuracy", 1.0, maximize=True, share=True),
    "loss": Objective("loss", "val_loss", 1.0, maximize=False),
    "mae": Objective("mae", "val_mae", 1.0, maximize=False),
    "mse": Objective("mse", "val_mse", 1.0, maximize=False),
}
"""What heads measure, as objectives; the references are replaced by the user's."""


class ObjectiveSettings(Settings):
    """One objective: its reference in eq. (1), and its direction and transform where they differ from the usual."""

    reference: Positive
    direction: Literal["maximize", "minimize"] | None = None
    transform: Literal["log10", "identity"] | None = None

    def objective(self, name: str, of_float: bool = False, told: Iterable[Quantity] = ()) -> Objective:
        """The objective of that name.

        Args:
            name: A metric, what experiments call a cost, or a cost's own name.
            of_float: Whether the 32-bit float network is scored: then its metrics and its size. All other costs stay
                those of the quantized network, which alone runs on devices.
            told: What the device tells of.

        Raises:
            ValueError: The transform has no meaning for it.
        """
        metric, finest = METRICS.get(name), None
        if metric is None:
            quantity = named(OBJECTIVES.get(name, name), told)
            metric, finest = Objective(name, quantity.name, 1.0, maximize=False), quantity.finest
        maximize = metric.maximize if self.direction is None else self.direction == "maximize"
        if maximize and self.transform is not None:
            raise ValueError(f"{name} is maximized and takes no transform; remove the transform")
        if self.transform == "log10" and finest is None:
            where = "can be 1 or less" if name in METRICS else "has no unit in which it is known to stay above 1"
            raise ValueError(f"{name} {where}, where log10 is not positive; use the transform identity")
        transform = self.transform or ("log10" if finest is not None and not maximize else "identity")
        key = f"float_{metric.key}" if of_float and (name in METRICS or name == "size") else metric.key
        factor = float(finest) if transform == "log10" else 1.0
        return Objective(name, key, self.reference, maximize, transform, metric.share, factor)


MEASURED = {"classification": ("accuracy", "loss"), "regression": ("loss", "mae", "mse")}
IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def _head_class(value: str) -> str:
    if value not in MEASURED and not IMPORT_PATH.fullmatch(value):
        raise ValueError(f"{unknown('head', value, MEASURED)}, or an import path such as my_package.heads:MyHead")
    return value


class HeadSettings(Settings):
    """What turns features into the task's output.

    Attributes:
        class_: `classification`, `regression` or an import path `module:name`; the key in a file is `class`.
        arguments: Keyword arguments of the class.
        features: Whether the head gets the pooled features or the feature map.
        loss: Name of a Keras loss, in place of the head's own.
    """

    model_config = pydantic.ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    class_: Annotated[str, AfterValidator(_head_class)] = Field("classification", alias="class")
    arguments: dict[str, Any] = Field(default={})
    features: Literal["pooled", "map"] = "pooled"
    loss: str | None = None

    @pydantic.field_validator("arguments")
    @classmethod
    def _arguments_are_read(cls, arguments: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        head = info.data.get("class_")
        if arguments and head in MEASURED:
            raise ValueError(f"the {head} head takes no arguments; remove this key, or name a head of your own")
        return arguments
