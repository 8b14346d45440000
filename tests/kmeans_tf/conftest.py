from collections.abc import Iterator

import pytest

SCORES, FLOAT64 = "scores", "float64"
BY_BOTH = ("test_assign", "test_rows_by_definition")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__.endswith(BY_BOTH):
        metafunc.parametrize("compared", [SCORES, FLOAT64], indirect=True, scope="module")


@pytest.fixture(scope="module", autouse=True)
def compared(request: pytest.FixtureRequest) -> Iterator[None]:
    """By what these small tables are compared with prototypes: by scores, as large ones are."""
    few = {SCORES: 0, FLOAT64: 1 << 62}[getattr(request, "param", SCORES)]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_FEW", "_FEW_ONCE"):
            patch.setattr(f"kmeans_tf.assign.{name}", few)
        yield
