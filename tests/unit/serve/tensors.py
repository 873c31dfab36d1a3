"""Arrays of every datatype of the protocol, and what makes two of them the same."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serve.protocol import Datatype

SHAPES = hnp.array_shapes(max_dims=3, max_side=4)


@st.composite
def arrays(draw):
    datatype = draw(st.sampled_from(list(Datatype)))
    shape = draw(SHAPES)
    if datatype is Datatype.BYTES:
        texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
        return draw(hnp.arrays(object, shape, elements=texts))
    return draw(hnp.arrays(datatype.dtype, shape))


def same(received, array):
    assert received.dtype == array.dtype
    assert received.shape == array.shape
    if array.dtype.kind == "f":
        np.testing.assert_array_equal(received, array)
    else:
        assert (received == array).all()
