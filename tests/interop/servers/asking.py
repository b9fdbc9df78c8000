"""A server on the Python SDK (`mcp` 2.x), of the era without sessions only, whose tools ask the client; on HTTP."""

import asyncio
import socket
import sys
from typing import Annotated

import uvicorn
from mcp import types
from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resolve import Elicit, ListRoots, Resolve, Sample
from mcp_types.version import LATEST_MODERN_VERSION
from pydantic import BaseModel
from starlette.responses import JSONResponse

server = MCPServer("asking-python")


class Person(BaseModel):
    """What the form asks for."""

    name: str


def prompt(text):
    """A request for a message of the model."""
    content = types.TextContent(type="text", text=text)
    return Sample([types.SamplingMessage(role="user", content=content)], max_tokens=50)


def who() -> Elicit[Person]:
    """Asks for a name."""
    return Elicit("Who are you?", Person)


def well() -> Sample:
    """Asks the model."""
    return prompt("Well?")


def about(person: Annotated[Person, Resolve(who)]) -> Sample:
    """Asks the model about the name that was given."""
    return prompt(f"Who is {person.name}?")


def folders() -> ListRoots:
    """Asks for the roots."""
    return ListRoots()


@server.tool()
def ask_form(outcome: Annotated[ElicitationResult[Person], Resolve(who)]) -> str:
    """Asks the client."""
    name = outcome.data.name if isinstance(outcome, AcceptedElicitation) else None
    return f"{outcome.action}: {name}"


@server.tool()
def ask_url(ctx: Context) -> str | types.InputRequiredResult:
    """Asks the client."""
    answer = (ctx.input_responses or {}).get("it")
    if answer is None:
        page = types.ElicitRequestURLParams(message="Please sign in", url="https://example.com/sign-in")
        return types.InputRequiredResult(input_requests={"it": types.ElicitRequest(params=page)})
    return f"{answer.action}: the page"


@server.tool()
def ask_sampling(said: Annotated[types.CreateMessageResult, Resolve(well)]) -> str:
    """Asks the client."""
    return f"The model says {said.content.text}"


@server.tool()
def ask_roots(listed: Annotated[types.ListRootsResult, Resolve(folders)]) -> str:
    """Asks the client."""
    return f"roots: {','.join(str(root.uri) for root in listed.roots)}"


@server.tool()
def ask_twice(
    person: Annotated[Person, Resolve(who)],
    said: Annotated[types.CreateMessageResult, Resolve(about)],
) -> str:
    """Asks for a name, then about it."""
    return f"The model says {said.content.text} of {person.name}"


def modern_only(app):
    """Refuses what is not of the era without sessions; the SDK itself would serve both."""

    async def guarded(scope, receive, send):
        version = dict(scope.get("headers", [])).get(b"mcp-protocol-version")
        if scope["type"] == "http" and version != LATEST_MODERN_VERSION.encode():
            error = {"code": types.UNSUPPORTED_PROTOCOL_VERSION, "message": "Unsupported protocol version"}
            refusal = JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, status_code=400)
            return await refusal(scope, receive, send)
        return await app(scope, receive, send)

    return guarded


def serve_http(address):
    """Serves on HTTP and says where."""
    host, port = address.split(":")
    listener = socket.create_server((host, int(port)))
    print(f"listening on http://{host}:{listener.getsockname()[1]}/mcp", flush=True)
    app = modern_only(server.streamable_http_app())
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    serve_http(sys.argv[sys.argv.index("--http") + 1])
