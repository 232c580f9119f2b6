import pickle
import resource

import numpy as np
import pytest
from PIL import Image

from bompnas.training import image_files
from bompnas.trials.executors.shared import Mapped


def test_a_data_set_that_finds_no_space_is_told_of_with_its_size_and_the_remedy(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"train_images.npy: 3 MB cannot be written \(.*TMPDIR"):
            Mapped.write({"train": (np.zeros(3_000_000, np.uint8), np.zeros(3, np.uint8))}, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_of_images_in_files_only_their_list_is_written(tmp_path):
    scratch = tmp_path / "scratch"
    for folder in (tmp_path / "images" / "cats", tmp_path / "others" / "cats", scratch):
        folder.mkdir(parents=True)
    for number in range(5):
        Image.new("L", (4, 4), 20 * number).save(tmp_path / "images" / "cats" / f"{number}.png")
    Image.new("L", (4, 4), 255).save(tmp_path / "others" / "cats" / "0.png")
    images, labels, _ = image_files.find(tmp_path / "images", 64, 1)
    others, few, _ = image_files.find(tmp_path / "others", 64, 1)
    read = np.zeros((2, 64, 64, 1), np.uint8)
    mapped = Mapped.write({"train": (images, labels), "validation": (read, few), "test": (others, few)}, scratch)
    assert (scratch / "train_images.npy").stat().st_size < 500
    assert len(pickle.dumps(mapped)) < 1000
    arrays = pickle.loads(pickle.dumps(mapped)).load()
    np.testing.assert_array_equal(arrays["train"][0][:], images[:])
    np.testing.assert_array_equal(arrays["train"][1], labels)
    np.testing.assert_array_equal(arrays["validation"][0], read)
    assert (arrays["test"][0][:] == 255).all()
