# The image has the whole server: `docker run -p 9876:9876 -p 10909:10909 -p 10911:10911 barque` is a name server and a broker in one process.
# Topics, groups and settings are changed from inside (`docker exec`); from where else they may be is said by
# `--set adminAllowedFrom=127.0.0.1;172.16.0.0/12` behind the command below.
# Its user, home and directories are those of the image of Apache RocketMQ, so volumes can be kept:
# /home/rocketmq/store and /home/rocketmq/logs belong to the user 3000.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock rust-toolchain.toml ./
COPY crates crates
RUN cargo build --release --locked --package barque

FROM debian:bookworm-slim
RUN groupadd --gid 3000 rocketmq \
 && useradd --uid 3000 --gid 3000 --create-home rocketmq \
 && mkdir -p /home/rocketmq/store /home/rocketmq/nameserver /home/rocketmq/logs /home/rocketmq/rocketmq/bin /home/rocketmq/rocketmq/conf \
 && chown -R rocketmq:rocketmq /home/rocketmq
COPY --from=build /src/target/release/barque /usr/local/bin/barque
RUN for name in mqnamesrv mqbroker mqadmin mqshutdown; do ln -s barque "/usr/local/bin/$name"; done
# Compose files of the reference say `sh mqbroker`, which wants a script where it starts.
COPY deploy/docker/bin/ /home/rocketmq/rocketmq/bin/
COPY LICENSE NOTICE /usr/share/doc/barque/
ENV ROCKETMQ_HOME=/home/rocketmq/rocketmq
USER 3000:3000
WORKDIR /home/rocketmq/rocketmq/bin
VOLUME ["/home/rocketmq/store", "/home/rocketmq/logs"]
# Name server; broker, its twin port and replication; metrics and health.
EXPOSE 9876 10909 10911 10912 5557
CMD ["barque", "dev", "--host", "0.0.0.0", "--data", "/home/rocketmq/store", "--log", "stdout"]
