# The service's image:
#
#     docker build -t fraud-detection:latest .
#     docker run -d --name fraud-detection-prod -p 8000:8000 \
#         --user "$(id -u):$(id -g)" -v "$PWD:/var/lib/fraud-detection:ro" \
#         -e ENVIRONMENT=production -e MODEL_ID=fraud_detector_XGBoost_20241009_123456 fraud-detection:latest
#
# The mount is the checkout: digest and forms of the model come from its registry, the keys from its .secrets.
# The first stage installs the packages of serving/requirements.txt, each pinned by its hash; the second has no pip.
# The base is a slim image with Python 3.11 and pip, by digest. Where it cannot be pulled, name another one:
#
#     docker build --build-arg BASE_IMAGE=NAME -t fraud-detection:latest .
#
# Where a company's own authority signs the package index, put its certificates into build/certificates.pem; another
# index is PIP_INDEX_URL.
ARG BASE_IMAGE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${BASE_IMAGE} AS build
ARG PIP_INDEX_URL=
# The second name is a pattern: the file may be missing.
COPY serving/requirements.txt build/certificates.pe[m] /opt/build/
# LightGBM wants the system's OpenMP; scikit-learn brings one. An empty PIP_INDEX_URL is pip's own default.
RUN python3 -c "import sys; assert sys.version_info[:2] == (3, 11), f'the base image has Python {sys.version}, not 3.11'" \
 && if [ -f /opt/build/certificates.pem ]; then export PIP_CERT=/opt/build/certificates.pem; fi \
 && if [ -z "$PIP_INDEX_URL" ]; then unset PIP_INDEX_URL; fi \
 && python3 -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-compile --target /opt/site \
      --only-binary :all: --no-deps --require-hashes -r /opt/build/requirements.txt \
 && rm -rf /opt/build /opt/site/bin && find /opt/site -type d -name tests -prune -exec rm -rf {} + \
 && mkdir /opt/lib && ln -s /opt/site/scikit_learn.libs/libgomp-*.so.1* /opt/lib/libgomp.so.1 \
 && python3 -m compileall -q -x 'site/(sklearn/externals/_arff|onnxruntime/(transformers|quantization|tools))' /opt/site
COPY conventions /opt/app/conventions
COPY model_store /opt/app/model_store
COPY serving /opt/app/serving
# Compiled here, since the root is read-only later.
RUN python3 -m compileall -q /opt/app

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="fraud-detection serving" org.opencontainers.image.licenses="Apache-2.0"
# What a running service never needs, and an intruder would like.
RUN rm -rf /usr/local/lib/python3.11/site-packages/* /usr/local/lib/python3.11/ensurepip /usr/local/bin/pip* \
           /usr/lib/python3/dist-packages/* /usr/bin/pip* /usr/share/python-wheels
COPY --from=build /opt/lib /opt/lib
COPY --from=build /opt/site /opt/site
COPY --from=build /opt/app /opt/app
ENV PYTHONPATH=/opt/app:/opt/site LD_LIBRARY_PATH=/opt/lib PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    API_HOST=0.0.0.0 API_PORT=8000 HOME=/tmp FRAUD_DETECTION_HOME=/var/lib/fraud-detection
WORKDIR /opt/app
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["python3", "-m", "serving.healthcheck"]
ENTRYPOINT ["python3", "-m", "serving"]
