"""Where in the user's model a node comes from: for names of operations and for messages."""

from __future__ import annotations

from collections.abc import Iterable
from operator import getitem

from torch.fx import Node


def place(node: Node) -> str:
    """Module path and class, and the line of source where the export kept it."""
    path, kind = _module(node)
    text = f"{path or 'the model'} ({kind.rpartition('.')[2]})" if kind else node.name
    line = _source_line(node.meta.get("stack_trace"))
    return f"{text}, {line}" if line else text


def operation_names(nodes: Iterable[Node]) -> dict[Node, str]:
    """A unique name for every call: the path of the layer for the last call in it, else module path
    and node name.
    """
    calls = [node for node in nodes if node.op == "call_function" and node.target is not getitem]
    last = {
        path: node
        for node in calls
        for path, kind in (_module(node),)
        if path and kind.startswith("torch.nn.")
    }
    names = {node: path for path, node in last.items()}
    for node in calls:
        path, _ = _module(node)
        names.setdefault(node, f"{path}.{node.name}" if path else node.name)
    return names


def _module(node: Node) -> tuple[str, str]:
    """Path and class of the innermost module."""
    stack = node.meta.get("nn_module_stack") or {}
    path, kind = list(stack.values())[-1] if stack else ("", "")
    return str(path), kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"


def _source_line(trace: str | None) -> str:
    """Innermost ``file:line`` outside torch of a stack trace."""
    found = ""
    for text in (trace or "").splitlines():
        text = text.strip()
        if text.startswith('File "') and "/torch/" not in text:
            file, _, rest = text.removeprefix('File "').partition('", line ')
            found = f"{file}:{rest.partition(',')[0]}"
    return found
