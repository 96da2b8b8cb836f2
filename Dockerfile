# One image; what it does is its command: the app, the indexer, the embedder, fine-tuning.
#
#   docker build -t polylens:0.1.0 .                                    for CPUs, without CUDA
#   docker build -t polylens:0.1.0-cuda \
#     --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .  for NVIDIA GPUs
#
# It needs BuildKit: Docker 23 or newer, or DOCKER_BUILDKIT=1 before it. The base is pinned by its
# tag, which Docker Hub may rebuild; add @sha256:... where two builds must have the same bytes.
ARG PYTHON=3.11.16-slim-trixie

FROM python:${PYTHON} AS build
# A compiler, for packages that have no wheel for this processor. It stays in this stage.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc g++ libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/polylens
ENV PATH=/opt/polylens/bin:$PATH
WORKDIR /source

# What changes seldom comes first: a change of the code does not install torch again.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY requirements.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --index-url "$TORCH_INDEX" "$(grep '^torch==' requirements.txt)"
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -r requirements.txt

COPY pyproject.toml README.md LICENSE NOTICE ./
COPY app/ app/
COPY embedder/ embedder/
COPY finetune/ finetune/
COPY indexer/ indexer/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps .


FROM python:${PYTHON} AS polylens
LABEL org.opencontainers.image.title="Polylens" \
      org.opencontainers.image.description="Search your own pictures and texts in any language" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"

# Volumes that are mounted here for the first time take over this owner.
ARG UID=10001
RUN groupadd --gid "$UID" polylens \
    && useradd --uid "$UID" --gid "$UID" --home-dir /data --no-create-home \
        --shell /usr/sbin/nologin polylens \
    && install --directory --owner="$UID" --group="$UID" /data /models

COPY --from=build /opt/polylens /opt/polylens

# /data: what is kept of collections here, runs, votes. /models: models from Hugging Face.
ENV PATH=/opt/polylens/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/data \
    XDG_DATA_HOME=/data \
    XDG_CACHE_HOME=/tmp/cache \
    HF_HOME=/models
WORKDIR /opt/polylens
USER ${UID}:${UID}
EXPOSE 8501 8100

# The app's; docker-compose.yml has the others'.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
    CMD ["python", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8501, timeout=4); c.request('GET', '/_stcore/health'); raise SystemExit(c.getresponse().status != 200)"]
STOPSIGNAL SIGTERM
CMD ["polylens", "app", "--host=0.0.0.0"]
