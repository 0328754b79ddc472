# The load: people who use the service, and more than it can hold. `make load-compose` runs it within compose.
#
#   docker build -f docker/locust.Dockerfile -t llmemb-load .

FROM python:3.11-slim-bookworm AS dependencies
COPY docker/locks/uv.txt /locks/
RUN pip install --no-cache-dir --require-hashes --requirement /locks/uv.txt \
    && python -m venv --without-pip /opt/load
COPY docker/locks/load.txt /locks/
# Bytecode is compiled here: the root file system is read-only where this runs.
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --python /opt/load --require-hashes --no-deps --compile-bytecode --link-mode copy \
        --requirement /locks/load.txt

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="llmemb-load" \
      org.opencontainers.image.description="Load-test clients of llmemb-service." \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 llmemb \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin llmemb \
    && install --directory --owner=llmemb --group=llmemb /bundles /reports
COPY --from=dependencies /opt/load /opt/load
ENV PATH=/opt/load/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    LOAD_OUT=/reports
WORKDIR /app
# Of the core only what the client is made of; it imports no more.
COPY llmemb/__init__.py llmemb/errors.py llmemb/item.py llmemb/encoder/prompt.py llmemb/
COPY llmemb/api llmemb/api
COPY llmemb/client llmemb/client
COPY tests/load tests/load
RUN python -m compileall -q llmemb tests
USER 10001:10001
STOPSIGNAL SIGTERM
# It ends by itself, and its exit code says whether the service held the load: there is nothing to watch.
HEALTHCHECK NONE
ENTRYPOINT ["python", "-m", "tests.load"]
CMD ["mixed"]
