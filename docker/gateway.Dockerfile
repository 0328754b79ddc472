# The gateway: HAProxy with docker/gateway/haproxy.cfg, which says what it does.
FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="llmemb-gateway" \
      org.opencontainers.image.description="Health-aware balancing and limits before the replicas of llmemb-service." \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update \
    && apt-get install --yes --no-install-recommends haproxy=2.6.* socat=1.7.* \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10002 gateway \
    && useradd --uid 10002 --gid 10002 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin gateway
COPY docker/gateway /etc/haproxy
RUN haproxy -c -f /etc/haproxy/haproxy.cfg
USER 10002:10002
EXPOSE 8080 8081 8405
# The soft stop: no new connections, requests under way end.
STOPSIGNAL SIGUSR1
HEALTHCHECK --interval=10s --timeout=3s --start-period=600s --start-interval=2s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8405 && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && read -r status <&3 && [[ $status == *' 200 '* ]]"]
ENTRYPOINT ["haproxy", "-W", "-db", "-f", "/etc/haproxy/haproxy.cfg"]
