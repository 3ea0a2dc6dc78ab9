# One file, one target a service:  docker build --target producer -t tickstream/producer:0.1.0 .
# Targets: producer, consumer-lake, refiner, consumer-db, consumer-alerts, dashboard, cli, s3 (the object store of the local stack).
#
# Dependencies are cached by BuildKit cache mounts (the cargo registry and the target folder), not by a layer of stub
# crates: one build makes every binary, so the eight targets share it, and a changed line rebuilds one crate.
# The build needs BuildKit (the default of Docker 23 and later).

ARG RUST_VERSION=1.95
ARG DEBIAN=bookworm

# ---- the page: JavaScript packages as the lock file pins them -----------------------------------------------------
FROM node:22-${DEBIAN}-slim AS web
WORKDIR /src/dashboard/web
COPY dashboard/web/package.json dashboard/web/package-lock.json dashboard/web/.npmrc ./
RUN --mount=type=cache,target=/root/.npm npm ci --ignore-scripts --omit=dev

# ---- the binaries ---------------------------------------------------------------------------------------------------
FROM rust:${RUST_VERSION}-${DEBIAN} AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends libssl-dev pkg-config zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
# Writes the list of crates into each binary, a few kilobytes: what an image is made of can be read out of it later (docs/security.md).
ARG CARGO_AUDITABLE=0.7.7
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    cargo install cargo-auditable --locked --version "${CARGO_AUDITABLE}"
WORKDIR /src
# Whole, tests included: cargo reads every member's manifest, and --locked refuses a narrowed workspace.
COPY . .
COPY --from=web /src/dashboard/web/node_modules dashboard/web/node_modules
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo auditable build --release --locked -p producer -p consumer-lake -p refiner -p consumer-db -p consumer-alerts \
      -p dashboard -p tickstream -p stack \
 && mkdir /out \
 && cp target/release/producer target/release/consumer-lake target/release/refiner target/release/consumer-db \
       target/release/consumer-alerts target/release/dashboard target/release/tickstream target/release/stack /out/

# ---- what every image shares: the same glibc as the build, the libraries that librdkafka links, certificates, no root
FROM debian:${DEBIAN}-slim AS runtime
ARG VERSION=0.1.0
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin tickstream
LABEL org.opencontainers.image.title="tickstream" \
      org.opencontainers.image.description="Market prices, once and in order, in a lake, in Postgres and on a live page" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY LICENSE /usr/share/doc/tickstream/LICENSE
ENV LOG_FORMAT=json ADMIN_ADDR=0.0.0.0:9100
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
WORKDIR /tmp
STOPSIGNAL SIGTERM

FROM runtime AS producer
# Where ticks wait while the broker is away; owned by the service, so that a fresh volume mounted there is too.
USER root
RUN install -d -o 10001 -g 10001 /var/spill
USER 10001:10001
COPY --from=build /out/producer /usr/local/bin/producer
EXPOSE 9100
ENTRYPOINT ["producer"]

FROM runtime AS consumer-lake
COPY --from=build /out/consumer-lake /usr/local/bin/consumer-lake
EXPOSE 9100
ENTRYPOINT ["consumer-lake"]

FROM runtime AS refiner
COPY --from=build /out/refiner /usr/local/bin/refiner
EXPOSE 9100
ENTRYPOINT ["refiner"]
CMD ["run"]

FROM runtime AS consumer-db
COPY --from=build /out/consumer-db /usr/local/bin/consumer-db
EXPOSE 9100
ENTRYPOINT ["consumer-db"]

FROM runtime AS consumer-alerts
COPY --from=build /out/consumer-alerts /usr/local/bin/consumer-alerts
EXPOSE 9100
ENTRYPOINT ["consumer-alerts"]
CMD ["run"]

FROM runtime AS dashboard
COPY --from=build /out/dashboard /usr/local/bin/dashboard
EXPOSE 8080 9100
ENTRYPOINT ["dashboard"]

FROM runtime AS cli
COPY --from=build /out/tickstream /usr/local/bin/tickstream
# Makes silver and gold of a replay's own lake.
COPY --from=build /out/refiner /usr/local/bin/refiner
ENTRYPOINT ["tickstream"]

FROM runtime AS s3
USER root
RUN install -d -o 10001 -g 10001 /data
USER 10001:10001
COPY --from=build /out/stack /usr/local/bin/stack
EXPOSE 9000
VOLUME /data
ENTRYPOINT ["stack", "s3", "--listen", "0.0.0.0:9000", "--data", "/data"]
