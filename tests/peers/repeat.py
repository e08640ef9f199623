#!/usr/bin/env python3
"""Does a trial repeat to the bit, alone and packed with neighbours? Needs a GPU.

    repeat.py PLAN DATA_DIR GEMM_TABLE [SWEEP.db] [--worker sweep-worker-cuda]
Trains the plan twice alone with the pinned algorithms and compares every training loss and the held-out sum exactly;
with a database, also with what the same trial reached there, packed, under the same table
(`<db>.worker/gpu-0/gemm-table.txt`).
"""
import argparse, hashlib, json, sqlite3, subprocess, sys

arguments = argparse.ArgumentParser()
for name in ("plan", "data", "table"):
    arguments.add_argument(name)
arguments.add_argument("db", nargs="?")
arguments.add_argument("--worker", default="sweep-worker-cuda")
given = arguments.parse_args()

command = [given.worker, "run", "--plan", given.plan, "--data", given.data, "--gemm-table", given.table, "--losses"]
table = open(given.table, "rb").read()
runs = [json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout) for _ in range(2)]
same = runs[0]["train_losses"] == runs[1]["train_losses"] and runs[0]["sum_nats"] == runs[1]["sum_nats"]
print(f"alone, twice: {len(runs[0]['train_losses'])} losses and the held-out sum {runs[0]['sum_nats']!r} are "
      f"{'equal to the bit' if same else 'NOT EQUAL: ' + repr(runs[1]['sum_nats'])}")
if open(given.table, "rb").read() != table:
    sys.exit("the table was not complete: its new entries were timed, so the runs above prove less than they should")
if given.db:
    trial = hashlib.sha256(open(given.plan, "rb").read()).hexdigest()
    db = sqlite3.connect(f"file:{given.db}?mode=ro", uri=True)
    packed, packing, device = db.execute("""SELECT sum_nats, packing, device FROM v_observations JOIN v_attempts
        USING(trial_id) WHERE trial_id=? AND outcome='COMPLETED'""", (trial,)).fetchone()
    equal = packed == runs[0]["sum_nats"]
    print(f"packed ({packing}; {device}): {packed!r} is {'equal to the bit' if equal else 'NOT EQUAL'}")
    same = same and equal
sys.exit(not same)
