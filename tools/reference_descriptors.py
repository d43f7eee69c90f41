"""Descriptors as the reference pages need them: with their comments, and with the values of their options."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

Place = tuple[int, ...]
"""Where an element stands in its file: field numbers of descriptor.proto and indices, as in `SourceCodeInfo`."""


def load(data: bytes) -> FileDescriptorSet:
    """Parses a descriptor set so that its own extensions, such as our method options, are readable.

    The classes come from a pool filled from the set itself: no generated code is needed, so this also runs on
    protos that have never been compiled.
    """
    pool = descriptor_pool.DescriptorPool()
    for file in FileDescriptorSet.FromString(data).file:
        pool.Add(file)
    file_set = message_factory.GetMessageClass(pool.FindMessageTypeByName("google.protobuf.FileDescriptorSet"))
    return cast(FileDescriptorSet, file_set.FromString(data))


class File:
    """A file's descriptor with the comment of each element."""

    def __init__(self, proto: FileDescriptorProto) -> None:
        self.proto = proto
        self._comments = {
            tuple(place.path): place.leading_comments or place.trailing_comments
            for place in proto.source_code_info.location
        }

    def comment(self, path: Place) -> str:
        """The comment, each line without the space after its slashes."""
        return "\n".join(line.removeprefix(" ").rstrip() for line in self._comments.get(path, "").splitlines()).strip()


@dataclass(frozen=True)
class Element:
    """A message or an enum, found anywhere in a file; `title` is its name within the package."""

    file: File
    proto: Any
    path: Place
    title: str

    @property
    def comment(self) -> str:
        return self.file.comment(self.path)

    def comment_on(self, *part: int) -> str:
        return self.file.comment(self.path + part)


def nested_messages(element: Element) -> Iterator[Element]:
    """The message and those declared inside it, without the entries that stand for map fields."""
    yield element
    for index, proto in enumerate(element.proto.nested_type):
        if not proto.options.map_entry:
            yield from nested_messages(
                Element(element.file, proto, (*element.path, 3, index), f"{element.title}.{proto.name}")
            )


def options_of(proto: Any) -> dict[str, Any]:
    """The options that are set, extensions included, by full name."""
    return {option.full_name: value for option, value in proto.options.ListFields()}
