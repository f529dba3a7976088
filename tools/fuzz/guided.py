"""One parser under atheris, in this process: it ends with the run. Arguments: parser, seed, inputs, corpus, crashes."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["mooring"]):
    from tools.fuzz.parsers import PARSERS


def main() -> None:
    name, seed, wanted, corpus, crashes = sys.argv[1:]
    options = [
        f"-seed={int(seed) % 2**31 or 1}", f"-runs={wanted}", "-max_len=4096", "-timeout=5", "-rss_limit_mb=2048",
        "-max_total_time=60", "-print_final_stats=1", f"-artifact_prefix={crashes}/",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, corpus], PARSERS[name].run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
