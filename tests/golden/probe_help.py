"""Run in a child, never imported: answer a list of command lines with what `python -m seg_assets.cli` prints for each.

Each command line runs in a fork, so that the package is imported once and a command may end its process as it likes.
"""

import importlib
import json
import os
import runpy
import sys
import tempfile
import warnings


def _printed(words: list[str]) -> str:
    with tempfile.TemporaryFile() as file:
        child = os.fork()
        if not child:
            os.dup2(file.fileno(), 1)
            sys.stdout = os.fdopen(1, "w", closefd=False)
            sys.argv = ["seg-assets", *words]
            try:
                runpy.run_module("seg_assets.cli", run_name="__main__", alter_sys=False)
            except BaseException:  # a command that says no ends here too; what was printed counts
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            finally:
                sys.stdout.flush()
                os._exit(0)
        os.waitpid(child, 0)
        file.seek(0)
        return file.read().decode(errors="replace")


warnings.simplefilter("ignore")
# The definitions load most of what commands import; without them each fork would load that again (a second each).
for module in ("seg_assets.cli", "seg_assets.definitions"):
    importlib.import_module(module)
asked = json.load(sys.stdin)
print(json.dumps([_printed(words) for words in asked]))
