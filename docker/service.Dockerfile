# The service: `llmemb serve`, and the other verbs that need no trainer. See docker-compose.yml for how it is run.
#
#   docker build -f docker/service.Dockerfile -t llmemb-service .
#   docker build -f docker/service.Dockerfile -t llmemb-service:cuda --build-arg ACCELERATOR=cuda .
#   docker build ... --build-context wheels=FOLDER       takes what FOLDER holds from there, such as torch's CPU build

# Wheels that no index has; none, unless a folder of that name is given.
FROM scratch AS wheels
WORKDIR /none

FROM python:3.11-slim-bookworm AS dependencies
# cpu or cuda: which lock, and with it which build of torch.
ARG ACCELERATOR=cpu
COPY docker/locks/uv.txt /locks/
RUN pip install --no-cache-dir --require-hashes --requirement /locks/uv.txt \
    && python -m venv --without-pip /opt/llmemb
COPY docker/locks/service-${ACCELERATOR}.txt /locks/
# Bytecode is compiled here: the root file system is read-only where this runs.
RUN --mount=type=cache,target=/root/.cache/uv --mount=type=bind,from=wheels,target=/wheels \
    backend=""; [ "$ACCELERATOR" != cpu ] || [ -n "$(find /wheels -name 'torch-*.whl')" ] || backend="--torch-backend=cpu"; \
    uv pip install --python /opt/llmemb --require-hashes --no-deps --find-links /wheels ${backend:+"$backend"} \
        --compile-bytecode --link-mode copy --requirement "/locks/service-$ACCELERATOR.txt" \
    && find /opt/llmemb/lib/python3.11/site-packages \( -path "*/torch/test" -o -path "*/torch/include" -o -path "*/torch/bin/test_*" \
        -o -path "*/torch/bin/protoc*" -o -path "*/pandas/tests" -o -path "*/sklearn/tests" \) -prune -exec rm -r {} +

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="llmemb-service" \
      org.opencontainers.image.description="Item embeddings from text, and next-item recommendations from them." \
      org.opencontainers.image.licenses="Apache-2.0"
# tini takes in the processes that an encoder's process leaves behind, and passes signals on.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini=0.19.* \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 llmemb \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin llmemb \
    && install --directory --owner=llmemb --group=llmemb /bundles /keys /state
COPY --from=dependencies /opt/llmemb /opt/llmemb
ENV PATH=/opt/llmemb/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OMP_WAIT_POLICY=passive \
    HF_HUB_OFFLINE=1 \
    LLMEMB_HOST=0.0.0.0 \
    LLMEMB_STATE_DIR=/state
WORKDIR /app
# What changes most comes last: a change of code costs the layers from here on.
COPY llmemb llmemb
COPY service/llmemb_service llmemb_service
RUN python -m compileall -q llmemb llmemb_service
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=10s --start-period=600s --start-interval=2s --retries=3 \
    CMD ["python", "-I", "-S", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=9); c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["tini", "--", "python", "-m", "llmemb"]
CMD ["serve"]
