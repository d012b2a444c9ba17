# syntax=docker/dockerfile:1
# The image holds one static binary, root certificates and an empty state
# directory; nothing in it is a shell, and nothing runs as root.

FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG VERSION TARGETOS TARGETARCH
# static leaves out the embedded ClickHouse, which has to be loaded dynamically:
# a container is given servers. timetzdata brings the time zones along.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/cache/go-build \
    GOCACHE=/cache/go-build CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -tags static,timetzdata -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" \
      -o /out/pgwitness ./cmd/pgwitness \
 && mkdir -p -m 0700 /out/state

FROM scratch
LABEL org.opencontainers.image.title="pgwitness" \
      org.opencontainers.image.description="An audit trail for PostgreSQL: every committed change, attributed, sealed, in ClickHouse" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/pgwitness /pgwitness
# A named volume mounted here takes over owner and mode of the directory.
COPY --from=build --chown=65532:65532 /out/state /var/lib/pgwitness
USER 65532:65532
# To be mounted; docker-compose.yml shows how.
ENV PGWITNESS_CONFIG=/etc/pgwitness/pgwitness.yaml
VOLUME /var/lib/pgwitness
EXPOSE 9187
# Asks the process itself, over the address in its configuration.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/pgwitness", "health"]
ENTRYPOINT ["/pgwitness"]
CMD ["run"]
