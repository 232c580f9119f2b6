import io
import pickle

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bompnas.errors import InputError
from bompnas.networks.heads import HeadSource
from bompnas.supernet import checkpoint
from bompnas.supernet.chains import Chain, Chains
from bompnas.supernet.checkpoint import Knowledge
from bompnas.supernet.single_path import Supernet

CHAINS = Chains((Chain("block1.kernel", (3, 5)), Chain("block1.bits", (16, 8, 4), sign=-1)))
SHAPES = {
    "block1_1_depthwise/kernel": (5, 5, 8, 1),
    "block1_1_depthwise_normalization/gamma": (8,),
    "head_dense/kernel": (8, 3),
    "head_dense/bias": (3,),
}


def knowledge(classes=("a", "b", "c"), shapes=SHAPES, chains=CHAINS):
    generator = np.random.default_rng(len(classes))
    arrays = {name: generator.normal(1, 2, shape).astype(np.float32) for name, shape in shapes.items()}
    return Knowledge(
        arrays, checkpoint.decisions(chains), generator.normal(size=chains.gates), tuple(classes), (0,) * len(classes)
    )


def of_classes(count, shapes=SHAPES):
    """Shapes of a head of another number of classes."""
    return {name: (*shape[:-1], count) if name.startswith("head") else shape for name, shape in shapes.items()}


# --- Files ------------------------------------------------------------------------------------------------------------


def equal(one, other):
    return (
        one.arrays.keys() == other.arrays.keys()
        and all(np.array_equal(one.arrays[name], other.arrays[name]) for name in one.arrays)
        and one.decisions == other.decisions
        and (one.classes, one.searches) == (other.classes, other.searches)
        and np.array_equal(one.thresholds, other.thresholds)
    )


def test_a_file_gives_back_what_was_learned(tmp_path):
    known = knowledge(("nut", "0", "Schraube ⌀"))
    file = tmp_path / "supernet.npz"
    file.write_bytes(checkpoint.pack(known))
    found = checkpoint.read(file)
    assert equal(found, known)
    assert list(found.arrays) == list(known.arrays)
    assert found.decisions == ("block1.kernel: 3, 5", "block1.bits: 16, 8, 4")
    assert {array.dtype for array in found.arrays.values()} == {np.dtype(np.float32)}


@settings(deadline=None, max_examples=300)
@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_file_is_refused_or_harmless(place, change, cut):
    content = bytearray(checkpoint.pack(knowledge()))
    position = int(place * len(content))
    if cut:
        del content[position:]
    else:
        content[position] ^= change
    found = error = None
    try:
        found = checkpoint.unpack(bytes(content), "here")
    except InputError as caught:
        error = str(caught)
    if error is not None:
        assert error.startswith("here: not a supernet's checkpoint, or a damaged one (")
    else:
        assert not cut
        assert equal(found, knowledge())


def changed(**entries):
    """A checkpoint's content with some of its arrays replaced, those of None left out."""
    with np.load(io.BytesIO(checkpoint.pack(knowledge()))) as archive:
        content = dict(archive)
    content |= {name.replace("weights_", "weights/"): array for name, array in entries.items()}
    file = io.BytesIO()
    np.savez(file, **{name: array for name, array in content.items() if array is not None})
    return file.getvalue()


def of_npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


NO_CHECKPOINTS = [
    (b"", "no .npz file, or one cut short"),
    (b"block1.kernel: 3, 5", "no .npz file, or one cut short"),
    (pickle.dumps({"format": 1}), "no .npz file, or one cut short"),
    (of_npy(np.zeros(3)), "no .npz file, or one cut short"),
    (changed(thresholds=np.array([{}, {}, {}])), "Object arrays cannot be loaded when allow_pickle=False"),
    (changed(format=None), "format is not a file in the archive"),
    (changed(thresholds=None), "thresholds is not a file in the archive"),
    (changed(format=np.zeros(2)), "not a supernet's checkpoint"),
    (changed(format=np.asarray("new")), "invalid literal for int"),
    (changed(thresholds=np.zeros(2)), "thresholds of shape (2,) for 3 gates"),
    (changed(thresholds=np.array([0.0, np.nan, 0.0])), "thresholds are not finite numbers"),
    (changed(weight=np.zeros(2)), "there is no weight in a checkpoint"),
    (changed(weights_block=np.array([1.0, np.inf])), "block are not finite numbers"),
    (changed(weights_block=np.array(["a"])), "block are not finite numbers"),
    (changed(classes=np.arange(3)), "classes are no names"),
    (changed(searches=np.zeros(2, int)), "searches of shape (2,) for 3 classes"),
    (changed(searches=np.zeros(3)), "searches of shape (3,) for 3 classes"),
    (changed(searches=np.zeros(0, int), classes=np.zeros(0, str)), "searches of shape (0,) for 0 classes"),
    (changed(decisions=np.array([["a: 1, 2"]])), "decisions are no names"),
]


@pytest.mark.parametrize(("content", "reason"), NO_CHECKPOINTS)
def test_what_is_no_checkpoint(content, reason):
    with pytest.raises(InputError) as caught:
        checkpoint.unpack(content, "method.checkpoint: mine.npz")
    message = str(caught.value)
    assert message.startswith("method.checkpoint: mine.npz: not a supernet's checkpoint, or a damaged one (")
    assert reason in message
    assert message.endswith("); expected the supernet.npz of a run")


def test_a_newer_format_asks_for_a_newer_version():
    content = changed(format=np.asarray(checkpoint.FORMAT + 1), decisions=None)
    with pytest.raises(InputError, match=r"^here: format 2 is newer than this version's 1; upgrade bompnas$"):
        checkpoint.unpack(content, "here")


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"^here: cannot be read \(No such file or directory\)$"):
        checkpoint.read(tmp_path / "supernet.npz", "here")


# --- What fits --------------------------------------------------------------------------------------------------------


def test_more_classes_fit_in_any_order():
    for classes in (("a", "b", "c"), ("c", "a", "b"), ("x", "c", "b", "y", "a")):
        checkpoint.check(knowledge(), CHAINS, of_classes(len(classes)), classes)


OTHER_CHAINS = [
    (Chain("block1.kernel", (1, 5)), "found block1.kernel: 3, 5, expected block1.kernel: 1, 5"),
    (Chain("block1.kernel", (3, 5, 7)), "found block1.kernel: 3, 5, expected block1.kernel: 3, 5, 7"),
    (Chain("block2.kernel", (3, 5)), "found block1.kernel: 3, 5, expected block2.kernel: 3, 5"),
]


@pytest.mark.parametrize(("chain", "message"), OTHER_CHAINS)
def test_another_space_does_not_fit(chain, message):
    chains = Chains((chain, *CHAINS.chains[1:]))
    with pytest.raises(InputError, match=f"^method.checkpoint: it is of another search space; {message}$"):
        checkpoint.check(knowledge(), chains, SHAPES, ("a", "b", "c"))


def test_blocks_that_are_gone_or_in_another_order_do_not_fit():
    with pytest.raises(InputError, match=r"found block1\.bits: 16, 8, 4, expected another order of blocks$"):
        checkpoint.check(knowledge(), Chains(CHAINS.chains[:1]), SHAPES, ("a", "b", "c"))
    with pytest.raises(InputError, match=r"found another order of blocks, expected another"):
        checkpoint.check(knowledge(), Chains(CHAINS.chains[::-1]), SHAPES, ("a", "b", "c"))


def test_a_class_that_is_gone_does_not_fit():
    with pytest.raises(InputError, match=r"^here: it knows class 'b', which the data does not have; expected all of "):
        checkpoint.check(knowledge(), CHAINS, of_classes(4), ("a", "c", "d", "e"), "here")


OTHER_SHAPES = [
    (
        {"block1_1_depthwise/kernel": (5, 5, 16, 1)},
        "it has block1_1_depthwise/kernel of shape (5, 5, 8, 1), this search block1_1_depthwise/kernel of shape "
        "(5, 5, 16, 1); expected a checkpoint of the same channels and kernels",
    ),
    (
        {"head_dense/kernel": (12, 4), "head_dense/bias": (4,)},
        "it has head_dense/kernel of shape (8, 3), this search head_dense/kernel of shape (12, 4); expected a "
        "checkpoint of the same head",
    ),
    (
        {"head_dense_2/kernel": (4, 4)},
        "it has head_dense/kernel of shape (8, 3), this search head_dense/kernel of shape (8, 4); expected a",
    ),
    ({"head_dense/scale": (1,)}, "it has no head_dense/scale, this search head_dense/scale of shape (1,); expected a"),
]


@pytest.mark.parametrize(("changes", "message"), OTHER_SHAPES)
def test_other_shapes_do_not_fit(changes, message):
    with pytest.raises(InputError) as caught:
        checkpoint.check(knowledge(), CHAINS, {**of_classes(4), **changes}, tuple("abcd"), "here")
    assert str(caught.value).startswith(f"here: {message}")


def test_a_head_with_further_weights_does_not_fit():
    known = knowledge(shapes={**SHAPES, "head_dense_2/bias": (3,)})
    with pytest.raises(InputError, match=r"it has head_dense_2/bias of shape \(3,\), this search no head"):
        checkpoint.check(known, CHAINS, SHAPES, ("a", "b", "c"))


# --- The head grows ---------------------------------------------------------------------------------------------------


def test_known_classes_keep_their_outputs_and_new_ones_are_like_them():
    shapes, old = of_classes(4000), knowledge()
    classes = ("x", "c", "b", *map(str, range(3996)), "a")
    found = checkpoint.grown(old, shapes, classes, np.random.default_rng(0))
    again = checkpoint.grown(old, shapes, classes, np.random.default_rng(0))
    places = [classes.index(name) for name in old.classes]
    assert list(found) == list(shapes)
    for name, array in found.items():
        assert array.shape == shapes[name]
        assert array.dtype == np.float32
        assert np.array_equal(array, again[name])
        kept = array[..., places] if name.startswith("head") else array
        assert np.array_equal(kept, old.arrays[name])
    new = [place for place in range(4000) if place not in places]
    assert np.unique(found["head_dense/bias"][new]) == old.arrays["head_dense/bias"].mean()
    outputs = found["head_dense/kernel"][:, new]
    assert outputs.std() == pytest.approx(old.arrays["head_dense/kernel"].std(), rel=0.02)
    assert abs(outputs.mean()) < 0.05


def test_the_same_classes_in_another_order():
    found = checkpoint.grown(knowledge(), SHAPES, ("b", "c", "a"), np.random.default_rng(0))
    for name in ("head_dense/kernel", "head_dense/bias"):
        assert np.array_equal(found[name], knowledge().arrays[name][..., [1, 2, 0]])


class OwnHead:
    """Hidden units, once as many as classes, then outputs by a convolution with a normalization of their own."""

    loss = "sparse_categorical_crossentropy"

    def __init__(self, classes):
        self.classes = classes

    def build(self, hp, inputs):
        hidden = keras.layers.Dense(4, activation="relu")(inputs)
        outputs = keras.layers.Conv2D(self.classes, 1)(hidden)
        outputs = keras.layers.BatchNormalization()(outputs)
        return keras.layers.Softmax()(keras.layers.GlobalAveragePooling2D()(outputs))


def supernet_of(small, source):
    keras.utils.set_random_seed(source.outputs)
    return Supernet(small, source.head())


@pytest.mark.parametrize(
    "source",
    [
        lambda classes: HeadSource("classification", classes),
        lambda classes: HeadSource(OwnHead(classes), classes, features="map"),
    ],
    ids=["dense", "own"],
)
def test_a_grown_supernet_tells_known_classes_apart_as_before(small, images, source):
    old_classes, classes = ("a", "b", "c"), ("c", "x", "a", "b")
    before, after = supernet_of(small, source(3)), supernet_of(small, source(4))
    known = Knowledge(
        before.arrays, checkpoint.decisions(small.chains), np.zeros(small.chains.gates), old_classes, (0,) * 3
    )
    checkpoint.check(known, small.chains, after.shapes, classes)
    after.restore(checkpoint.grown(known, after.shapes, classes, np.random.default_rng(0)))
    gates = np.ones(small.chains.gates, np.float32)
    old, new = (np.asarray(each((images, gates), training=True)) for each in (before, after))
    new = new[:, [classes.index(name) for name in old_classes]]
    if source(3).given != "classification":  # behind a softmax the ratios are kept
        old, new = (np.log(each) - np.log(each[:, :1]) for each in (old, new))
    np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-4)
