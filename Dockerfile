ARG PYTHON_IMAGE=python:3.13-slim-bookworm

# What is installed comes from the locks alone, each file checked by its hash; pip and the build tools stay behind.
FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements-build.lock requirements.lock ./
RUN python -m venv /opt/build \
    && /opt/build/bin/python -m pip install --no-deps --require-hashes -r requirements-build.lock
RUN python -m venv --without-pip /opt/forwarder \
    && python -m pip --python /opt/forwarder/bin/python install --no-deps --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY forwarder/ forwarder/
RUN /opt/build/bin/hatchling build --target wheel --directory /opt/wheel \
    && python -m pip --python /opt/forwarder/bin/python install --no-deps --no-index /opt/wheel/*.whl

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="forwarder" \
      org.opencontainers.image.description="Carries notifications into Amazon EventBridge partner event sources" \
      org.opencontainers.image.licenses="Apache-2.0"
# The numbers are part of the image's interface: volumes and Kubernetes' runAsUser name them.
RUN groupadd --gid 10001 forwarder \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/forwarder --shell /usr/sbin/nologin forwarder \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/forwarder \
    && install --directory /etc/forwarder/integrations
COPY --from=build /opt/forwarder /opt/forwarder
ENV PATH=/opt/forwarder/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    FORWARDER_STATE_DIR=/var/lib/forwarder \
    FORWARDER_INTEGRATIONS_DIR=/etc/forwarder/integrations \
    FORWARDER_HTTP_HOST=0.0.0.0 \
    FORWARDER_HTTP_PORT=8080
USER 10001:10001
WORKDIR /var/lib/forwarder
VOLUME /var/lib/forwarder
EXPOSE 8080
STOPSIGNAL SIGTERM
# Liveness, not readiness: a broker that is away is no reason to restart the daemon.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['FORWARDER_HTTP_PORT'] + '/livez', timeout=4)"]
ENTRYPOINT ["forwarder"]
CMD ["run"]
