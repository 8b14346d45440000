"""Ends a worker process when a channel to its runner dies under it.

Beam's worker lives on without its data or state channel: what it still answers is that all is
well, and its runner waits for ever for what was to come through the channel. A runner that ends
closes its channels too; but then the control stream ends with them, and the worker with that.
"""

import gc
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass

import grpc
from apache_beam.runners.worker.sdk_worker import SdkHarness

from pipeline.console import say

CHANNEL_LOST = 6  # the exit code of such a process
LOOK_SECONDS = 1.0
CLOSING_SECONDS = 5.0  # how long the channels of a runner that ends may take to close
_LAST_WORDS_SECONDS = 5.0
_CONNECT_SECONDS = 5.0
_BEAMS_OWN = "apache_beam.runners.worker.sdk_worker_main"


def watch(name: str, harness: SdkHarness, control: str | None = None) -> None:
    """Ends the process if the worker loses a channel; looks from a thread while it lives.

    Args:
        name: of the worker.
        harness: the worker.
        control: HOST:PORT of its control endpoint. Where nobody listens any more, there or where
            the channel led, the runner is gone or closing, and its worker ends with the control
            stream; there may be others here.
    """
    arguments = (name, harness, control)
    threading.Thread(target=_watch, args=arguments, name="watch_worker", daemon=True).start()


def watch_beams_own() -> None:
    """The same for the worker of a process that Beam itself has started."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None or spec.name != _BEAMS_OWN:
        return
    for harness in [each for each in gc.get_objects() if type(each) is SdkHarness]:
        watch(harness._worker_id or "of Beam", harness)


@dataclass(frozen=True)
class Loss:
    """A channel that has ended: the HOST:PORT that it led to, and which it was and why."""

    endpoint: str
    told: str


def lost_channel(harness: SdkHarness) -> Loss | None:
    """The channel of a worker that has ended; None if all are there."""
    for (endpoint, _), channel in list(harness._data_channel_factory._data_channel_cache.items()):
        if channel._exception or channel._reads_finished.is_set():
            return Loss(endpoint, f"its data channel was lost: {_reason(channel._exception)}")
    for endpoint, handler in list(harness._state_handler_factory._state_handler_cache.items()):
        if error := handler._underlying._exception:
            return Loss(endpoint, f"its state channel was lost: {_reason(error)}")
    return None


def _watch(name: str, harness: SdkHarness, control: str | None) -> None:
    while harness._alive:
        lost = lost_channel(harness)
        time.sleep(CLOSING_SECONDS if lost else LOOK_SECONDS)
        if lost and harness._alive and _listens(control) and _listens(lost.endpoint):
            _end_process(name, lost.told)


def _listens(address: str | None) -> bool:
    """Whether somebody listens at HOST:PORT; where that is not known it may be."""
    if address is None:
        return True
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except ConnectionRefusedError:
        return False
    except (OSError, ValueError):  # it does not answer in time, or is named in another way
        return True
    return True


def _end_process(name: str, lost: str) -> None:
    say(f"worker {name}: {lost}: process {os.getpid()} ends")
    # Not imported: it takes seconds, and where it was not there is nobody to speak to.
    if heartbeat := sys.modules.get("pipeline.passes.heartbeat"):
        words = threading.Thread(target=heartbeat.say_last_words, args=(lost,), daemon=True)
        words.start()
        words.join(_LAST_WORDS_SECONDS)  # a store that hangs must not keep the process
    os._exit(CHANNEL_LOST)


def _reason(error: Exception | None) -> str:
    if error is None:
        return "the runner closed it"
    details = error.details() if isinstance(error, grpc.RpcError) else None
    return " ".join((details or str(error) or type(error).__name__).split())
