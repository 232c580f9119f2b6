"""Tasks for worker processes, importable by them from this folder; none needs TensorFlow."""

import ctypes
import importlib
import itertools
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import threadpoolctl


def do(task, tell):
    """Calls the function of this module that the task names."""
    name, *arguments = task
    return globals()[name](*arguments, tell=tell)


def double(number, tell):
    return 2 * number


def fail(text, tell):
    raise ValueError(text)


def process_id(tell):
    return os.getpid()


def variables(*names, tell):
    return [os.environ.get(name) for name in names]


def sleep(seconds, tell):
    time.sleep(seconds)


def ignore_and_sleep(seconds, tell):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(seconds)


def compute_without_end(tell):
    """Native code that holds the interpreter's lock all the time."""
    return len(str(7 ** (7**12)))


def die(signal_number, tell):
    os.kill(os.getpid(), signal_number)


def leave(status, tell):
    os._exit(status)


def crash(tell):
    os.write(2, b"the last that native code wrote\n")
    ctypes.string_at(0)


def stop_answering(tell):
    """Closes every file, the pipe to the driver among them, and lives on."""
    os.closerange(3, 256)
    time.sleep(60)


def not_picklable(tell):
    return lambda: None


def many(size, count, tell):
    """Tells `count` times of `size` bytes, and brings as much."""
    for number in range(count):
        tell(bytes([number]) * size)
    return bytes(size)


def die_while_telling(size, tell):
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGKILL)).start()
    while True:
        tell(bytes(size))


def tell_and_hang(tell):
    tell("here")
    time.sleep(60)


def take(content, tell):
    return len(content)


_kept = []


def keep(size, tell):
    """Holds so much memory for the rest of the process's life."""
    _kept.append(b"x" * size)
    return os.getpid()


def eat(size, seconds, tell):
    kept = b"x" * size
    time.sleep(seconds)
    return len(kept)


def have_a_child_eat(size, seconds, tell):
    text = f"import time; kept = b'x' * {size}; time.sleep({seconds})"
    with subprocess.Popen([sys.executable, "-c", text]) as child:
        tell(child.pid)


def tell_id_and(name, *arguments, tell):
    tell(os.getpid())
    globals()[name](*arguments, tell=tell)


def tell_without_end(tell):
    for number in itertools.count():
        tell(number)
        time.sleep(0.001)


def variables_and_death(*names, tell):
    tell(variables(*names, tell=tell))
    os.kill(os.getpid(), signal.SIGKILL)


def blas_threads(tell):
    return {library["num_threads"] for library in threadpoolctl.threadpool_info()}


def write_error(text, tell):
    os.write(2, text.encode())


def tell_without_space(size, tell):
    """What a limit on the size of files refuses does not travel."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    tell(bytes(size))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    tell("next")
    return "result"


def leave_a_file(tell):
    descriptor, name = tempfile.mkstemp()
    os.close(descriptor)
    return Path(name)


class SlowToLoad:
    """Takes its time to be loaded, as a task does that imports a framework."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __reduce__(self):
        return _load_slowly, (self.seconds,)


def _load_slowly(seconds):
    time.sleep(seconds)
    return [seconds]


def loads_nowhere(tell):
    """A result that can be sent, but not be loaded."""
    return _LoadsNowhere()


class _LoadsNowhere:
    def __reduce__(self):
        return importlib.import_module, ("module_that_no_driver_has",)
