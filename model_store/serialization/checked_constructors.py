"""Functions that libraries' pickles name to make an object, each behind a check of its arguments."""

from typing import Any

_TEXT_BUFFERS = 3
"""Which values are there, where each begins, and the text."""


def pandas_index(index_class: Any, state: dict[str, Any]) -> Any:
    """In the place of pandas' `_new_Index`, which would make an object of any class.

    Raises:
        TypeError: the class is not one of pandas' indexes.
    """
    from pandas import Index
    from pandas.core.indexes.base import _new_Index

    if not (isinstance(index_class, type) and issubclass(index_class, Index)):
        raise TypeError("pandas' _new_Index makes indexes only")
    return _new_Index(index_class, state)


def arrow_strings(data: tuple[Any, ...]) -> Any:
    """In the place of pyarrow's `_restore_array`, which believes what the pickle says of its buffers.

    Args:
        data: type, length, number of gaps, offset, buffers, children and dictionary, as pyarrow writes them.

    Raises:
        TypeError: an array of something else than text.
        ValueError: offsets or lengths lead outside the buffers.
    """
    import pyarrow

    kind, length, gaps, offset, buffers, children, dictionary = data
    if kind not in (pyarrow.string(), pyarrow.large_string()) or children or dictionary is not None:
        raise TypeError(f"an Arrow array of {kind}; only arrays of text are read")
    if not all(type(number) is int and number >= 0 for number in (length, offset)) or len(buffers) != _TEXT_BUFFERS:
        raise ValueError("an Arrow array whose length, offset or buffers are not those of text")
    array = pyarrow.Array.from_buffers(kind, length, list(buffers), gaps, offset)
    array.validate(full=True)
    return array


CHECKED = {
    ("pandas.core.indexes.base", "_new_Index"): pandas_index,
    ("pyarrow.lib", "_restore_array"): arrow_strings,
}
"""What the unpickler gets for these globals of the list."""
