import itertools

import numpy as np
import pytest
from ai_edge_litert import interpreter as runtime
from ai_edge_litert import schema_py_generated as schema

from bompnas.export import litert_file


def buffers(data):
    """Content and place of each buffer that has one."""
    model = schema.Model.GetRootAs(data)
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if not buffer.DataIsNone():
            table = buffer._tab
            yield buffer.DataAsNumpy(), table.Vector(table.Offset(4))


@pytest.fixture
def file():
    return litert_file.LiteRTFile()


def finished(file):
    source, result = (file.activation(name, (3,)) for name in ("source", "result"))
    return file.finish(source, file.operator("ABS", 1, [source], result))


def test_files_have_the_identifier_and_run(file):
    data = finished(file)
    assert data[4:8] == litert_file.IDENTIFIER
    interpreter = runtime.Interpreter(model_content=data)
    interpreter.allocate_tensors()
    assert interpreter.get_input_details()[0]["shape_signature"].tolist() == [-1, 3]


def test_data_can_be_read_in_place(file):
    for size in range(1, 40):
        file.constant(f"constant_{size}", np.arange(size, dtype=np.int8))
    places = [place for _, place in buffers(finished(file))]
    assert len(places) == 39
    assert not any(place % litert_file.ALIGNMENT for place in places)


@pytest.mark.parametrize("dtype", ["float32", "int8", "int32"])
def test_constants_keep_their_type_shape_and_values(file, dtype):
    values = np.arange(-6, 6).reshape(2, 3, 2).astype(dtype)
    index = file.constant("constant", values)
    data = finished(file)
    interpreter = runtime.Interpreter(model_content=data)
    interpreter.allocate_tensors()
    found = interpreter.get_tensor(index)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, values)


def test_nibbles_fill_bytes_from_their_low_half(file):
    file.nibbles("weights", np.array([[1, -1, 7], [-8, 0, 5], [2, -7, 3]]), schema.QuantizationParametersT())
    ((content, _),) = buffers(finished(file))
    assert content.tolist() == [0xF1, 0x87, 0x50, 0x92, 0x03]


def test_operators_of_one_version_share_a_code(file):
    tensors = [file.activation(name, (3,)) for name in "abcd"]
    for version, (source, result) in zip((1, 1, 2), itertools.pairwise(tensors), strict=True):
        file.operator("ADD", version, [source, source], result, schema.AddOptionsT())
    model = schema.ModelT.InitFromPackedBuf(file.finish(tensors[0], tensors[-1]))
    assert [code.version for code in model.operatorCodes] == [1, 2]
    assert [operator.opcodeIndex for operator in model.subgraphs[0].operators] == [0, 0, 1]
