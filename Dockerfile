# The image of the action, for every way to run it: see docs/action.md.
# BASE decides: on a CUDA image of NVIDIA's torch is the build for CUDA, elsewhere that for the CPU.
ARG BASE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${BASE} AS python
# CUDA images bring no Python. What a base brings is pinned with it, so that no version is named.
# hadolint ignore=DL3008
RUN command -v python3 || { \
      apt-get update && \
      apt-get install --yes --no-install-recommends ca-certificates python3 && \
      rm -rf /var/lib/apt/lists/*; \
    }

FROM python AS tools
# Where Python is the distribution's, environments are a package of their own.
# hadolint ignore=DL3008
RUN python3 -c 'import ensurepip' || { \
      apt-get update && apt-get install --yes --no-install-recommends python3-venv && \
      rm -rf /var/lib/apt/lists/*; \
    }
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# The environment of the image has no pip; that of these stages fills it.
RUN python3 -m venv /opt/tools && python3 -m venv --without-pip /opt/sdi-gate
WORKDIR /build

FROM tools AS dependencies
# The wheels of torch for the CPU, if the index that pip is set to has none.
ARG CPU_WHEELS=https://download.pytorch.org/whl/cpu
COPY constraints.txt ./
RUN torch="$(grep '^torch==' constraints.txt)" && \
    into() { /opt/tools/bin/pip --python /opt/sdi-gate install --no-compile --no-deps "$@"; } && \
    if [ -n "${CUDA_VERSION:-}" ]; then into "${torch}"; \
    else into "${torch}+cpu" || into --index-url "${CPU_WHEELS}" "${torch}+cpu"; fi
COPY pyproject.toml ./
RUN /opt/tools/bin/python -c 'import tomllib; \
      project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
      extras = project["optional-dependencies"]; \
      print(*project["dependencies"], *extras["quantised"], sep="\n")' > requirements.txt && \
    /opt/tools/bin/pip --python /opt/sdi-gate install --no-compile \
      --constraint constraints.txt --requirement requirements.txt
# Compiled here, as the root of a running container can be read-only; never checked against the
# times of files, which builders set as they like. One file of torch is for later Pythons.
RUN /opt/sdi-gate/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash \
      -x '/py312_intrinsics[.]py$' /opt/sdi-gate/lib

FROM tools AS package
COPY pyproject.toml README.md LICENSE ./
COPY sdi_gate ./sdi_gate
RUN /opt/tools/bin/pip wheel --no-deps --wheel-dir wheels . && \
    /opt/tools/bin/pip --python /opt/sdi-gate install \
      --no-compile --no-deps --no-index --root /package wheels/*.whl && \
    /opt/tools/bin/python -m compileall -q --invalidation-mode unchecked-hash /package

FROM python
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="sdi-gate" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
# PYTHONSAFEPATH: the working folder is a checkout, and nothing in it is a module of ours.
ENV PATH="/opt/sdi-gate/bin:${PATH}" \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONNOUSERSITE=1 \
    PYTHONSAFEPATH=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=dependencies /opt/sdi-gate /opt/sdi-gate
COPY --from=package /package/opt/sdi-gate /opt/sdi-gate
# No shell in between: one would drop the inputs that have a dash in their names.
ENTRYPOINT ["/opt/sdi-gate/bin/python", "-I", "-u", "-m", "sdi_gate.action"]
