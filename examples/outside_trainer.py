#!/usr/bin/env python3
"""An outside trainer for sweepctl in nothing but the standard library (protocol: worker/agent/README.md).

It really trains: a bigram softmax model (one row of logits per previous token) by SGD on the prepared tokens, with
checkpoints, exact resume and the held-out score. Steps, batch, sequence length and seed are the plan's; the model is
not, so its losses belong in no cohort with native ones.
Use: `trainer: {command: [python3, examples/outside_trainer.py]}` in a sweep file."""
import array, json, math, os, random, select

env, plan = os.environ, json.load(open(os.environ["SWEEP_PLAN"]))
data_dir, out_dir, fd = env["SWEEP_DATA_DIR"], env["SWEEP_CHECKPOINT_DIR"], int(env["SWEEP_FD"])
manifest = json.load(open(os.path.join(data_dir, "manifest.json")))
vocab, steps, batch, window = manifest["vocab_size"], plan["steps"], plan["batch"], plan["seq_len"]

def say(kind, **fields):
    os.write(fd, (json.dumps({"type": kind, **fields}, allow_nan=False) + "\n").encode())

def load(shard):  # 256 little-endian int32 of header (magic, version, count), then uint16 (version 1) or uint32 tokens
    raw = open(os.path.join(data_dir, shard["path"]), "rb").read()
    header = array.array("i", raw[:1024])
    assert header[0] == 20240520, f"{shard['path']} is not a token shard"
    return array.array("H" if header[1] == 1 else "I", raw[1024:])

def save(step):  # written under another name first: a half-written checkpoint never has its final name
    path = os.path.join(out_dir, f"step-{step}")
    os.makedirs(path + ".tmp", exist_ok=True)
    with open(os.path.join(path + ".tmp", "logits.f64"), "wb") as file:
        array.array("d", (x for row in logits for x in row)).tofile(file)
        file.flush(); os.fsync(file.fileno())
    os.rename(path + ".tmp", path)
    say("checkpoint", path=path, step=step)

say("ready", trainer="outside_trainer.py", trainer_version="1", device="cpu: one Python thread")
tokens = array.array("I", (t for source in manifest["sources"] for shard in source["shards"] for t in load(shard)))
logits, first = [[0.0] * vocab for _ in range(vocab)], 0
if env.get("SWEEP_RESUME_FROM"):
    flat = array.array("d", open(os.path.join(env["SWEEP_RESUME_FROM"], "logits.f64"), "rb").read())
    logits = [list(flat[i * vocab:(i + 1) * vocab]) for i in range(vocab)]
    first = int(env["SWEEP_RESUME_FROM"].rstrip("/").rsplit("-", 1)[1])
for step in range(first, steps):
    if select.select([fd], [], [], 0)[0]:  # {"type":"stop","save":true}, or end-of-file when the agent is gone
        line = os.read(fd, 4096)
        if line and json.loads(line.split(b"\n")[0])["save"]: save(step)
        raise SystemExit(say("stopped", step=step) if line else 1)
    rng, rate, nats = random.Random(plan["data_seed"] << 32 | step), 2.0 * (1 - step / steps), 0.0
    for start in (rng.randrange(max(1, len(tokens) - window)) for _ in range(batch)):
        for previous, target in zip(tokens[start:start + window - 1], tokens[start + 1:start + window]):
            exps = [math.exp(x) for x in logits[previous]]
            total = sum(exps)
            nats += math.log(total) - logits[previous][target]
            logits[previous] = [x - rate * e / total for x, e in zip(logits[previous], exps)]
            logits[previous][target] += rate
    say("metric", name="train_loss", step=step + 1, value=nats / (batch * (window - 1)))
    if (step + 1) % max(1, steps // 4) == 0: save(step + 1)
heldout, size = load(manifest["heldout"]), manifest["token_bytes"]  # windows of seq_len, all tokens but a window's first
norm = [math.log(sum(map(math.exp, row))) for row in logits]
pairs = [(heldout[i - 1], heldout[i]) for i in range(len(heldout)) if i % window]
say("eval", step=steps, sum_nats=sum(norm[p] - logits[p][t] for p, t in pairs), scored_tokens=len(pairs),
    scored_bytes=sum(size[t] for _, t in pairs), eval_hash=manifest["heldout"]["eval_hash"])
say("done", step=steps)
