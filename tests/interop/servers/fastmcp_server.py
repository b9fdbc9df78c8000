"""A server on FastMCP: on stdio, with `--http HOST:PORT` on Streamable HTTP, with `--sse HOST:PORT` on HTTP+SSE."""

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


def serve_http(app, address, path):
    """Serves on HTTP and says where."""
    host, port = address.split(":")
    listener = socket.create_server((host, int(port)))
    print(f"listening on http://{host}:{listener.getsockname()[1]}{path}", flush=True)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--http", address]:
            serve_http(server.http_app(path="/mcp"), address, "/mcp")
        case ["--sse", address]:
            serve_http(server.http_app(path="/sse", transport="sse"), address, "/sse")
        case _:
            server.run(transport="stdio", show_banner=False)
