# syntax=docker/dockerfile:1
# Two stages on one base, so that the virtual environment finds its Python at the same path in both.

FROM python:3.11-slim AS build
RUN pip install --no-cache-dir --disable-pip-version-check uv==0.13.9
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PYTHON=/usr/local/bin/python3.11 \
    UV_PYTHON_DOWNLOADS=never \
    UV_PROJECT_ENVIRONMENT=/opt/tocsin
WORKDIR /src
# `--build-arg EXTRAS="--extra fast"` adds librdkafka and the compiled engine.
ARG EXTRAS=""
# The dependencies change seldom and have a layer of their own.
COPY pyproject.toml uv.lock ./
RUN uv sync --locked --no-dev --no-install-project ${EXTRAS}
COPY README.md LICENSE ./
COPY detectors detectors
COPY alerting alerting
COPY monitor monitor
RUN uv sync --locked --no-dev --no-editable ${EXTRAS}

FROM python:3.11-slim
LABEL org.opencontainers.image.title="Tocsin" \
      org.opencontainers.image.description="Guards served machine-learning models against data poisoning." \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/tocsin /opt/tocsin
# State and quarantine are written to the working folder; the rest may be read-only.
RUN install -d -o 10001 -g 10001 -m 0700 /var/lib/tocsin
ENV PATH=/opt/tocsin/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/tocsin
VOLUME /var/lib/tocsin
EXPOSE 9464
ENTRYPOINT ["tocsin"]
CMD ["run", "--config", "/etc/tocsin/tocsin.yaml"]
