"""An MCP server on standard streams whose one tool fetches a URL, with nothing but what Python has."""

import json
import sys
import urllib.request


def text(text, is_error=False):
    return {"content": [{"type": "text", "text": text}], "isError": is_error}


def fetched(url):
    try:
        return text(urllib.request.urlopen(url, timeout=30).read().decode())
    except OSError as error:
        return text(str(getattr(error, "reason", error)), True)


answers = {
    "initialize": lambda _: {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                             "serverInfo": {"name": "fetch", "version": "1"}},
    "tools/list": lambda _: {"tools": [{"name": "fetch", "inputSchema": {"type": "object",
                                        "properties": {"url": {"type": "string"}}}}]},
    "tools/call": lambda params: fetched(params["arguments"]["url"]),
}

for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    answer = answers.get(message["method"])
    outcome = {"result": answer(message["params"])} if answer else \
        {"error": {"code": -32601, "message": "no such method"}}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **outcome}), flush=True)
