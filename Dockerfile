# syntax=docker/dockerfile:1
# Everything that docker-compose.yml runs but PostgreSQL: driver, workers, MLflow server, migrations.
FROM python:3.11.13-slim-bookworm

# Index that torch comes from, before any other: empty takes pip's own, whose wheel for x86-64 brings CUDA. PyTorch's
# page "Get started" names one without (CPU) and one for every CUDA; the version is that of constraints.txt in any case.
ARG TORCH_INDEX=""

ENV GIT_PYTHON_REFRESH=quiet \
    MLFLOW_DISABLE_TELEMETRY=true \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1

# Volumes take owner and mode from the folder that they are first mounted on.
RUN useradd --create-home --uid 10001 noise \
    && install --directory --owner=noise --group=noise /noise_search /mlflow

# From what changes least to what changes most: torch, the other libraries, the code.
WORKDIR /opt/noise_search
COPY constraints.txt ./
RUN pip install --no-deps -c constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
COPY pyproject.toml README.md LICENSE ./
RUN mkdir conf noise_search \
    && touch conf/none.yaml noise_search/__init__.py \
    && pip install -c constraints.txt ".[postgres,ray,s3,server]" \
    && pip uninstall --yes noise-search \
    && rm -r conf noise_search
COPY conf ./conf
COPY noise_search ./noise_search
RUN pip install --no-deps -c constraints.txt .

USER 10001
WORKDIR /noise_search
CMD ["noise-search", "--help"]
