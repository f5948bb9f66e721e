"""The worker of targets, with requests added that look at what it holds, or kill it.

Run by path:  python -I looking_worker.py FRAMES SERVE MEMORY_BYTES ANSWERS
"""

import importlib.util
import os
import sys


def _module(path):
    spec = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _main():
    frames, serve = _module(sys.argv[1]), _module(sys.argv[2])
    worker = _module(os.environ["MODELCHECK_TEST_WORKER"])

    class Looking(worker.Nets):
        def dump(self, header, arrays):
            return {"dump": self._nets[header["key"]][1].dump()[:40]}, {}

        def die(self, header, arrays):
            print("[ERROR] a native library dies", flush=True)
            os.abort()

    serve.limit_memory(int(sys.argv[3]))
    nets = Looking()
    operations = ("hello", "load", "forward", "dump", "die")
    serve.serve(frames, {name: getattr(nets, name) for name in operations})


_main()
