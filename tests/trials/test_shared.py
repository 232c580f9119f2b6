import resource

import numpy as np
import pytest

from bompnas.trials.shared import Mapped


def test_a_data_set_that_finds_no_space_is_told_of_with_its_size_and_the_remedy(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"train_images.npy: 3 MB cannot be written \(.*TMPDIR"):
            Mapped.write({"train": (np.zeros(3_000_000, np.uint8), np.zeros(3, np.uint8))}, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
