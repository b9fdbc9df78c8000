"""Publishes to a registry and reads it with mcp-registry-sdk; prints what it saw as JSON.

Every server.json that comes back is held against the official schema, which that package ships.
"""

import asyncio
import json
import sys

from mcpreg import InMemorySyncStateStore, NotFoundError, PublisherClient, RegistryClient, RegistrySettings, ServerDetail
from mcpreg import HttpError, ServerStatus, incremental_pull, resumable_scrape
from mcpreg.validation import validate_server_detail

NAME = "com.example/sums"


def server(version, url):
    remotes = [{"type": "streamable-http", "url": url}]
    return ServerDetail.model_validate(
        {"name": NAME, "description": "Sums", "version": version, "remotes": remotes}
    )


async def read(client, seen):
    entries = [entry async for entry in client.iter_servers(limit=1)]
    seen["listed"] = [f"{entry.server.name}@{entry.server.version}" for entry in entries]
    versions = (await client.list_versions(NAME)).servers
    seen["versions"] = [entry.server.version for entry in versions]
    seen["latest"] = (await client.get_version(NAME)).server.version
    found = [entry async for entry in client.iter_servers(search="SUMS", version="latest")]
    seen["found"] = [entry.server.version for entry in found]
    try:
        await client.get_version("com.example/nothing")
    except NotFoundError:
        seen["unknown"] = "not found"


async def valid(client, base):
    """Counts what the official schema accepts of what is listed; fails with the first that it does not."""
    page = (await client.http.get(f"{base}/v0.1/servers?limit=100&include_deleted=true")).json()
    for entry in page["servers"]:
        validate_server_detail(entry["server"])
    return len(page["servers"])


async def main(base, credential, url):
    settings, seen = RegistrySettings(base_url=base), {}
    headers = {"Authorization": f"Bearer {credential}"}
    async with PublisherClient(headers, settings) as publisher, RegistryClient(settings) as client:
        for version in ["1.0.0", "1.1.0"]:
            await publisher.publish(server(version, url))
        await read(client, seen)
        try:
            await publisher.publish(server("1.1.0", f"{url}/other"))
        except HttpError as error:
            seen["changed version"] = error.status_code
        store = InMemorySyncStateStore()
        seen["scraped"] = sum([len(page.upserts) async for page in resumable_scrape(client, store, limit=1)])
        deprecated = await publisher.set_version_status(
            NAME, "1.0.0", ServerStatus.DEPRECATED, status_message="take 1.1.0"
        )
        seen["status"] = deprecated.status
        await publisher.delete_version(NAME, "1.1.0")
        pulled = [page async for page in incremental_pull(client, store)]
        seen["removed"] = [entry.server.version for page in pulled for entry in page.removals]
        seen["latest then"] = (await client.get_version(NAME)).server.version
        seen["all"] = (await publisher.set_status(NAME, ServerStatus.ACTIVE)).updated_count
        seen["valid"] = await valid(client, base)
    print(json.dumps(seen, sort_keys=True))


asyncio.run(main(*sys.argv[1:]))
