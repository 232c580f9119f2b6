"""The float end of a model, converted by TensorFlow, to be appended to a LiteRT file of ours."""

import contextlib
import io

import keras
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from bompnas.errors import NotExportableError


def convert(tail: keras.Model) -> schema.ModelT:
    """A float model as a LiteRT file that can be merged into another.

    Args:
        tail: With one input and one output.

    Returns:
        A file of builtin operators in one subgraph; its output is called as the last layer.

    Raises:
        NotExportableError: TensorFlow cannot express it in LiteRT's builtin operators; or it has several outputs, or
            loops or branches, which LiteRT keeps in subgraphs of their own.
    """
    last = tail.layers[-1].name
    if len(tail.inputs) != 1 or len(tail.outputs) != 1:
        raise NotExportableError(
            last, f"expected one input and one output, found {len(tail.inputs)} and {len(tail.outputs)}"
        )
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # Keras prints the signature of what it hands over
            data = tf.lite.TFLiteConverter.from_keras_model(tail).convert()
    except Exception as error:  # the converter's errors have no class of their own
        reason = str(error).strip().splitlines()[0]
        raise NotExportableError(last, f"TensorFlow cannot convert it to LiteRT: {reason}") from error
    model = schema.ModelT.InitFromPackedBuf(data)
    if len(model.subgraphs) != 1:
        raise NotExportableError(last, "it, or a layer before it, has loops or branches")
    (graph,) = model.subgraphs
    graph.tensors[graph.outputs[0]].name = last
    return model
