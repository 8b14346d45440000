"""Tests of a group share a process, and what is dear to make is made once."""

import pytest


@pytest.mark.xdist_group("heard")
def test_groups_are_heard_of(request):
    """By the plugin that hands out the tests, of which pytest's next version may not know."""
    if not request.config.getoption("loadgroup", False):
        pytest.skip("one process runs all, or they are handed out in another way")
    assert request.node.nodeid.endswith("@heard")
