"""Runs in an environment with Jupyter: executes a notebook, and leaves its figures beside it."""

import base64
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def main(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    NotebookClient(notebook, timeout=200, kernel_name="python3").execute()
    count = 0
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            print(output.get("text", ""), end="")
            picture = output.get("data", {}).get("image/png")
            if picture:
                path.with_name(f"figure{count}.png").write_bytes(base64.b64decode(picture))
                count += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]))
