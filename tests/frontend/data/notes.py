"""Shared by the scripts of this folder."""

import onnx


def without_notes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without the exporter's record of source lines, most of the file."""
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model
