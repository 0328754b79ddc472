"""Part of the site's build: a notebook of `docs/` becomes a page, with the outputs that are stored in it."""

from pathlib import Path

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page beside each notebook."""
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        page = page_of(Path(file.abs_src_path or ""))
        files.append(File.generated(config, file.src_uri.removesuffix(".ipynb") + ".md", content=page))
    return files


def page_of(path: Path) -> str:
    """Write a notebook as Markdown: its texts, its code, and what the code printed."""
    notebook = nbformat.read(path, as_version=4)
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            parts.append(f"```python\n{cell.source}\n```")
            parts += [f"```text\n{text.rstrip()}\n```" for text in map(_text_of, cell.outputs)]
        else:
            parts.append(cell.source)
    return "\n\n".join([*parts, f"This page is the notebook [{path.name}]({path.name})."]) + "\n"


def _text_of(output: nbformat.NotebookNode) -> str:
    """Return what an output says as text; pictures are not used here."""
    text: str = output.text if output.output_type == "stream" else output.data["text/plain"]
    return text
