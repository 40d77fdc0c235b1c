# The service's image. Packages come from the directory that `make image` fills (build/site: hash-checked, installed for
# this platform), so nothing is downloaded while the image is built, and no pip or compiler is needed in any stage.
#
#     make image BASE_IMAGE=python:3.11-slim-bookworm@sha256:…    # a slim image with Python 3.11, by digest
ARG BASE_IMAGE

FROM ${BASE_IMAGE} AS build
COPY build/site /opt/site
COPY conventions /opt/app/conventions
COPY model_store /opt/app/model_store
COPY serving /opt/app/serving
# Compiled once here, since the root is read-only later. LightGBM wants the system's OpenMP; scikit-learn brings one.
RUN python3 -c "import sys; assert sys.version_info[:2] == (3, 11), f'the base image has Python {sys.version}, not 3.11'" \
 && find /opt/site -type d -name tests -prune -exec rm -rf {} + \
 && python3 -m compileall -q -x 'site/(bin|sklearn/externals/_arff|onnxruntime/(transformers|quantization|tools))' \
      /opt/site /opt/app \
 && mkdir /opt/lib && ln -s /opt/site/scikit_learn.libs/libgomp-*.so.1* /opt/lib/libgomp.so.1

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="fraud-detection serving" org.opencontainers.image.licenses="Apache-2.0"
# What a running service never needs, and an intruder would like.
RUN rm -rf /usr/local/lib/python3.11/site-packages/pip* /usr/local/lib/python3.11/ensurepip /usr/local/bin/pip* \
           /usr/lib/python3/dist-packages/pip* /usr/bin/pip*
COPY --from=build /opt /opt
ENV PYTHONPATH=/opt/app:/opt/site LD_LIBRARY_PATH=/opt/lib PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    API_HOST=0.0.0.0 API_PORT=8000 HOME=/tmp
WORKDIR /opt/app
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["python3", "-m", "serving.healthcheck"]
ENTRYPOINT ["python3", "-m", "serving"]
