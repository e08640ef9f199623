#!/usr/bin/env python3
"""A plain PyTorch trainer of `transformer` plans that speaks the outside-trainer protocol (worker/agent/README.md).

Model, loss, optimisers, schedule and held-out score are written anew from DESIGN.md; it shares no code with the native
trainer. Initial weights and data order are not the subject, so `sweep-worker inputs` writes them (SWEEP_WORKER names the
program, else PATH). "bf16-mixed": bf16 autocast over f32 weights, f32 residual stream, norms, logits and optimiser.
    torch_trainer.py [--every N] [--f64]
--every: report the loss every N steps; default: a hundredth of the run. --f64: compute a plan of f32 in f64, to see whose
rounding it is when two f32 trainers part.
"""
import json, math, os, select, subprocess, sys, tempfile, time
import torch
import torch.nn.functional as F

ROLES = {"embed_tokens": "embedding", "self_attn": "attention", "mlp": "mlp", "lm_head": "head", "model.norm": "final_norm",
         "layernorm": "norm", "q_norm": "qk_norm", "k_norm": "qk_norm"}  # the last that occurs in the name wins
env = os.environ
plan = json.load(open(env["SWEEP_PLAN"]))
config = plan["model"]["config"]
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
mixed = {"f32": False, "bf16-mixed": True}[plan["numerics"]]
real = torch.float64 if "--f64" in sys.argv else torch.float32
groups, batch, length, steps = plan["optimizer"], plan["batch"], plan["seq_len"], plan["steps"]


def role_of(name):
    return [role for part, role in ROLES.items() if part in name][-1]


def say(kind, **fields):
    os.write(int(env["SWEEP_FD"]), (json.dumps({"type": kind, **fields}, allow_nan=False) + "\n").encode())


def rotary_tables():
    dim = config["head_dim"]
    freq = config["rope_theta"] ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    if scaling := config.get("rope_scaling"):  # Llama 3's
        wavelength, original = 2 * math.pi / freq, scaling["original_max_position_embeddings"]
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        smooth = ((original / wavelength - low) / (high - low)).clamp(0, 1)
        freq = (1 - smooth) * freq / scaling["factor"] + smooth * freq
    angle = torch.arange(length, dtype=torch.float64)[:, None] * freq
    return tuple(f(torch.cat([angle, angle], -1)).to(real).to(device) for f in (torch.cos, torch.sin))


def rms_norm(x, gain):
    x = x.to(real)
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + config["rms_norm_eps"]) * gain


def rotate(x, cos, sin):  # (B, H, T, D)
    a, b = x.to(real).chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


def attention(h, w, prefix, tables):
    kv_heads, dim = config["num_key_value_heads"], config["head_dim"]
    q, k, v = (F.linear(h, w[f"{prefix}{name}_proj.weight"]).unflatten(-1, (-1, dim)).transpose(1, 2) for name in "qkv")
    if config.get("qk_norm", True):
        q, k = rms_norm(q, w[prefix + "q_norm.weight"]), rms_norm(k, w[prefix + "k_norm.weight"])
    q, k = rotate(q, *tables).to(v.dtype), rotate(k, *tables).to(v.dtype)
    k, v = (x.repeat_interleave(config["num_attention_heads"] // kv_heads, 1) for x in (k, v))
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return F.linear(y.transpose(1, 2).flatten(2), w[prefix + "o_proj.weight"])


def logits_of(tokens, w, tables):
    """(B, T) tokens -> (B, T, V) f32 logits."""
    scale = config.get("residual_multiplier", 1.0)
    with torch.autocast(device.type, torch.bfloat16, enabled=mixed, cache_enabled=False):
        x = F.embedding(tokens, w["model.embed_tokens.weight"])
        for layer in range(config["num_hidden_layers"]):
            p = f"model.layers.{layer}."
            x = x + scale * attention(rms_norm(x, w[p + "input_layernorm.weight"]), w, p + "self_attn.", tables)
            h = rms_norm(x, w[p + "post_attention_layernorm.weight"])
            gate, up = F.linear(h, w[p + "mlp.gate_proj.weight"]), F.linear(h, w[p + "mlp.up_proj.weight"])
            x = x + scale * F.linear(F.silu(gate) * up, w[p + "mlp.down_proj.weight"])
        x = rms_norm(x, w["model.norm.weight"])
    tied = config.get("tie_word_embeddings", False)
    return F.linear(x, w["model.embed_tokens.weight" if tied else "lm_head.weight"])


def schedule_factor(k):
    s = plan["schedule"]
    warm, flat, decay, end = s["warmup_steps"], s["stable_steps"], s["decay_steps"], s["final_fraction"]
    if k < warm:
        return k / warm
    if k < warm + flat or decay == 0:
        return 1.0
    done = (k - warm - flat) / decay
    if s["kind"] == "cosine":
        return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * done))
    return 1 - done * (1 - end)


def hyper_table():
    """(steps, groups, 3): learning rate and the bias corrections of both moments. On the device before the first step,
    so that a step asks nothing of the host and can be captured."""
    rows = [[[g["peak_lr"] * schedule_factor(k), 1 / (1 - g["beta1"] ** (k + 1)), 1 / (1 - g["beta2"] ** (k + 1))]
             for g in groups] for k in range(steps)]
    return torch.tensor(rows, dtype=torch.float64).to(real).to(device)


@torch.no_grad()
def update(group, names, w, m, v, lr, m_scale, v_scale):
    gradients = [w[name].grad for name in names]
    norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
    clip = (group["clip_norm"] / norm).clamp(max=1) if group["clip_norm"] > 0 else 1.0
    for name, g in zip(names, gradients):
        p, g = w[name].data, g * clip
        m[name].mul_(group["beta1"]).add_(g, alpha=1 - group["beta1"])
        v[name].mul_(group["beta2"]).addcmul_(g, g, value=1 - group["beta2"])
        u = m[name] * m_scale / ((v[name] * v_scale).sqrt() + group["epsilon"])
        if group["algorithm"] == "adamh":  # a step on the sphere of the matrix's own radius
            radius = p.norm()
            q = p - lr * u * radius / u.norm().clamp(min=1e-10)
            p.copy_(q * radius / q.norm())
        else:
            assert group["algorithm"] == "adamw"
            p.sub_(lr * (u + group["weight_decay"] * p))


def train_step(tokens, hyper, w, m, v, members, tables):
    """Loss (mean nats a target) of the weights before the step; the whole batch at once."""
    for p in w.values():
        p.grad = None
    logits = logits_of(tokens, w, tables)[:, :-1].flatten(0, 1)
    nats = F.cross_entropy(logits, tokens[:, 1:].flatten())
    (nats + plan["z_loss_weight"] * logits.logsumexp(-1).square().mean()).backward()
    for i, group in enumerate(groups):
        update(group, members[i], w, m, v, *hyper[i])
    return nats.detach()


def captured(step, tokens, hyper):
    """`step` of these two buffers as one CUDA graph. The warm-up changes weights and moments: load them afterwards."""
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        for _ in range(3):
            step(tokens, hyper)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step(tokens, hyper)

    def replay(new_tokens, new_hyper):
        tokens.copy_(new_tokens)
        hyper.copy_(new_hyper)
        graph.replay()
        return loss
    return replay


def read_safetensors(path):
    raw = bytearray(open(path, "rb").read())
    end = 8 + int.from_bytes(raw[:8], "little")
    for name, entry in json.loads(raw[8:end]).items():
        if name != "__metadata__":
            begin, stop = entry["data_offsets"]
            yield name, torch.frombuffer(raw, dtype=torch.float32, count=(stop - begin) // 4,
                                         offset=end + begin).reshape(entry["shape"]).to(real, copy=True)


def read_inputs():
    """Initial weights by name, and (steps * batch, T) tokens."""
    with tempfile.TemporaryDirectory(dir=env["SWEEP_CHECKPOINT_DIR"]) as folder:
        subprocess.run([env.get("SWEEP_WORKER", "sweep-worker"), "inputs", "--plan", env["SWEEP_PLAN"], "--data",
                        env["SWEEP_DATA_DIR"], "--out", folder], check=True)
        sequences = torch.frombuffer(bytearray(open(folder + "/sequences.i32", "rb").read()), dtype=torch.int32)
        return dict(read_safetensors(folder + "/initial.safetensors")), sequences.view(steps * batch, length)


def save(step, w, m, v):
    path = os.path.join(env["SWEEP_CHECKPOINT_DIR"], f"step-{step}")
    os.makedirs(path + ".tmp", exist_ok=True)
    torch.save({"step": step, "w": {n: p.data for n, p in w.items()}, "m": m, "v": v}, path + ".tmp/state.pt")
    os.rename(path + ".tmp", path)
    say("checkpoint", path=path, step=step)


@torch.no_grad()
def heldout_score(w, tables):
    """Windows of seq_len; every token but a window's first is scored once. sum of nats, tokens, bytes."""
    manifest = json.load(open(env["SWEEP_DATA_DIR"] + "/manifest.json"))
    raw = bytearray(open(os.path.join(env["SWEEP_DATA_DIR"], manifest["heldout"]["path"]), "rb").read())
    header = torch.frombuffer(raw, dtype=torch.int32, count=256)
    stored = torch.frombuffer(raw, dtype=torch.int16 if header[1] == 1 else torch.int32, offset=1024).long()
    tokens = stored & 0xffff if header[1] == 1 else stored
    scored = torch.arange(len(tokens)) % length != 0
    windows = F.pad(tokens, (0, -len(tokens) % length)).view(-1, length).to(device)
    mask = F.pad(scored, (0, -len(tokens) % length)).view(-1, length).to(device)
    nats = torch.zeros((), dtype=torch.float64, device=device)
    for rows, kept in zip(windows.split(16), mask.split(16)):
        each = F.cross_entropy(logits_of(rows, w, tables)[:, :-1].flatten(0, 1), rows[:, 1:].flatten(), reduction="none")
        nats += each[kept[:, 1:].flatten()].double().sum()
    size = torch.tensor(manifest["token_bytes"])[tokens]
    return nats.item(), int(scored.sum()), int(size[scored].sum())


def main():
    every = int(sys.argv[sys.argv.index("--every") + 1]) if "--every" in sys.argv else max(1, steps // 100)
    torch.set_num_threads(int(env.get("SWEEP_THREADS", "1")))
    initial, sequences = read_inputs()
    sequences, table, tables = sequences.to(device), hyper_table(), rotary_tables()
    initial = {name: p.to(device) for name, p in initial.items()}
    w = {name: p.clone().requires_grad_() for name, p in initial.items()}
    m, v = ({name: torch.zeros_like(p) for name, p in initial.items()} for _ in "mv")
    members = [[name for name in w if role_of(name) in group["roles"]] for group in groups]
    assert sorted(sum(members, [])) == sorted(w), "every parameter is in exactly one optimiser group"
    step_of = lambda tokens, hyper: train_step(tokens.long(), hyper, w, m, v, members, tables)
    if device.type == "cuda":
        step_of = captured(step_of, sequences[:batch].clone(), table[0].clone())
    say("ready", trainer="torch_trainer.py", trainer_version=f"torch {torch.__version__}",
        device=torch.cuda.get_device_name() if device.type == "cuda" else "cpu")
    zeros = {name: torch.zeros_like(p) for name, p in initial.items()}
    state = {"step": 0, "w": initial, "m": zeros, "v": zeros}
    if env.get("SWEEP_RESUME_FROM"):
        state = torch.load(env["SWEEP_RESUME_FROM"] + "/state.pt", map_location=device)
    for name in w:
        w[name].data.copy_(state["w"][name])
        m[name].copy_(state["m"][name])
        v[name].copy_(state["v"][name])

    begun = time.monotonic()
    for step in range(state["step"], steps):
        loss = step_of(sequences[step * batch:(step + 1) * batch], table[step])
        if (step + 1) % every and step + 1 < steps:
            continue
        loss = loss.item()
        if not math.isfinite(loss):
            return say("diverged", step=step + 1, detail=f"loss {loss}")
        say("metric", name="train_loss", step=step + 1, value=loss)
        if select.select([int(env["SWEEP_FD"])], [], [], 0)[0]:  # stop, or end of file: the agent is gone
            line = os.read(int(env["SWEEP_FD"]), 4096)
            if line and json.loads(line.split(b"\n")[0])["save"]:
                save(step + 1, w, m, v)
            return say("stopped", step=step + 1) if line else None
        if (step + 1) // every % (steps // every // 4 + 1) == 0 and step + 1 < steps:
            save(step + 1, w, m, v)
    seconds = time.monotonic() - begun
    sum_nats, tokens, size = heldout_score(w, tables)
    say("eval", step=steps, sum_nats=sum_nats, scored_tokens=tokens, scored_bytes=size)
    say("done", step=steps, train_seconds=seconds)


if __name__ == "__main__":
    main()
