"""Settings of HQNAS, `method: {name: hqnas, ...}` of an experiment."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from bompnas.experiment import files
from bompnas.experiment.sections import LocatedSettings, Positive, Share

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


def _existing_file(value: str | None, info: ValidationInfo) -> str | None:
    if value is not None and files.find(value, info.context).is_dir():
        raise ValueError(f"expected the supernet.npz of a run; {value} is a folder")
    return value


class HqnasSettings(LocatedSettings):
    """How the supernet's thresholds are learned; its weights are trained as the section `training` says.

    Attributes:
        name: `hqnas`.
        accuracy_threshold: Acc_the of Algorithm 1, a fraction.
        cost_threshold: Lat_the of eq. (3), in the cost's own unit.
        cost: What stands for Lat(s): any cost that is known before training, `latency_ms` as a rule.
        cost_weight: mu of eq. (2); the accuracy's nu is 1 - mu.
        units: What eq. (2) adds up: `absolute`, percent and the cost's unit, as in the paper; or `relative`, both in
            percent of their thresholds.
        slope: What counts of a value beyond its threshold, eq. (3).
        warm_up: First epochs, in which subsets of the kernels are dropped and the thresholds rest.
        samples: N of Algorithm 1, networks to estimate one gradient from.
        threshold_learning_rate: Of Adam on the thresholds.
        reward_images: Share or number of the training images that the thresholds learn from, not the weights.
        candidates: How many of the networks sampled last become candidates beside the one that the thresholds decide.
        weights: What the final training begins with: `fresh` weights, or those `inherited` from the supernet.
        checkpoint: `supernet.npz` of an earlier run, from which the search goes on; None to begin anew.
        literal: Equations (3), (7) and (8) as they are printed, misprints included.
    """

    name: Literal["hqnas"]
    accuracy_threshold: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    cost_threshold: Positive
    cost: str = "latency_ms"
    cost_weight: Fraction = 0.5
    units: Literal["absolute", "relative"] = "absolute"
    slope: Fraction = 0.5
    warm_up: Annotated[int, Field(ge=0)] = 20
    samples: Annotated[int, Field(ge=2)] = 8
    threshold_learning_rate: Positive = 0.02
    reward_images: Share = 0.5
    candidates: Annotated[int, Field(ge=0)] = 10
    weights: Literal["fresh", "inherited"] = "fresh"
    checkpoint: Annotated[str | None, AfterValidator(_existing_file)] = None
    literal: bool = False

    @property
    def checkpoint_file(self) -> Path | None:
        """The absolute path of the checkpoint."""
        return None if self.checkpoint is None else files.find(self.checkpoint, self._directory)

    @property
    def resolved(self) -> dict[str, Path]:
        """The checkpoint's key with its absolute path, if there is one."""
        return {} if self.checkpoint_file is None else {"checkpoint": self.checkpoint_file}
