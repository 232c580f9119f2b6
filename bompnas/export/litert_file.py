"""A LiteRT flatbuffer under construction: buffers, tensors and operators of one subgraph."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import Builder

IDENTIFIER = b"TFL3"
ALIGNMENT = 16  # of constant data, in bytes: what schema.fbs asks for and the generated Python code forgets

_TYPES = {"float32": "FLOAT32", "int8": "INT8", "int32": "INT32"}


class LiteRTFile:
    """Collects tensors and operators; indices count from 0 in the order of the calls.

    Every map and vector has a batch axis of unknown length in front; constants have none.
    """

    def __init__(self):
        self._buffers = [schema.BufferT()]  # buffer 0 is that of tensors without data
        self._tensors: list[schema.TensorT] = []
        self._operators: list[schema.OperatorT] = []
        self._codes: list[schema.OperatorCodeT] = []
        self._metadata: list[schema.MetadataT] = []

    def activation(self, name: str, shape: tuple[int, ...], quantization=None) -> int:
        """Adds a tensor that is computed.

        Args:
            name: Of the tensor.
            shape: Without the batch axis.
            quantization: Parameters of an INT8 tensor; None for a FLOAT32 one.

        Returns:
            Its index.
        """
        kind = schema.TensorType.FLOAT32 if quantization is None else schema.TensorType.INT8
        return self._tensor(name, kind, [1, *shape], 0, quantization, shapeSignature=[-1, *shape])

    def constant(self, name: str, values: np.ndarray, quantization=None) -> int:
        """Adds a tensor with data, of the array's type: float32, int8 or int32."""
        kind = getattr(schema.TensorType, _TYPES[values.dtype.name])
        return self._tensor(name, kind, values.shape, self._buffer(values.tobytes()), quantization)

    def nibbles(self, name: str, values: np.ndarray, quantization) -> int:
        """Adds an INT4 tensor of integers from -8 to 7, two to a byte, the first in the low half."""
        halves = values.reshape(-1).astype(np.uint8) & 15
        halves = np.append(halves, np.zeros(halves.size % 2, np.uint8))
        packed = halves[::2] | halves[1::2] << 4
        return self._tensor(name, schema.TensorType.INT4, values.shape, self._buffer(packed.tobytes()), quantization)

    def operator(self, code: str, version: int, inputs: list[int], output: int, options=None) -> int:
        """Adds an operator.

        Args:
            code: Its name among the schema's builtin operators.
            version: Of the operator: the oldest that has what is used of it.
            inputs: Indices of tensors.
            output: Index of a tensor.
            options: Builtin options.

        Returns:
            `output`.
        """
        number = getattr(schema.BuiltinOperator, code)
        operator = schema.OperatorT(self._code(number, version), inputs, [output])
        if options is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
            operator.builtinOptions = options
        self._operators.append(operator)
        return output

    def metadata(self, name: str, content: bytes):
        """Adds a named buffer that interpreters ignore."""
        self._metadata.append(schema.MetadataT(name, self._buffer(content)))

    def merge(self, model: schema.ModelT, source: int) -> int:
        """Appends the operators of another file behind a tensor.

        Args:
            model: With one subgraph of one input and one output.
            source: Index of the tensor that becomes the other file's input.

        Returns:
            Index of the other file's output.
        """
        (graph,) = model.subgraphs
        first_tensor, first_buffer, first_code = len(self._tensors), len(self._buffers), len(self._codes)
        place = {-1: -1, **{index: first_tensor + index for index in range(len(graph.tensors))}}
        place[graph.inputs[0]] = source
        for buffer in model.buffers:
            self._buffers.append(schema.BufferT() if buffer.data is None else _AlignedBuffer(buffer.data))
        self._codes.extend(model.operatorCodes)
        for tensor in graph.tensors:
            tensor.buffer += first_buffer
            self._tensors.append(tensor)
        for operator in graph.operators:
            operator.opcodeIndex += first_code
            operator.inputs = [place[index] for index in operator.inputs]
            operator.outputs = [place[index] for index in operator.outputs]
            self._operators.append(operator)
        return place[graph.outputs[0]]

    def finish(self, source: int, result: int) -> bytes:
        """The file, from the indices of its input and its output."""
        graph = schema.SubGraphT(self._tensors, [source], [result], self._operators, "main")
        model = schema.ModelT(3, self._codes, [graph], "bompnas", self._buffers, metadata=self._metadata)
        builder = Builder(1024 + sum(0 if buffer.data is None else len(buffer.data) for buffer in self._buffers))
        builder.Finish(model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())

    def _tensor(self, name, kind, shape, buffer, quantization, **keywords) -> int:
        tensor = schema.TensorT(
            list(shape), kind, buffer, name, quantization or schema.QuantizationParametersT(), hasRank=True, **keywords
        )
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _buffer(self, content: bytes) -> int:
        self._buffers.append(_AlignedBuffer(np.frombuffer(content, np.uint8)))
        return len(self._buffers) - 1

    def _code(self, number: int, version: int) -> int:
        for index, code in enumerate(self._codes):
            if (code.builtinCode, code.version) == (number, version):
                return index
        # Old readers look at the first field, which ends at 127.
        self._codes.append(schema.OperatorCodeT(min(number, 127), None, version, number))
        return len(self._codes) - 1


class _AlignedBuffer(schema.BufferT):
    """A buffer whose data can be read in place as INT32 and by vector instructions."""

    def Pack(self, builder):  # noqa: N802
        size = len(self.data)
        builder.StartVector(1, size, ALIGNMENT)
        builder.head -= size
        builder.Bytes[builder.head : builder.head + size] = np.asarray(self.data, np.uint8).tobytes()
        data = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)
