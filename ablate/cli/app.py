"""The entry point `ablate`: signals are handled first, then the commands are imported and one of them runs."""

from __future__ import annotations

import atexit
import gc
import sys

from ablate.cli.signals import Signals


def main() -> None:
    """Run a command; exit codes: 0 done, 1 failed, 2 bad input, 130 Ctrl-C, 143 terminated."""
    signals = Signals()
    code, line = 0, ""
    try:
        signals.install()
        # At exit the garbage collector would scan all imported objects: 0.7 s for torch and pandas.
        atexit.register(gc.freeze)
        try:
            from ablate.cli.commands import run

            code, line = run(sys.argv[1:])
            sys.stdout.flush()
        finally:
            signals.finish()
    except BaseException:
        if signals.number:  # a library may have turned `Stopped` into an exception of its own
            sys.exit(signals.say())
        raise
    if signals.number:
        code = signals.say()
    elif line:
        print(f"ablate: {line}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


if __name__ == "__main__":
    main()
