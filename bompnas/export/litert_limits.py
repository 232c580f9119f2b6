"""What LiteRT cannot hold, or does not compute exactly with its default kernels.

XNNPACK leaves operators that it does not take to kernels that round twice, without a word; the limits here are those
beyond which it does so.
"""

from bompnas.errors import NotExportableError
from bompnas.export.graph import IntegerGraph, Linear


def check(graph: IntegerGraph):
    """Refuses a graph whose file would not compute what the graph does.

    Raises:
        NotExportableError: Names the first such layer.
    """
    for operation in graph.operations:
        if isinstance(operation, Linear) and operation.bits > 8:
            raise NotExportableError(
                operation.name, f"LiteRT holds weights of up to 8 bits, this layer's have {operation.bits}"
            )
