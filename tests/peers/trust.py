#!/usr/bin/env python3
"""The trust test of the CUDA worker: held-out losses of the same plans, trained natively and by plain PyTorch.

    trust.py NATIVE.db TORCH.db [--mean 0.1] [--deviations 3]      --mean in per cent; exit 1 where it fails

Trials are matched by trial_id, which is the hash of the plan: equal shards, order, initial weights, hyper-parameters
and held-out set. The seed deviation of a (width, horizon) is the sample standard deviation of its native losses over
all seeds in NATIVE.db, also those that PyTorch did not repeat.
"""
import argparse, collections, sqlite3, statistics, sys

arguments = argparse.ArgumentParser()
arguments.add_argument("native")
arguments.add_argument("torch")
arguments.add_argument("--mean", type=float, default=0.1)
arguments.add_argument("--deviations", type=float, default=3)
given = arguments.parse_args()


def trials(path):
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    rows = db.execute("SELECT DISTINCT trial_id, hidden, tokens, init_seed, loss FROM v_observations")
    return {row[0]: row[1:] for row in rows}


native, torch = trials(given.native), trials(given.torch)
cells = collections.defaultdict(list)  # (width, tokens) -> native losses
for width, tokens, _, loss in native.values():
    cells[width, tokens].append(loss)
deviation = {cell: statistics.stdev(losses) for cell, losses in cells.items() if len(losses) > 1}

pairs = sorted((native[key], torch[key][3]) for key in native.keys() & torch.keys())
differences, beyond = [], 0
print("width     tokens  seed    native   pytorch   difference  in seed deviations")
for (width, tokens, seed, ours), theirs in pairs:
    differences.append(100 * (ours / theirs - 1))
    units = (ours - theirs) / deviation[width, tokens]
    beyond += abs(units) > given.deviations
    print(f"{width:5d} {tokens:10d} {seed:5d}  {ours:8.5f}  {theirs:8.5f}  {differences[-1]:+9.4f} %  {units:+8.2f}")
for (width, tokens), losses in sorted(cells.items()):
    here = [100 * (ours[3] / theirs - 1) for ours, theirs in pairs if ours[:2] == (width, tokens)] or [float("nan")]
    print(f"width {width}, {tokens} tokens: mean difference {statistics.mean(here):+.4f} % of {len(here)} pairs; seed deviation "
          f"{deviation[width, tokens]:.5f} nats ({100 * deviation[width, tokens] / statistics.mean(losses):.3f} %) of {len(losses)} seeds")
mean = statistics.mean(differences)
error = statistics.stdev(differences) / len(differences) ** 0.5
passed = len(pairs) > 0 and abs(mean) <= given.mean and beyond == 0
print(f"{len(pairs)} pairs of {len(torch)}; native less PyTorch: mean {mean:+.4f} +- {error:.4f} % (limit {given.mean} %), mean "
      f"absolute {statistics.mean(map(abs, differences)):.4f} %, largest {max(differences, key=abs):+.4f} %; {beyond} beyond "
      f"{given.deviations:g} seed deviations: {'PASSED' if passed else 'FAILED'}")
sys.exit(not passed or len(pairs) != len(torch))
