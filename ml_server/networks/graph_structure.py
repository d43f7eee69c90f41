"""Whether a graph is one: unique ids, inputs that come before, results that exist."""

from graphlib import CycleError, TopologicalSorter

from ml_server.networks.graph_specification import INPUT, MANY, GraphNode, TorchGraphSpecification
from servicekit.errors import InvalidArgument, Reason

FIELD = "specification.torch_graph"


def check_structure(graph: TorchGraphSpecification) -> None:
    """Raises InvalidArgument (GRAPH_INVALID), naming the field, if the nodes and their inputs make no graph."""
    positions: dict[str, int] = {}
    for index, node in enumerate(graph.nodes):
        if node.id == INPUT:
            raise _invalid(f"nodes[{index}].id", f"id '{INPUT}' means the network's own input: choose another id")
        if node.id in positions:
            first = positions[node.id]
            raise _invalid(f"nodes[{index}].id", f"id '{node.id}' is taken by nodes[{first}]: choose another id")
        positions[node.id] = index
    for index, node in enumerate(graph.nodes):
        _check_arity(node, index)
        for place, reference in enumerate(node.inputs):
            _check_reference(graph, positions, reference, index, f"nodes[{index}].inputs[{place}]")
    if graph.output not in positions:
        raise _invalid("output", f"output '{graph.output}' is no node's id: name the node that gives the result")


def split_reference(reference: str) -> tuple[str, str]:
    """`lstm:hidden` as its node's id and its result's name, which is empty for the first result."""
    node_id, _, result = reference.partition(":")
    return node_id, result


def used_nodes(graph: TorchGraphSpecification) -> set[str]:
    """The ids of the nodes that the output depends on, itself included."""
    inputs = {node.id: [split_reference(reference)[0] for reference in node.inputs] for node in graph.nodes}
    used: set[str] = set()
    waiting = [graph.output]
    while waiting:
        node_id = waiting.pop()
        if node_id not in used and node_id != INPUT:
            used.add(node_id)
            waiting.extend(inputs[node_id])
    return used


def _check_arity(node: GraphNode, index: int) -> None:
    fewest, most = node.operation.arity
    count = len(node.inputs)
    is_attention = node.operation.op == "multihead_attention"
    if fewest <= count <= most and not (is_attention and count == 2):
        return
    if is_attention:
        expected = "1 (query, key and value alike) or 3"
    elif fewest == most:
        expected = str(fewest)
    else:
        expected = f"{fewest} to {MANY}"
    raise _invalid(
        f"nodes[{index}].inputs", f"node '{node.id}' ({node.operation.op}) takes {expected} inputs but has {count}"
    )


def _check_reference(
    graph: TorchGraphSpecification, positions: dict[str, int], reference: str, index: int, field: str
) -> None:
    node = graph.nodes[index]
    source, result = split_reference(reference)
    if source == INPUT:
        if result:
            raise _invalid(field, f"'{reference}' of node '{node.id}': the network's input has no further results")
        return
    if source not in positions:
        raise _invalid(
            field, f"node '{node.id}' takes '{reference}', but no node has the id '{source}': name an earlier node"
        )
    if positions[source] >= index:
        cycle = _cycle(graph)
        if cycle:
            raise _invalid(field, f"node '{node.id}' takes '{reference}' and so closes a cycle: {' -> '.join(cycle)}")
        raise _invalid(
            field,
            f"node '{node.id}' takes '{reference}', which comes after it: move nodes[{positions[source]}] "
            f"before nodes[{index}]",
        )
    _check_result(graph.nodes[positions[source]], result, field, reference)


def _check_result(source: GraphNode, result: str, field: str, reference: str) -> None:
    if reference == source.id or result in source.operation.further_results:
        return
    offered = ", ".join(f"'{source.id}:{name}'" for name in source.operation.further_results)
    raise _invalid(
        field,
        f"'{reference}' is no result: node '{source.id}' ({source.operation.op}) gives '{source.id}'"
        + (f" and {offered}" if offered else " alone"),
    )


def _cycle(graph: TorchGraphSpecification) -> list[str]:
    """The ids along a cycle, the first one repeated at the end; empty if there is none."""
    sorter = TopologicalSorter(
        {node.id: [split_reference(reference)[0] for reference in node.inputs] for node in graph.nodes}
    )
    try:
        sorter.prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle
    return []


def _invalid(field: str, message: str) -> InvalidArgument:
    return InvalidArgument(Reason.GRAPH_INVALID, message, field=f"{FIELD}.{field}")
