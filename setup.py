"""The only metadata of the project."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.findall(r'__version__ = "(.+)"', (HERE / "kmeans_tf/__init__.py").read_text())[0]

DELTA = ["deltalake>=1.6,<2"]
ICEBERG = ["pyiceberg>=0.12,<0.13"]
MLFLOW = ["mlflow-skinny>=3.4,<4", "pandas"]
TEST = [
    *DELTA,
    *ICEBERG,
    *MLFLOW,
    "pyiceberg[sql-sqlite]",  # a catalog to write with
    "pytest==9.1.*",  # pytest-xdist 3.8 names groups where 9.2 no longer looks
    "pytest-xdist==3.*",
    "hypothesis==6.*",
    "scikit-learn==1.9.*",
    "pandas",
    "polars",
    "psutil",
    "pyyaml",
    "kubernetes-validate",
]
EXAMPLES = ["scikit-learn==1.9.*", "pillow"]
BEAM = "2.77.0"

setup(
    name="kmeans-tf",
    version=VERSION,
    description="A distributed batch clustering job: a Beam pipeline around a TensorFlow step",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    py_modules=["kmeans_tf_job"],
    packages=find_packages(include=["kmeans_tf", "kmeans_tf.*", "pipeline", "pipeline.*"]),
    package_data={"": ["py.typed", "*.j2"]},
    install_requires=[
        f"apache-beam=={BEAM}",
        "tensorflow==2.21.*",
        "numpy<2.5",
        "pyarrow<26",
        "protobuf>=6.31.1,<7",
        "scipy",
        "rich",
        "jinja2",
        "matplotlib",
    ],
    extras_require={
        "completion": ["argcomplete"],
        "dataflow": [f"apache-beam[gcp]=={BEAM}"],
        "delta": DELTA,
        "iceberg": ICEBERG,
        "mlflow": MLFLOW,
        "test": TEST,
        "examples": EXAMPLES,
        "bench": ["scikit-learn-intelex"],  # for x86-64 alone
        "dev": [
            *TEST,
            *EXAMPLES,
            "ruff==0.17.*",
            "mypy==2.4.*",
            "build",
            "threadpoolctl",
            "faiss-cpu",
        ],
    },
    entry_points={
        "console_scripts": [
            "kmeans-tf = kmeans_tf_job:command",
            "kmeans-tf-worker-pool = kmeans_tf_job:worker_pool",
        ]
    },
)
