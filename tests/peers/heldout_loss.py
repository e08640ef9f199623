#!/usr/bin/python3
"""Held-out loss of an exported checkpoint by an independent forward pass in numpy (f64).

    heldout_loss.py CHECKPOINT_DIR DATA_DIR [MAX_WINDOWS]

Reads model.safetensors and config.json as any Hugging Face tool would (Qwen3 layout), the held-out shard and
plan.json's sequence length; prints JSON {"loss", "scored_tokens"}. Shares no code with the trainer.
"""
import json
import math
import struct
import sys

import numpy as np


def read_safetensors(path):
    raw = open(path, "rb").read()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] == "F32", entry
        begin, end = entry["data_offsets"]
        data = np.frombuffer(raw[8 + length + begin:8 + length + end], dtype="<f4")
        tensors[name] = data.reshape(entry["shape"]).astype(np.float64)
    return tensors


def read_shard(path):
    header = np.fromfile(path, dtype="<i4", count=256)
    assert header[0] == 20240520 and header[1] in (1, 2)
    tokens = np.fromfile(path, dtype="<u2" if header[1] == 1 else "<u4", offset=1024)
    assert len(tokens) == header[2]
    return tokens.astype(np.int64)


def rms_norm(x, gain, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * gain


def rotary(length, head_dim, config):
    freq = config["rope_theta"] ** (-np.arange(0, head_dim, 2) / head_dim)
    scaling = config.get("rope_scaling")
    if scaling:
        wavelength = 2 * math.pi / freq
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        original, factor = scaling["original_max_position_embeddings"], scaling["factor"]
        smooth = np.clip((original / wavelength - low) / (high - low), 0, 1)
        freq = (1 - smooth) * freq / factor + smooth * freq
    angle = np.arange(length)[:, None] * freq[None, :]
    return np.concatenate([np.cos(angle)] * 2, -1), np.concatenate([np.sin(angle)] * 2, -1)


def rotate(x, cos, sin):  # (T, H, D)
    half = x.shape[-1] // 2
    turned = np.concatenate([-x[..., half:], x[..., :half]], -1)
    return x * cos[:, None, :] + turned * sin[:, None, :]


def forward(tokens, w, config):
    eps, heads, kv_heads = config["rms_norm_eps"], config["num_attention_heads"], config["num_key_value_heads"]
    dim, branch_scale = config["head_dim"], config.get("residual_multiplier", 1.0)
    length = len(tokens)
    cos, sin = rotary(length, dim, config)
    mask = np.triu(np.full((length, length), -np.inf), 1)
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        h = rms_norm(x, w[p + "input_layernorm.weight"], eps)
        q = (h @ w[p + "self_attn.q_proj.weight"].T).reshape(length, heads, dim)
        k = (h @ w[p + "self_attn.k_proj.weight"].T).reshape(length, kv_heads, dim)
        v = (h @ w[p + "self_attn.v_proj.weight"].T).reshape(length, kv_heads, dim)
        if p + "self_attn.q_norm.weight" in w:
            q = rms_norm(q, w[p + "self_attn.q_norm.weight"], eps)
            k = rms_norm(k, w[p + "self_attn.k_norm.weight"], eps)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k, v = np.repeat(k, heads // kv_heads, 1), np.repeat(v, heads // kv_heads, 1)
        scores = np.einsum("thd,shd->hts", q, k) / math.sqrt(dim) + mask
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        out = np.einsum("hts,shd->thd", scores, v).reshape(length, heads * dim)
        x = x + branch_scale * (out @ w[p + "self_attn.o_proj.weight"].T)
        h = rms_norm(x, w[p + "post_attention_layernorm.weight"], eps)
        gate, up = h @ w[p + "mlp.gate_proj.weight"].T, h @ w[p + "mlp.up_proj.weight"].T
        x = x + branch_scale * ((gate / (1 + np.exp(-gate)) * up) @ w[p + "mlp.down_proj.weight"].T)
    head = w["model.embed_tokens.weight"] if config.get("tie_word_embeddings") else w["lm_head.weight"]
    return rms_norm(x, w["model.norm.weight"], eps) @ head.T


def main():
    checkpoint, data = sys.argv[1], sys.argv[2]
    config = json.load(open(f"{checkpoint}/config.json"))
    seq_len = json.load(open(f"{checkpoint}/plan.json"))["seq_len"]
    weights = read_safetensors(f"{checkpoint}/model.safetensors")
    manifest = json.load(open(f"{data}/manifest.json"))
    tokens = read_shard(f"{data}/{manifest['heldout']['path']}")
    windows = [tokens[i:i + seq_len] for i in range(0, len(tokens), seq_len)]
    if len(sys.argv) > 3:
        windows = windows[:int(sys.argv[3])]
    nats, scored = 0.0, 0
    for window in windows:
        if len(window) < 2:
            continue
        logits = forward(window[:-1], weights, config)
        top = logits.max(-1)
        log_sum = top + np.log(np.exp(logits - top[:, None]).sum(-1))
        nats += (log_sum - logits[np.arange(len(window) - 1), window[1:]]).sum()
        scored += len(window) - 1
    print(json.dumps({"loss": nats / scored, "scored_tokens": scored}))


if __name__ == "__main__":
    main()
