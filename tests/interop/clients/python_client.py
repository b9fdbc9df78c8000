"""The Python SDK's client (`mcp` 2.x): probes with server/discover, or is held to one era with --era."""

import argparse
import asyncio
import json
import sys

import httpx2
import mcp
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import OAuthClientMetadata

MODES = {"auto": "auto", "legacy": "legacy", "modern": "2026-07-28"}


def sentence(error):
    """One sentence for any exception; a group speaks through its members."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(sentence(member) for member in error.exceptions)
    return f"{type(error).__name__}: {error}"


async def all_pages(key, page):
    """Follows `nextCursor` to the end and answers all pages as one."""
    items, cursor = [], None
    while True:
        result = dump(await page(cursor=cursor))
        items += result[key]
        cursor = result.get("nextCursor")
        if cursor is None:
            return {key: items}


def dump(model):
    """A result as it stood on the wire."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


async def perform(client, step):
    """Does one step and answers its result."""
    match step["do"]:
        case "list_tools":
            return await all_pages("tools", client.list_tools)
        case "list_resources":
            return await all_pages("resources", client.list_resources)
        case "list_templates":
            return await all_pages("resourceTemplates", client.list_resource_templates)
        case "list_prompts":
            return await all_pages("prompts", client.list_prompts)
        case "call_tool":
            return dump(await client.call_tool(step["name"], step.get("arguments", {})))
        case "read_resource":
            return dump(await client.read_resource(step["uri"]))
        case "get_prompt":
            return dump(await client.get_prompt(step["name"], step.get("arguments", {})))
        case other:
            raise ValueError(f"unknown step {other}")


async def run_steps(client, plan):
    """Runs every step; a failed one does not stop the rest."""
    steps = []
    for step in plan:
        try:
            steps.append({"do": step["do"], "ok": await perform(client, step)})
        except Exception as error:
            steps.append({"do": step["do"], "error": sentence(error)})
    return steps


def answering(answers, asked):
    """The SDK's own callbacks, for what there are answers to; each question goes to `asked`."""

    async def elicit(context, params):
        asked.append({"method": "elicitation/create", "params": dump(params)})
        # Only a form has content.
        content = None if params.mode == "url" else answers["elicitation"].get("content")
        return mcp.types.ElicitResult(action=answers["elicitation"]["action"], content=content)

    async def sample(context, params):
        asked.append({"method": "sampling/createMessage", "params": dump(params)})
        return mcp.types.CreateMessageResult.model_validate(answers["sampling"])

    async def list_roots(context):
        asked.append({"method": "roots/list", "params": {}})
        return mcp.types.ListRootsResult.model_validate({"roots": answers["roots"]})

    callbacks = {
        "elicitation": ("elicitation_callback", elicit),
        "sampling": ("sampling_callback", sample),
        "roots": ("list_roots_callback", list_roots),
    }
    return dict(callbacks[kind] for kind in answers)


# Nothing listens there: the browser's way ends before.
REDIRECT = "http://127.0.0.1:9/callback"


class Browser:
    """Follows where a browser would be sent, and keeps what the SDK finds out."""

    def __init__(self):
        self.tokens = self.client = self.back = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info

    async def visit(self, url):
        """Follows an authorization request to where it leads back."""
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
            for _ in range(10):
                if url.startswith(REDIRECT):
                    self.back = httpx2.URL(url).params
                    return
                response = await http.get(url)
                url = str(response.url.join(response.headers["location"]))
        raise RuntimeError(f"{url} leads in circles")

    async def came_back(self):
        """What the provider says there."""
        return AuthorizationCodeResult(**self.back)


def signing_in(url):
    """The SDK's own OAuth client."""
    browser = Browser()
    metadata = OAuthClientMetadata(
        client_name="interop",
        redirect_uris=[REDIRECT],
        grant_types=["authorization_code"],
        response_types=["code"],
        token_endpoint_auth_method="none",
    )
    return OAuthClientProvider(url, metadata, browser, browser.visit, browser.came_back)


async def drive(options, plan):
    """Connects, runs the plan, and answers the document."""
    asked = []
    callbacks = answering(options.answers, asked)
    auth = signing_in(options.url) if options.sign_in else None
    headers = dict((part.strip() for part in header.split(":", 1)) for header in options.header)
    async with create_mcp_http_client(headers=headers, auth=auth) as http:
        if options.sse:
            transport = sse_client(options.url, headers=headers)
        else:
            transport = streamable_http_client(options.url, http_client=http)
        info = mcp.types.Implementation(name="interop-python", version="1.0.0")
        async with mcp.Client(transport, mode=MODES[options.era], client_info=info, **callbacks) as client:
            steps = await run_steps(client, plan)
            server = dump(client.server_info) if client.server_info else None
            return {"protocol": client.protocol_version, "server": server, "steps": steps, "asked": asked}


def main():
    """Prints one JSON document, whatever happens."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--era", choices=MODES, default="auto")
    parser.add_argument("--sse", action="store_true")
    parser.add_argument("--sign-in", action="store_true")
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--answers", type=json.loads, default={})
    options = parser.parse_args()
    document = {"client": "python"}
    try:
        document |= asyncio.run(drive(options, json.load(sys.stdin)))
    except BaseException as error:
        document["error"] = sentence(error)
    print(json.dumps(document))
    sys.exit(1 if "error" in document else 0)


if __name__ == "__main__":
    main()
