# A stdio server of npm's behind the bridge. What is installed is what package-lock.json says, and nothing of it is run
# while it is installed.
#
#   docker build -f infra/container/node.Dockerfile -t mcp-everything infra/container/node
#
# For another server: change package.json, `npm install --package-lock-only`, and the last line.

ARG BRIDGE=portcullis-bridge
ARG BASE=docker.io/library/node:22-slim

FROM ${BRIDGE} AS bridge

FROM ${BASE} AS packages
WORKDIR /server
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --omit=dev --no-audit --no-fund

FROM ${BASE}
COPY --from=bridge /portcullis /usr/local/bin/portcullis
COPY --from=packages /server /server
WORKDIR /server
USER 65534:65534
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/portcullis", "bridge"]
CMD ["--", "node", "node_modules/@modelcontextprotocol/server-everything/dist/index.js", "stdio"]
