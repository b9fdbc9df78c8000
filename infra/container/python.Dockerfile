# A stdio server of PyPI's behind the bridge. Only wheels are installed, each with the digest that requirements.txt says, so
# that nothing of them is run while they are installed.
#
#   docker build -f infra/container/python.Dockerfile -t mcp-time infra/container/python
#
# For another server: change requirements.in, `uv pip compile --universal --generate-hashes requirements.in -o requirements.txt`, and the last line.

ARG BRIDGE=portcullis-bridge
ARG BASE=docker.io/library/python:3.13-slim

FROM ${BRIDGE} AS bridge

FROM ${BASE} AS packages
COPY requirements.txt ./
RUN pip install --no-cache-dir --only-binary :all: --require-hashes --target /server -r requirements.txt

FROM ${BASE}
COPY --from=bridge /portcullis /usr/local/bin/portcullis
COPY --from=packages /server /server
USER 65534:65534
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/portcullis", "bridge"]
CMD ["--env", "PYTHONPATH=/server", "--", "python3", "-m", "mcp_server_time", "--local-timezone", "UTC"]
