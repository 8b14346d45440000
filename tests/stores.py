"""Stores that tell what is read from what is written, where input and output are not of one."""

from pipeline.data.store import Store


class ReadOnly(Store):
    """The input's store: nothing is written to it."""

    def create(self, path):
        raise AssertionError(f"{path} is written to the input's store")


class WriteOnly(Store):
    """The output's store: no file of the input is opened in it."""

    def open(self, file):
        raise AssertionError(f"{file.path} is read from the output's store")
