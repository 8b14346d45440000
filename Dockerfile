# A worker of the job, for any runner: this package with TensorFlow, and Beam's boot program.
#
# Runners that start containers themselves (Dataflow, Flink with --environment_type=DOCKER) use it
# as it is. Beside a Flink TaskManager or a Spark executor it runs the warm pool instead:
# docker run --network host --entrypoint kmeans-tf-worker-pool IMAGE
#
# Python and Beam must be those of the driver; the job checks both before it reads any data.
ARG PYTHON=3.11
ARG BEAM=2.77.0

FROM apache/beam_python${PYTHON}_sdk:${BEAM} AS beam

FROM python:${PYTHON}-slim AS wheel
WORKDIR /source
COPY setup.py README.md kmeans_tf_job.py ./
COPY kmeans_tf kmeans_tf
COPY pipeline pipeline
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim
ARG BEAM
# "gcp" for Dataflow; empty elsewhere.
ARG BEAM_EXTRA=""
ARG WORKER=worker
COPY --from=wheel /wheels /wheels
COPY constraints.txt /wheels/
RUN pip install --no-cache-dir --constraint /wheels/constraints.txt \
    /wheels/*.whl "apache-beam[${BEAM_EXTRA}]==${BEAM}" \
    && useradd --create-home worker
COPY --from=beam /opt/apache/beam /opt/apache/beam
# Boot would start Python in a virtual environment of its own otherwise.
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1 \
    PYTHONUNBUFFERED=1 \
    OPENBLAS_NUM_THREADS=1 \
    TF_CPP_MIN_LOG_LEVEL=3 \
    TF_ENABLE_ONEDNN_OPTS=0
USER ${WORKER}
WORKDIR /home/worker
ENTRYPOINT ["/opt/apache/beam/boot"]
