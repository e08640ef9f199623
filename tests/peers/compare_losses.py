#!/usr/bin/env python3
"""Two loss curves, as `sweep-worker run --losses` or run_outside.py printed them, side by side.

    compare_losses.py A.json B.json [--from 1] [--mean 1e-4] [--max 1e-3]     steps count from 1; exit 1 beyond a limit
"""
import argparse, json, sys

arguments = argparse.ArgumentParser()
arguments.add_argument("files", nargs=2)
arguments.add_argument("--from", type=int, default=1, dest="first")
arguments.add_argument("--mean", type=float, default=float("inf"))
arguments.add_argument("--max", type=float, default=float("inf"))
given = arguments.parse_args()
a, b = (json.load(open(path)) for path in given.files)
assert len(a["train_losses"]) == len(b["train_losses"]), "the curves have different lengths"
pairs = list(zip(a["train_losses"], b["train_losses"]))
for step in sorted({1, 2, 5, 10, len(pairs) // 4, len(pairs) // 2, len(pairs)}):
    ours, theirs = pairs[step - 1]
    print(f"step {step:5d}  {ours:.6f}  {theirs:.6f}  {theirs - ours:+.2e}")
gaps = [abs(x - y) for x, y in pairs[given.first - 1:]]
mean, most = sum(gaps) / len(gaps), max(gaps)
print(f"steps {given.first} to {len(pairs)}: mean absolute difference {mean:.2e} nats, largest {most:.2e}; "
      f"held-out {a['loss']:.6f} and {b['loss']:.6f}, {100 * (b['loss'] / a['loss'] - 1):+.4f} %")
sys.exit(mean > given.mean or most > given.max)
