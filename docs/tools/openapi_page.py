"""Part of the site's build: `openapi.json` as a page, by the Swagger UI that the service's `/docs` uses.

The description lies in a script, since a page that is opened from a folder may not fetch a file.
"""

from importlib.resources import files as resources
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

DESCRIPTION = Path(__file__).resolve().parents[2] / "openapi.json"
ASSETS = ("swagger-ui-bundle.js", "swagger-ui.css")

_PAGE = """---
hide: [toc]
---
# Every endpoint

Parameters, bodies and answers, from [openapi.json](repository/openapi.json). A running service shows the same at
`/docs`, where requests can be sent. [Calls with examples](api.md) explains each call, [every error](errors.md) what can
go wrong.

<link rel="stylesheet" href="swagger/swagger-ui.css">
<style>
  /* Swagger UI is light only. */
  #swagger-ui { background: white; color: var(--md-typeset-color); color-scheme: light; }
</style>
<div id="swagger-ui" data-md-color-scheme="default"></div>
<script src="swagger/swagger-ui-bundle.js"></script>
<script src="swagger/openapi.js"></script>
<script>
  const ui = SwaggerUIBundle({
    spec: description,
    dom_id: "#swagger-ui",
    validatorUrl: null,
    supportedSubmitMethods: [],
  });
  // It resolves references against this address, without asking it, and cannot against the one of a file.
  ui.specActions.updateUrl("http://127.0.0.1:8000/openapi.json");
</script>
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page, the description as a script, and Swagger UI's files."""
    script = f"const description = {DESCRIPTION.read_text(encoding='utf-8').rstrip()};\n"
    files.append(File.generated(config, "endpoints.md", content=_PAGE))
    files.append(File.generated(config, "swagger/openapi.js", content=script))
    for name in ASSETS:
        path = resources("fastapi_swagger") / "resources" / name
        files.append(File.generated(config, f"swagger/{name}", content=path.read_bytes()))
    return files
