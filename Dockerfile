# Kaiffin's service. CPU:     docker build -t kaiffin .
#                    NVIDIA:  docker build -t kaiffin --build-arg DEVICE=cu130 .
FROM python:3.12-slim-bookworm AS build
# cpu, or a CUDA version as PyTorch names its builds.
ARG DEVICE=cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/${DEVICE}
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/kaiffin
ENV PATH=/opt/kaiffin/bin:$PATH
WORKDIR /build
COPY constraints.txt ./
# First and alone: a layer that a change of Kaiffin's leaves as it is. Of one version pip prefers the
# build that says its device (2.13.0+cpu).
RUN pip install -c constraints.txt --extra-index-url "${TORCH_INDEX}" torch
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install -c constraints.txt ".[serve,heif]"

FROM python:3.12-slim-bookworm
COPY --from=build /opt/kaiffin /opt/kaiffin
ENV PATH=/opt/kaiffin/bin:$PATH KAIFFIN_HOME=/data/home HF_HOME=/data/hub
RUN useradd --uid 1000 --create-home kaiffin && install -d -o kaiffin /data
USER 1000
WORKDIR /data
VOLUME /data
EXPOSE 7870
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:7870/api/v1/health', timeout=4)"]
CMD ["kaiffin", "serve", "--data", "/data/studio", "--host", "0.0.0.0", "--allow-host", "localhost:7870"]
