"""A server on FastMCP: on stdio, or with `--http HOST:PORT` on HTTP."""

import asyncio
import socket
import sys

import uvicorn
from fastmcp import FastMCP

server = FastMCP("interop-fastmcp")


@server.tool
def greet(name: str) -> str:
    """Greets by name."""
    return f"Hello, {name}, from fastmcp"


@server.tool
def add(a: float, b: float) -> dict[str, float]:
    """Adds two numbers."""
    return {"sum": a + b}


@server.prompt
def review(topic: str) -> str:
    """Asks for a review."""
    return f"Please review {topic} for fastmcp"


@server.resource("note://fastmcp/hello", mime_type="text/plain")
def hello() -> str:
    """A note."""
    return "a note of fastmcp"


@server.resource("note://fastmcp/lines/{line}", mime_type="text/plain")
def line(line: str) -> str:
    """A line of a note."""
    return f"line {line} of fastmcp"


def serve_http(address):
    """Serves on HTTP and says where."""
    host, port = address.split(":")
    listener = socket.create_server((host, int(port)))
    print(f"listening on http://{host}:{listener.getsockname()[1]}/mcp", flush=True)
    config = uvicorn.Config(server.http_app(path="/mcp"), log_level="warning", timeout_graceful_shutdown=1)
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--http"]:
        serve_http(sys.argv[2])
    else:
        server.run(transport="stdio", show_banner=False)
