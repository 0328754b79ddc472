"""A minimal FastAPI route for `/recommend`: validates the body and returns a constant."""

import argparse
import socket

import uvicorn
from fastapi import FastAPI

from llmemb.api.recommend import RecommendRequest

app = FastAPI()
ATTRIBUTES = {"title": "Return of the Jedi", "release_year": "1983", "genres": ["Action", "Adventure", "Sci-Fi"]}
ANSWER = {
    "bundle_id": "0123456789abcdef",
    "items": [{"id": str(100 + rank), "score": 9.0 - rank, "attributes": ATTRIBUTES} for rank in range(10)],
    "fallback": None,
}


@app.post("/recommend")
async def recommend(body: RecommendRequest) -> dict[str, object]:  # noqa: ARG001 - it is validated
    """Return the constant."""
    return ANSWER


def main() -> None:
    """Serve on a free port and print the URL."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"serving on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False)).run(sockets=[listener])


if __name__ == "__main__":
    main()
