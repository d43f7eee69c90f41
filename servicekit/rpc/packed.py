"""Numbers of messages without an object for each: a repeated field of doubles is their bytes on the wire."""

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

# "A length, then so many bytes".
LENGTH_DELIMITED = 2
DOUBLE_BYTES = 8
DOUBLE = np.dtype("<f8")


def add_doubles(message: Message, field: str, values: NDArray[np.float64]) -> None:
    """Adds an array's numbers, row by row, to a `repeated double`."""
    number = message.DESCRIPTOR.fields_by_name[field].number
    if values.size:
        content = np.ascontiguousarray(values, dtype="<f8").tobytes()
        message.MergeFromString(varint(number << 3 | LENGTH_DELIMITED) + varint(len(content)) + content)


def doubles_of(message: Message, count: int) -> NDArray[np.float64]:
    """The numbers of a message whose one field is a `repeated double` of so many; to be read only."""
    if not count:
        return np.empty(0)
    # The field's number and length, then the numbers as they lie in memory, then what other versions know of.
    length_bytes = ((DOUBLE_BYTES * count).bit_length() + 6) // 7
    return np.frombuffer(message.SerializeToString(), DOUBLE, count, 1 + length_bytes)


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the highest bit says that more follow."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
