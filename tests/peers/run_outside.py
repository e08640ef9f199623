#!/usr/bin/env python3
"""Runs an outside trainer's command on one plan without coordinator; prints what `sweep-worker run --losses` prints.

    run_outside.py PLAN DATA_DIR [--stop-at STEP] -- COMMAND...    e.g. -- python3 tests/peers/torch_trainer.py --every 1
--stop-at: ask it to save and stop once it reports that step, then start it again from its checkpoint.
"""
import json, os, socket, subprocess, sys, tempfile


def attempt(plan, data, folder, resume_from, command, losses, stop_at):
    """One process; (last message, last evaluation, newest checkpoint)."""
    ours, theirs = socket.socketpair()
    env = {"SWEEP_PLAN": plan, "SWEEP_DATA_DIR": data, "SWEEP_CHECKPOINT_DIR": folder, "SWEEP_RESUME_FROM": resume_from,
           "SWEEP_FD": str(theirs.fileno()), "SWEEP_TRIAL_ID": "-", "SWEEP_THREADS": str(os.cpu_count())}
    child = subprocess.Popen(command, env={**os.environ, **env}, pass_fds=(theirs.fileno(),), stdout=sys.stderr)
    theirs.close()
    last = score = None
    for line in ours.makefile():
        last = json.loads(line)
        if last["type"] == "metric" and last["name"] == "train_loss":
            losses[last["step"]] = last["value"]
            if stop_at and last["step"] >= stop_at:
                ours.sendall(b'{"type":"stop","save":true}\n')
                stop_at = 0
        elif last["type"] == "checkpoint":
            resume_from = last["path"]
        elif last["type"] == "eval":
            score = last
    if child.wait() != 0 or last is None:
        sys.exit(f"the trainer ended with {child.returncode} after {last}")
    return last, score, resume_from


def main():
    options, command = sys.argv[1:sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1:]
    stop_at = int(options[options.index("--stop-at") + 1]) if "--stop-at" in options else 0
    losses, resume_from = {}, ""
    with tempfile.TemporaryDirectory() as folder:
        last = {"type": "stopped"}
        while last["type"] == "stopped":
            last, score, resume_from = attempt(options[0], options[1], folder, resume_from, command, losses, stop_at)
            stop_at = 0
    if last["type"] != "done":
        sys.exit(f"the trial ended as {last}")
    print(json.dumps({"steps": last["step"], "sum_nats": score["sum_nats"],
                      "loss": score["sum_nats"] / score["scored_tokens"],
                      "train_losses": [losses[step] for step in sorted(losses)]}))


if __name__ == "__main__":
    main()
