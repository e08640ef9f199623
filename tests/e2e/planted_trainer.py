"""An outside trainer without training: its losses follow a planted law of the plan's params and tokens, so a fit of them
has something to find. Speaks the whole protocol (checkpoints, exact resume, stop) and takes about two seconds a trial."""
import json, math, os, select, time

env, plan = os.environ, json.load(open(os.environ["SWEEP_PLAN"]))
fd, steps = int(env["SWEEP_FD"]), plan["steps"]
manifest = json.load(open(os.path.join(env["SWEEP_DATA_DIR"], "manifest.json")))
loss = 1.5 + 12.0 / plan["params"] ** 0.25 + 40.0 / plan["tokens"] ** 0.3
loss *= 1 + 0.0004 * (plan["tokens"] % 7 - 3)  # without noise there would be no interval to forecast with
first = 0
if env["SWEEP_RESUME_FROM"]:
    first = json.load(open(os.path.join(env["SWEEP_RESUME_FROM"], "state.json")))["step"]

def say(kind, **fields):
    os.write(fd, (json.dumps({"type": kind, **fields}) + "\n").encode())

def save(step):
    path = os.path.join(env["SWEEP_CHECKPOINT_DIR"], f"step-{step}")
    os.makedirs(path)
    json.dump({"step": step}, open(os.path.join(path, "state.json"), "w"))
    say("checkpoint", path=path, step=step)

say("ready", trainer="planted", trainer_version="1", device="none")
for part in range(10):
    step = steps * (part + 1) // 10
    if step <= first:
        continue
    if select.select([fd], [], [], 0.2)[0]:
        if not os.read(fd, 4096):
            raise SystemExit(1)
        save(step)
        raise SystemExit(say("stopped", step=step))
    say("metric", name="train_loss", step=step, value=loss + 1.0 / (part + 1))
    save(step)
tokens = sum(1 for i in range(manifest["heldout"]["tokens"]) if i % plan["seq_len"])
say("eval", step=steps, sum_nats=loss * tokens, scored_tokens=tokens, scored_bytes=tokens,
    eval_hash=manifest["heldout"]["eval_hash"])
say("done", step=steps)
