"""The float end of a model, converted by TensorFlow, to be appended to a LiteRT file of ours."""

import keras
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from bompnas.errors import NotExportableError


def convert(tail: keras.Model) -> schema.ModelT:
    """A float model as a LiteRT file that can be merged into another.

    Args:
        tail: With one input and one output.

    Returns:
        A file of builtin operators in one subgraph.

    Raises:
        NotExportableError: TensorFlow cannot express it in LiteRT's builtin operators.
    """
    try:
        data = tf.lite.TFLiteConverter.from_keras_model(tail).convert()
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise NotExportableError(tail.name, f"TensorFlow cannot convert it to LiteRT: {reason}") from error
    model = schema.ModelT.InitFromPackedBuf(data)
    if len(model.subgraphs) != 1:
        raise NotExportableError(tail.name, "it has loops or branches, which LiteRT keeps in subgraphs of their own")
    return model
