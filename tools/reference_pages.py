"""Writes the reference pages, one for each `flare.*` package, from a descriptor set with source information.

    python -m tools.reference_pages DESCRIPTORS.binpb FOLDER

`tools/make_protos.py` calls it. The words on a page are the comments in the protos; a table adds what the
declaration says by itself: types, scopes, and field rules in short words.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorSet

from tools.reference_descriptors import Element, File, load, nested_messages, options_of
from tools.reference_markdown import anchor, code, in_cell, in_text, table
from tools.reference_rules import BEHAVIOURS, field_words, message_words

Links = dict[str, tuple[str, str]]
"""Page and title of each message and enum by full name."""

SCALARS = {number: name.removeprefix("TYPE_").lower() for name, number in FieldDescriptorProto.Type.items()}


def main(descriptors: str, folder: str) -> None:
    output = Path(folder)
    output.mkdir(parents=True, exist_ok=True)
    for page in pages(load(Path(descriptors).read_bytes())):
        (output / f"{page.name}.md").write_text(page.markdown(), encoding="utf-8")


def pages(descriptors: FileDescriptorSet) -> list["Page"]:
    packages: dict[str, list[File]] = defaultdict(list)
    for file in descriptors.file:
        if file.package.startswith("flare."):
            packages[file.package].append(File(file))
    links: Links = {}
    made = []
    for package, files in sorted(packages.items()):
        page = Page(package, sorted(files, key=lambda file: file.proto.name), links)
        links |= page.own_links()
        made.append(page)
    return made


@dataclass
class Page:
    """The reference page of one package."""

    package: str
    files: list[File]
    links: Links = field(repr=False)
    """Shared by all pages and complete once the last of them exists."""

    @property
    def name(self) -> str:
        _, area, version = self.package.split(".", 2)
        return area if version == "v1" else f"{area}_{version}"

    @cached_property
    def messages(self) -> list[Element]:
        return [
            element
            for file in self.files
            for index, proto in enumerate(file.proto.message_type)
            for element in nested_messages(Element(file, proto, (4, index), proto.name))
        ]

    @cached_property
    def enums(self) -> list[Element]:
        top = [
            Element(file, proto, (5, index), proto.name)
            for file in self.files
            for index, proto in enumerate(file.proto.enum_type)
        ]
        nested = [
            Element(owner.file, proto, (*owner.path, 4, index), f"{owner.title}.{proto.name}")
            for owner in self.messages
            for index, proto in enumerate(owner.proto.enum_type)
        ]
        return sorted(top + nested, key=lambda element: element.title)

    @cached_property
    def enum_values(self) -> dict[str, dict[int, str]]:
        """What each number of each of the package's enums is called."""
        return {
            f".{self.package}.{element.title}": {value.number: value.name for value in element.proto.value}
            for element in self.enums
        }

    @cached_property
    def exchanged(self) -> list[Element]:
        """The messages made for one method only, in the order of the methods: the method's request, its response."""
        by_name = {f".{self.package}.{element.title}": element for element in self.messages}
        used = [
            by_name[name]
            for _, _, service in self.services
            for method in service.method
            for name in (method.input_type, method.output_type)
            if name in by_name and name.endswith(("Request", "Response"))
        ]
        return list({element.title: element for element in used}.values())

    @cached_property
    def kept(self) -> list[Element]:
        """The messages that outlive a call: resources and their parts, by name."""
        exchanged = {element.title for element in self.exchanged}
        kept = [element for element in self.messages if element.title not in exchanged]
        return sorted(kept, key=lambda element: element.title)

    @property
    def services(self) -> list[tuple[File, int, Any]]:
        return [(file, index, service) for file in self.files for index, service in enumerate(file.proto.service)]

    def own_links(self) -> Links:
        return {
            f".{self.package}.{element.title}": (self.name, element.title) for element in self.messages + self.enums
        }

    def markdown(self) -> str:
        blocks = [
            f"<!-- Made from the protos of {self.package} by `make protos`. Edit those. -->",
            f"# {self.package}",
            *(in_text(comment) for file in self.files if (comment := file.comment((2,)))),
            self.contents(),
            *self.service_blocks(),
            *self.option_blocks(),
            *self.message_blocks("Messages", self.kept),
            *self.message_blocks("Requests and responses", self.exchanged),
            *self.enum_blocks(),
        ]
        return "\n\n".join(block for block in blocks if block) + "\n"

    def contents(self) -> str:
        lists = {
            "Services": [service.name for _, _, service in self.services],
            "Messages": [element.title for element in self.kept if "." not in element.title],
            "Enums": [element.title for element in self.enums],
        }
        return "\n\n".join(
            f"**{kind}:** " + ", ".join(f"[{name}](#{anchor(name)})" for name in names)
            for kind, names in lists.items()
            if names
        )

    def service_blocks(self) -> Iterator[str]:
        for file, index, service in self.services:
            yield f"## {service.name}"
            yield in_text(file.comment((6, index)))
            rows = [
                [
                    f"**{method.name}**",
                    scope(method),
                    self.endpoint(method.input_type, method.client_streaming),
                    self.endpoint(method.output_type, method.server_streaming),
                    in_cell(file.comment((6, index, 2, position))),
                ]
                for position, method in enumerate(service.method)
            ]
            yield table(["Method", "Scope", "Request", "Response", "What it does"], rows)

    def option_blocks(self) -> Iterator[str]:
        rows = [
            [code(option.name), code(option.extendee.rsplit(".", 1)[-1]), self.type_of(option), comment]
            for file in self.files
            for index, option in enumerate(file.proto.extension)
            for comment in [in_cell(file.comment((7, index)))]
        ]
        if rows:
            yield "## Options in protos"
            yield table(["Option", "Extends", "Type", "Meaning"], rows)

    def message_blocks(self, heading: str, elements: list[Element]) -> Iterator[str]:
        if elements:
            yield f"## {heading}"
        for element in elements:
            yield f"### {element.title}"
            yield in_text(element.comment)
            maps = {f".{self.package}.{element.title}.{n.name}": n for n in element.proto.nested_type}
            rows = [
                [
                    code(proto.name),
                    self.type_of(proto, maps),
                    rules_of(element.proto, proto, self.enum_values.get(proto.type_name, {})),
                    in_cell(element.comment_on(2, index)),
                ]
                for index, proto in enumerate(element.proto.field)
            ]
            yield table(["Field", "Type", "Rules", "Meaning"], rows) if rows else "No fields."
            yield "\n".join(f"- {note}" for note in message_notes(element))

    def enum_blocks(self) -> Iterator[str]:
        if self.enums:
            yield "## Enums"
        for element in self.enums:
            yield f"### {element.title}"
            yield in_text(element.comment)
            rows = [
                [code(value.name), str(value.number), in_cell(element.comment_on(2, index))]
                for index, value in enumerate(element.proto.value)
            ]
            yield table(["Value", "Number", "Meaning"], rows)

    def endpoint(self, type_name: str, streams: bool) -> str:
        return f"{'stream ' if streams else ''}{self.link(type_name)}"

    def type_of(self, proto: FieldDescriptorProto, maps: dict[str, DescriptorProto] | None = None) -> str:
        entry = (maps or {}).get(proto.type_name)
        if entry is not None and entry.options.map_entry:
            return f"map of {self.type_of(entry.field[0])} to {self.type_of(entry.field[1])}"
        name = self.link(proto.type_name) if proto.type_name else code(SCALARS[proto.type])
        return f"repeated {name}" if proto.label == FieldDescriptorProto.LABEL_REPEATED else name

    def link(self, type_name: str) -> str:
        """The type's short name, linked if one of the pages describes it."""
        if type_name not in self.links:
            return code(type_name.removeprefix(".").removeprefix("google.protobuf."))
        page, title = self.links[type_name]
        return f"[{title}]({'' if page == self.name else f'{page}.md'}#{anchor(title)})"


def scope(method: Any) -> str:
    options = options_of(method)
    if options.get("flare.auth.v1.public"):
        return "public"
    required = options.get("flare.auth.v1.required_scope")
    return code(required) if required else "**none**"


def rules_of(message: DescriptorProto, proto: FieldDescriptorProto, enum_values: dict[int, str]) -> str:
    options = options_of(proto)
    words = [BEHAVIOURS[value] for value in options.get("google.api.field_behavior", []) if value in BEHAVIOURS]
    if "buf.validate.field" in options:
        words += field_words(options["buf.validate.field"], enum_values)
    if proto.proto3_optional:
        words.append("optional")
    elif proto.HasField("oneof_index"):
        words.append(f"one of {code(message.oneof_decl[proto.oneof_index].name)}")
    if options.get("google.protobuf.FieldOptions.deprecated"):
        words.append("deprecated")
    return in_cell(", ".join(dict.fromkeys(words)))


def message_notes(element: Element) -> Iterator[str]:
    """What holds for several fields at once: oneofs, and the rules of the message."""
    indices = {
        proto.oneof_index
        for proto in element.proto.field
        if proto.HasField("oneof_index") and not proto.proto3_optional
    }
    for index in sorted(indices):
        oneof = element.proto.oneof_decl[index]
        rules = options_of(oneof).get("buf.validate.oneof")
        count = "exactly" if rules is not None and rules.required else "at most"
        yield f"{code(oneof.name)} ({count} one is set): {in_text(element.comment_on(8, index))}"
    options = options_of(element.proto)
    if "buf.validate.message" in options:
        yield from message_words(options["buf.validate.message"])


if __name__ == "__main__":
    main(*sys.argv[1:])
