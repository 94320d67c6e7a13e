# The commands, and the server at a scanner, in a container. docs/scanner.md says how it is used.
#
#   docker build -t rsd_med .                                  for the CPU
#   docker build -t rsd_med:cuda --build-arg VARIANT=cuda .    for NVIDIA GPUs (docker run --gpus all …)
#
# EXTRAS are those of pyproject.toml. The registry's own torch brings CUDA with it; for the CPU, torch and torchvision
# come as a pair from PyTorch's index, since a mixed pair fails at import.

ARG PYTHON=3.11
ARG VARIANT=cpu

FROM python:${PYTHON}-slim-bookworm AS base
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/venv/bin:$PATH
RUN python -m venv /opt/venv
WORKDIR /source
COPY constraints.txt ./

FROM base AS torch-cpu
RUN pip install --no-cache-dir --constraint constraints.txt --index-url https://download.pytorch.org/whl/cpu torch torchvision

FROM base AS torch-cuda
RUN pip install --no-cache-dir --constraint constraints.txt torch torchvision

# hadolint ignore=DL3006
FROM torch-${VARIANT} AS build
ARG EXTRAS=app,dicom,noncartesian
WORKDIR /source
COPY pyproject.toml setup.py README.md LICENSE ./
COPY rsd_med rsd_med
COPY protocols protocols
COPY apps/inspector apps/inspector
COPY docs/protocol.schema.json docs/protocol.schema.json
RUN pip install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]"

FROM python:${PYTHON}-slim-bookworm
LABEL org.opencontainers.image.title="rsd_med" \
      org.opencontainers.image.description="Clean medical images from corrupted scans; research, not for diagnosis" \
      org.opencontainers.image.licenses="Apache-2.0 AND BSD-2-Clause AND CC-BY-4.0"
# No root: runs and scans are mounted under /data, which the user of this number must be able to read.
RUN useradd --uid 10001 --create-home rsd_med && mkdir /data && chown rsd_med /data
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001
WORKDIR /data
EXPOSE 9002
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s CMD ["rsd-med", "serve", "--check"]
ENTRYPOINT ["rsd-med"]
CMD ["serve", "--host", "0.0.0.0"]
