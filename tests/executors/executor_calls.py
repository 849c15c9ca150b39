"""What the tests ask workers to do. A module of its own, because workers import it."""

import os
import signal
import sys
import time

from ablate.records.errors import InputError


def double(number, progress):
    progress(number)
    return 2 * number


def fails(progress):
    raise ValueError("as asked")


def refuses(progress):
    raise InputError("wrong", hint="do it right")


def sleeps(seconds, progress):
    time.sleep(seconds)
    return os.getpid()


def dies(progress):
    os.kill(os.getpid(), signal.SIGKILL)


def interrupted(progress):
    """Ctrl-C, as a terminal sends it to every process of the foreground."""
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)
    return "alive"


def prints(progress):
    return "standard error" if sys.stdout is sys.stderr else "standard output"


def tells_forever(path, progress):
    """Stands in the middle of telling its progress: it holds the lock of the queue."""
    from ablate.executors import processes

    processes._queue._wlock.acquire()
    path.touch()
    time.sleep(60)


def gpu_when_all_have_come(folder, workers, progress):
    """CUDA_VISIBLE_DEVICES, once as many workers as that have come to `folder`: each call is another worker's."""
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < workers:
        time.sleep(0.05)
    return os.environ["CUDA_VISIBLE_DEVICES"]
