# The serving image: contract/, service/ and the serve extra; no torch, no compiler, no pip.
#
#   docker build -t cpfd .                        CPU (the last stage is the default)
#   docker build -t cpfd:cuda --target cuda .     CUDA: its libraries are wheels, the driver comes from the host
#   docker build -t cpfd-loadtest --target loadtest .    the load test: no service, no model
#   docker build -t cpfd-log --target log .       what tends the decision log: the service's packages and pyarrow
#   docker run --rm --read-only --tmpfs /tmp --tmpfs /spool:mode=1777 -p 8000:8000 -v "$PWD/bundles:/bundles:ro" cpfd
#
# --build-arg STORE=s3 adds what bundles from s3:// and a log shipped to it need (requirements-s3.txt).

ARG BASE_IMAGE=python:3.11-slim-bookworm

# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
# pip stays in an environment of its own, which the image does not get.
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/cpfd
COPY pyproject.toml constraints.txt constraints-gpu.txt requirements-s3.txt LICENSE ./

# Dependencies first: they change less often than the code, and so does their layer.
FROM build AS build-cpu
ARG STORE=
RUN mkdir contract service && touch contract/__init__.py service/__init__.py \
    && /opt/pip/bin/pip --python /opt/cpfd/bin/python install \
    -c constraints.txt -c constraints-gpu.txt ".[serve]" \
    && if [ -n "${STORE}" ]; then /opt/pip/bin/pip --python /opt/cpfd/bin/python install -r "requirements-${STORE}.txt"; fi \
    && rm -rf build ./*.egg-info
COPY contract contract
COPY service service
RUN /opt/pip/bin/pip --python /opt/cpfd/bin/python install --no-deps --force-reinstall .

FROM build AS build-cuda
ARG STORE=
RUN mkdir contract service && touch contract/__init__.py service/__init__.py \
    && /opt/pip/bin/pip --python /opt/cpfd/bin/python install \
    -c constraints.txt -c constraints-gpu.txt ".[serve-gpu]" \
    && if [ -n "${STORE}" ]; then /opt/pip/bin/pip --python /opt/cpfd/bin/python install -r "requirements-${STORE}.txt"; fi \
    && rm -rf build ./*.egg-info
COPY contract contract
COPY service service
RUN /opt/pip/bin/pip --python /opt/cpfd/bin/python install --no-deps --force-reinstall .

FROM build AS build-log
ARG STORE=
RUN mkdir contract service && touch contract/__init__.py service/__init__.py \
    && /opt/pip/bin/pip --python /opt/cpfd/bin/python install \
    -c constraints.txt -c constraints-gpu.txt ".[serve,log]" \
    && if [ -n "${STORE}" ]; then /opt/pip/bin/pip --python /opt/cpfd/bin/python install -r "requirements-${STORE}.txt"; fi \
    && rm -rf build ./*.egg-info
COPY contract contract
COPY service service
RUN /opt/pip/bin/pip --python /opt/cpfd/bin/python install --no-deps --force-reinstall .

FROM build AS build-loadtest
RUN mkdir loadtest && touch loadtest/__init__.py \
    && /opt/pip/bin/pip --python /opt/cpfd/bin/python install -c constraints.txt ".[loadtest]" \
    && rm -rf build ./*.egg-info
COPY loadtest loadtest
RUN /opt/pip/bin/pip --python /opt/cpfd/bin/python install --no-deps --force-reinstall .

# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS loadtest
ARG BASE_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
ARG SOURCE=
LABEL org.opencontainers.image.title="cpfd-loadtest" \
      org.opencontainers.image.description="Load tests POST /classify and judges it by objectives" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
# Nothing is written but /results (--out) and /tmp, where the generated clips go.
ENV PATH=/opt/cpfd/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
WORKDIR /app
COPY configs/objectives.yaml configs/objectives.yaml
# What the base image brings to install with is not for the load test: pip, setuptools and wheel go.
RUN ln -s /tmp .cache && mkdir /results && chmod 1777 /results \
    && rm -rf /usr/local/bin/pip* /usr/local/bin/wheel /usr/local/lib/python3*/site-packages/*
EXPOSE 5557
COPY --from=build-loadtest /opt/cpfd /opt/cpfd
USER 10001:10001
ENTRYPOINT ["python", "-m", "loadtest"]

# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS runtime
ARG BASE_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
ARG SOURCE=
LABEL org.opencontainers.image.title="cpfd" \
      org.opencontainers.image.description="Serves CPFD-distilled short-video classifiers at POST /classify" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
# Nothing is written but /spool and /tmp: mount them, and the root file system may be read-only.
ENV PATH=/opt/cpfd/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PROMETHEUS_DISABLE_CREATED_SERIES=True \
    HOST=0.0.0.0 \
    HOME=/tmp \
    CPFD_BODY__SPOOL_DIRECTORY=/spool
WORKDIR /app
COPY configs/serve.yaml configs/serve.yaml
# What the base image brings to install with is not for the service: pip, setuptools and wheel go.
RUN ln -s /bundles bundles && mkdir /bundles /spool && chmod 1777 /spool \
    && rm -rf /usr/local/bin/pip* /usr/local/bin/wheel /usr/local/lib/python3*/site-packages/*
EXPOSE 8000
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + (os.environ.get('CPFD_PORT') or os.environ.get('PORT') or '8000') + '/livez', timeout=2)"]
ENTRYPOINT ["python", "-m", "service"]

FROM runtime AS cuda
ENV CPFD_LANES__PROVIDER=cuda \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-cuda /opt/cpfd /opt/cpfd

FROM runtime AS log
LABEL org.opencontainers.image.title="cpfd-log" \
      org.opencontainers.image.description="Compacts, ships and replays the decision log of cpfd"
COPY --from=build-log /opt/cpfd /opt/cpfd

FROM runtime AS cpu
COPY --from=build-cpu /opt/cpfd /opt/cpfd
